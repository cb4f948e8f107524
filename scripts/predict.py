"""Grounds expressions in images, or in every image of a folder, and draws what they mean.

plvl predict IMAGE [IMAGE ...] "EXPRESSION" ["EXPRESSION" ...] [--model MODEL] [--output OUTPUT] [--json]
             [--masks DIR] [--cutout DIR] [--threshold SCORE | --box_threshold SCORE --presence_threshold PROBABILITY]
             [--device DEVICE]
"""

import argparse
import json
import sys
from collections import deque
from pathlib import Path

from plvl.scripts.answer_files import answer_paths, cut_out
from plvl.scripts.image_inputs import drawing_paths, find_all_images, read_named_image, split_words
from plvl.scripts.program import ArgumentParser, spell_out_what_cannot_be_shown

DEFAULT_FILE, DEFAULT_FOLDER = "grounded.png", "grounded"
THRESHOLDS = ("box_threshold", "presence_threshold")
EXPRESSIONS_AT_ONCE = 16
LEFT_OUT_NAMED = 5
LEFT_OUT = "left out, not sure enough"


def add_arguments(parser: argparse.ArgumentParser):
    parser.usage = (
        "%(prog)s IMAGE [IMAGE ...] EXPRESSION [EXPRESSION ...] [--model MODEL] [--output OUTPUT] [--json] "
        "[--masks DIR] [--cutout DIR] [--threshold SCORE | --box_threshold SCORE --presence_threshold PROBABILITY] "
        "[--device DEVICE]"
    )
    parser.add_argument(
        "words",
        metavar="IMAGE, EXPRESSION",
        nargs="+",
        help="image files, URLs, patterns (*.jpg) or folders, and then what to find in each, as 'the man in red'",
    )
    parser.add_argument("--model", help="folder or Hub name of a PLVL model, or photos (default) or shapes")
    parser.add_argument(
        "--output",
        help="where the drawing goes: a file, or for several images a folder "
        f"(default: {DEFAULT_FILE} or {DEFAULT_FOLDER}/; with --json nothing is drawn by default)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each image: of each expression the score, the box (x1, y1, x2, y2 in pixels) "
        "and the mask (COCO RLE); of a model of any number of targets present, boxes, scores and the mask",
    )
    parser.add_argument(
        "--masks",
        metavar="DIR",
        help="write a PNG for each image and expression, of the image's size, white on what is found and black "
        "elsewhere; of several objects it is one. What is not found has no file",
    )
    parser.add_argument(
        "--cutout",
        metavar="DIR",
        help="write a PNG for each image and expression with what is found alone, cut to its pixels, on a transparent "
        "ground. What is not found has no file",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="leave out what the model is less sure of: an answer of one target whose score is lower; of a model of "
        "any number of targets boxes whose score, and expressions whose presence, is lower",
    )
    parser.add_argument(
        "--box_threshold",
        type=float,
        metavar="SCORE",
        help="of a model of any number of targets: the score from which on a box is answered (default: the model's)",
    )
    parser.add_argument(
        "--presence_threshold",
        type=float,
        metavar="PROBABILITY",
        help="of such a model: how probable anything of the kind must be, or it is not found (default: the model's)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or mps (default: the accelerator where there is one)")


def run(arguments):
    spell_out_what_cannot_be_shown()
    try:
        failed = predict(arguments)
    except BrokenPipeError:
        # Whoever read the answers has enough, as `head` has. Nothing is left to be flushed at the end.
        sys.stdout = None
        sys.exit(0)
    except (ValueError, OSError) as error:
        sys.exit(f"plvl predict: {error}")
    if failed:
        sys.exit(f"plvl predict: {len(failed)} of the images could not be used: {', '.join(failed)}")


def predict(arguments) -> list[str]:
    """Does what the arguments ask for; gives those of several images that could not be used."""
    given = _thresholds(arguments)
    images, expressions = split_words(arguments.words)
    several, sources, left_out = find_all_images(images)
    output = arguments.output or (None if arguments.json else DEFAULT_FOLDER if several else DEFAULT_FILE)
    drawings = drawing_paths(sources, output, several) if output else [None] * len(sources)
    files = {
        option: answer_paths(sources, expressions, folder, f"--{option}")
        for option, folder in (("masks", arguments.masks), ("cutout", arguments.cutout))
        if folder
    }
    if left_out:
        more = f" and {len(left_out) - LEFT_OUT_NAMED} more" if len(left_out) > LEFT_OUT_NAMED else ""
        print(f"plvl predict: left out: {', '.join(left_out[:LEFT_OUT_NAMED])}{more}", file=sys.stderr)
    # Not at the top: --help and what is wrong with the arguments need not wait for Transformers.
    from plvl.processing.pipeline_plvl import VisualGroundingPipeline
    from plvl.scripts.model_loading import chosen_folder, load_chosen_model

    model, processor = load_chosen_model(chosen_folder(arguments.model), arguments.device)
    given, least = _thresholds_of(model.config, given)
    if files and "res" not in model.config.tasks:
        raise ValueError(f"{_options(files)}: this model answers with boxes alone, and has no masks")
    pipe = VisualGroundingPipeline(model=model, processor=processor, device=model.device)
    presence_threshold = given.get("presence_threshold", processor.presence_threshold)

    failed: list[str] = []
    read: deque[tuple] = deque()

    def readable_images():
        for place, (source, drawing) in enumerate(zip(sources, drawings, strict=True)):
            try:
                image = read_named_image(source)
            except ValueError as error:
                if not several:
                    raise
                failed.append(str(source))
                if arguments.json:
                    print(json.dumps({"image": str(source), "error": str(error)}), flush=True)
                print(f"plvl predict: {error}", file=sys.stderr)
                continue
            read.append((source, image, drawing, {option: paths[place] for option, paths in files.items()}))
            yield image

    # One call about all images, in which the expressions are encoded once.
    for answers in pipe(readable_images(), expressions, expressions_at_once=EXPRESSIONS_AT_ONCE, **given):
        source, image, drawing, answer_files = read.popleft()
        if least is not None:
            answers = [answer if answer["score"] >= least else _left_out(answer) for answer in answers]
        _report(source, image, answers, drawing, presence_threshold, as_json=arguments.json)
        _write_files(image, answers, answer_files, as_json=arguments.json)
    return failed


def _thresholds(arguments) -> dict[str, float]:
    given = {name: getattr(arguments, name) for name in ("threshold", *THRESHOLDS)}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ValueError(f"--{name} must be from 0 to 1, got {value:g}")
    if "threshold" in given and len(given) > 1:
        raise ValueError("--threshold stands for --box_threshold and --presence_threshold: give it, or them")
    return given


def _thresholds_of(config, given: dict[str, float]) -> tuple[dict[str, float], float | None]:
    """What the pipeline is given for a model, and of a model of one target the least score."""
    least = given.get("threshold")
    if config.targets == "any":
        return (given if least is None else dict.fromkeys(THRESHOLDS, least)), None
    if given and least is None:
        raise ValueError(f"{_options(given)}: this model has one target, and no threshold")
    if given and "rec" not in config.tasks:
        raise ValueError("--threshold: this model answers with masks alone, and does not say how sure it is")
    return {}, least


def _options(names) -> str:
    return " and ".join(f"--{name}" for name in names)


def _left_out(answer: dict) -> dict:
    return {"label": answer["label"], "score": answer["score"], "left_out": True}


def _report(source, image, answers, drawing: Path | None, presence_threshold: float, as_json: bool):
    from plvl.processing.answer_drawing import draw_answers, drawable_answer

    if as_json:
        print(json.dumps(_record(source, image, answers)), flush=True)
    else:
        print(f"{source}: {image.width} x {image.height} pixels")
        for answer in answers:
            print("  " + _line(answer, image, presence_threshold), flush=True)
    if drawing:
        drawing.parent.mkdir(parents=True, exist_ok=True)
        drawable = [
            answer | {"said": LEFT_OUT} if "left_out" in answer else drawable_answer(answer, presence_threshold)
            for answer in answers
        ]
        draw_answers(image, drawable).save(drawing)
        print(f"drawn: {drawing}", file=sys.stderr if as_json else sys.stdout)


def _write_files(image, answers, files: dict[str, list[Path]], as_json: bool):
    """Masks and cut-outs; where nothing is found there is none, of an earlier call neither."""
    for option, paths in files.items():
        for answer, path in zip(answers, paths, strict=True):
            mask = answer.get("mask")
            if mask is None or not mask.getbbox():
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            (mask if option == "masks" else cut_out(image, mask)).save(path)
            print(f"written: {path}", file=sys.stderr if as_json else sys.stdout)


def _record(source, image, answers) -> dict:
    import numpy as np

    from plvl.data.masks import encode_mask

    described = []
    for answer in answers:
        entry = {"expression": answer["label"]}
        entry |= {name: answer[name] for name in ("score", "present", "left_out") if name in answer}
        if "box" in answer:
            entry["box"] = list(answer["box"].values())
        if "boxes" in answer:
            entry["boxes"] = [list(box.values()) for box in answer["boxes"]]
            entry["scores"] = answer["scores"]
        if "mask" in answer:
            entry["mask"] = encode_mask(np.array(answer["mask"]) > 0)
        described.append(entry)
    return {"image": str(source), "width": image.width, "height": image.height, "answers": described}


def _line(answer, image, presence_threshold) -> str:
    from plvl.processing.answer_words import answer_in_words

    parts = []
    if "left_out" in answer:
        parts.append(f"{LEFT_OUT} (confidence {answer['score']:.2f})")
    elif "present" in answer:
        parts.append(answer_in_words(answer, presence_threshold))
    elif answer["score"] is not None:
        parts.append(f"confidence {answer['score']:.2f}")
    boxes = answer.get("boxes", [answer["box"]] if "box" in answer else [])
    if boxes:
        places = (f"x {box['xmin']} to {box['xmax']}, y {box['ymin']} to {box['ymax']}" for box in boxes)
        parts.append(f"{'box' if len(boxes) == 1 else 'boxes'}: {'; '.join(places)}")
    # That the mask of what is not found is empty has been said.
    if "mask" in answer and (boxes or "present" not in answer or answer["mask"].getbbox()):
        share = answer["mask"].histogram()[255] / (image.width * image.height)
        parts.append(f"mask: {share:.1%} of the image")
    return f'"{answer["label"]}": {"; ".join(parts)}'


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
