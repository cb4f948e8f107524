"""The demo's web page, in Gradio. It asks nothing of any other server: fonts and scripts come with Gradio."""

import base64
import html
from types import SimpleNamespace

import gradio as gr
from PIL import Image

from plvl.data.image_files import ImageFileError, open_image
from plvl.scripts.demo_page.answers import WordsHeard, answer_and_explain, as_jpeg, word_tiles
from plvl.scripts.demo_page.examples import Example

ALL_BLOCKS = "all"
LARGEST_UPLOAD = "32mb"
# What is kept of visitors: of so many at most, for so many seconds. The files that they brought and saw go with it.
MOST_VISITORS = 200
SECONDS_KEPT = 1800
# On a phone the answer lies below what was asked. It gets its size once its image is there, so that is waited for.
SCROLL_TO_ANSWER = """() => setTimeout(() => {
    const drawing = document.querySelector("#drawing"), image = drawing.querySelector("img");
    const scroll = () => drawing.scrollIntoView({behavior: "smooth", block: "nearest"});
    if (image && !image.complete) image.addEventListener("load", scroll, {once: true});
    else scroll();
}, 100)"""
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
#drawing img { max-height: 560px; object-fit: contain; }
#centre img { max-height: 400px; object-fit: contain; }
/* Gradio's own turns white under the pointer. */
#block input:checked { background-color: var(--checkbox-background-color-selected) !important; }
#words .tiles { display: flex; flex-wrap: wrap; gap: 14px; }
#words figure { margin: 0; width: 150px; }
#words img { width: 100%; border-radius: 6px; display: block; }
#words figcaption { display: flex; justify-content: space-between; padding-top: 4px; overflow-wrap: anywhere; }
#words p { margin-top: 12px; }
"""
MIDDLE_TEXT = "### Where it looked for the middle of the object\nThe cross marks the best place."
MIDDLES_TEXT = (
    "### Where it looked for the middle of each object\nCrosses mark those that it found. The brightest place is the "
    "best, also where none was good enough."
)
IMAGE_TO_LOOK_AT = {
    "format": "png",
    "interactive": False,
    "show_label": False,
    "buttons": ["download", "fullscreen"],
}


def launch_options() -> dict:
    """What `launch` is to be told of the page's looks, and that it is to stay on this machine."""
    fonts = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    return {
        "theme": gr.themes.Default(primary_hue="rose", neutral_hue="slate", font=fonts),
        "css": CSS,
        "footer_links": [],
        "max_file_size": LARGEST_UPLOAD,
        "state_session_capacity": MOST_VISITORS,
        "share": False,
        "ssr_mode": False,
        "show_error": True,
        "quiet": True,
    }


def build_page(model, processor, examples: list[Example], knows_shapes_alone: bool) -> gr.Blocks:
    """
    Args:
        model ([`PLVLModel`]): with eager attention.
        processor ([`PLVLProcessor`]): the model's.
        examples (`list[Example]`): to choose from; the first is answered when the page opens.
        knows_shapes_alone (`bool`): whether the model has learned drawn shapes, which the page says.
    """
    with gr.Blocks(title="PLVL", analytics_enabled=False, delete_cache=(SECONDS_KEPT // 3, SECONDS_KEPT)) as page:
        gr.Markdown("# PLVL: point with words\n" + _introduction(bool(examples), knows_shapes_alone))
        parts = SimpleNamespace(
            heard=gr.State(time_to_live=SECONDS_KEPT), **_place_question(examples), **_place_reasons(model.config)
        )
        _connect(page, parts, model, processor, examples)
    return page


def _place_question(examples: list[Example]) -> dict:
    """Lays out what is asked, and the answer beside it."""
    images_to_try = gr.Dataset(
        components=[gr.Image(visible=False)],
        samples=[[str(example.image)] for example in examples],
        type="index",
        layout="gallery",
        label="Images to try",
        visible=bool(examples),
        elem_id="images_to_try",
    )
    with gr.Row():
        with gr.Column(scale=2):
            # PNG: an example's image goes to the browser and back, and must not change on the way.
            image = gr.Image(
                type="pil",
                format="png",
                label="Image",
                sources=["upload", "clipboard"],
                height=260,
                elem_id="image",
            )
            # Not in a class of its own: Gradio writes a file beside each module that has one.
            image.preprocess = read_upload
            with gr.Row(equal_height=True):
                expression = gr.Textbox(
                    label="What to find", placeholder="the red one on the left", scale=4, elem_id="expression"
                )
                find = gr.Button("Find it", variant="primary", min_width=90, elem_id="find")
            expressions_to_try = gr.Dataset(
                components=[gr.Textbox(visible=False)],
                samples=[],
                layout="gallery",
                label="Or, for example",
                visible=False,
                elem_id="expressions_to_try",
            )
        with gr.Column(scale=3):
            drawing = gr.Image(elem_id="drawing", **IMAGE_TO_LOOK_AT)
    return {
        "images_to_try": images_to_try,
        "image": image,
        "expression": expression,
        "find": find,
        "expressions_to_try": expressions_to_try,
        "drawing": drawing,
    }


def _place_reasons(config) -> dict:
    """Lays out what the answer came from, as far as the model has it: the heat maps of the centre and of the words."""
    with gr.Row():
        with gr.Column(scale=2, visible="rec" in config.tasks):
            gr.Markdown(MIDDLES_TEXT if config.targets == "any" else MIDDLE_TEXT)
            centre = gr.Image(elem_id="centre", **IMAGE_TO_LOOK_AT)
        with gr.Column(scale=3, visible=bool(config.cross_attention_layers)):
            gr.Markdown("### Which words each part of the image listened to\nThe brighter, the more.")
            block = gr.Radio(
                _block_choices(config),
                value=ALL_BLOCKS,
                label="In the network's blocks with cross-attention to the text",
                elem_id="block",
            )
            words = gr.HTML(elem_id="words")
    return {"centre": centre, "block": block, "words": words}


def _connect(page: gr.Blocks, parts: SimpleNamespace, model, processor, examples: list[Example]):
    """Says what happens when something on the page is used."""

    def answer_question(image, expression, block):
        problem = _problem(image, expression)
        if problem:
            gr.Warning(problem)
            return [gr.skip()] * 4
        try:
            answer = answer_and_explain(model, processor, image, expression)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return answer.drawing, answer.centre, words_html(answer.heard, block), answer.heard

    def choose_image(index, block):
        example = examples[index]
        image, expression = open_image({"path": str(example.image)}), example.expressions[0]
        return image, expression, _expressions_to_try(example), *answer_question(image, expression, block)

    def choose_expression(sample, image, block):
        return sample[0], *answer_question(image, sample[0], block)

    shown = [parts.drawing, parts.centre, parts.words, parts.heard]
    chosen = [parts.image, parts.expression, parts.expressions_to_try, *shown]
    # One at a time: a model at work takes all cores.
    options = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
    question = [parts.image, parts.expression, parts.block]
    sample = [parts.expressions_to_try, parts.image, parts.block]
    answered = (
        gr.on([parts.find.click, parts.expression.submit], answer_question, question, shown, **options),
        parts.expressions_to_try.click(choose_expression, sample, [parts.expression, *shown], **options),
        parts.images_to_try.click(choose_image, [parts.images_to_try, parts.block], chosen, **options),
    )
    for each in answered:
        each.success(None, js=SCROLL_TO_ANSWER)
    # What is to be asked about an example is not to be asked about another image.
    gr.on(
        [parts.image.upload, parts.image.clear],
        lambda: gr.Dataset(visible=False),
        None,
        parts.expressions_to_try,
        api_visibility="private",
    )
    parts.block.change(words_html, [parts.heard, parts.block], parts.words, api_visibility="private")
    if examples:
        page.load(lambda block: choose_image(0, block), parts.block, chosen, **options)


def words_html(heard: WordsHeard | None, block) -> str:
    """A tile for each word: where it was listened to, and its share of the attention."""
    if heard is None:
        return ""
    tiles = word_tiles(heard, None if block == ALL_BLOCKS else block)
    rest = 1 - sum(share for _, share, _ in tiles)
    return (
        f'<div class="tiles">{"".join(_tile_html(*tile) for tile in tiles)}</div>'
        f"<p>A word's share of all attention stands beside it. {rest:.0%} went to no word, but to the marks and the "
        "padding that the network puts around an expression.</p>"
    )


def _tile_html(word: str, share: float, tile: Image.Image) -> str:
    source = "data:image/jpeg;base64," + base64.b64encode(as_jpeg(tile)).decode("ascii")
    word = html.escape(word)
    return (
        f'<figure><img src="{source}" alt="attention to “{word}”">'
        f"<figcaption><b>{word}</b><span>{share:.0%}</span></figcaption></figure>"
    )


def _introduction(has_examples: bool, knows_shapes_alone: bool) -> str:
    first = "Choose an image, or bring your own" if has_examples else "Bring an image"
    known = " This model knows images of coloured shapes, not photographs." if knows_shapes_alone else ""
    size = f"up to {LARGEST_UPLOAD.upper()} and {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels"
    return f"{first} ({size}); then say what to find in it.{known}"


def read_upload(payload) -> Image.Image | None:
    """
    What a visitor brought, read as at all other entrances.

    Args:
        payload (`gradio.data_classes.ImageData`, *optional*): `None` where there is no image.

    Raises:
        gr.Error: it cannot be read; the page shows the message, which names the file as the visitor does.
    """
    if payload is None:
        return None
    try:
        return open_image({"path": payload.path})
    except ImageFileError as error:
        detail = str(error).replace(payload.path, payload.orig_name or "the file")
        raise gr.Error(f"{error.defect.capitalize()}: {detail}", print_exception=False) from error


def _expressions_to_try(example: Example) -> gr.Dataset:
    return gr.Dataset(samples=[[text] for text in example.expressions], visible=len(example.expressions) > 1)


def _block_choices(config) -> list[tuple[str, int | str]]:
    layers = sorted(config.cross_attention_layers)
    return [("all together", ALL_BLOCKS), *((f"block {layer + 1}", index) for index, layer in enumerate(layers))]


def _problem(image, expression) -> str | None:
    if image is None:
        return "Bring an image first."
    if not (expression or "").strip():
        return "Say what to find in the image."
    return None
