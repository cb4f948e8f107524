"""Grounds expressions in images, or in every image of a folder, and draws what they mean.

plvl predict IMAGE [IMAGE ...] "EXPRESSION" ["EXPRESSION" ...] [--model MODEL] [--output OUTPUT] [--json]
             [--masks DIR] [--cutout DIR] [--threshold SCORE | --box_threshold SCORE --presence_threshold PROBABILITY]
             [--device DEVICE]
"""

import argparse
import sys

from plvl.scripts.answer_files import answer_paths
from plvl.scripts.image_inputs import drawing_paths, find_all_images, split_words
from plvl.scripts.program import imports_without_pauses, run_command

DEFAULT_FILE, DEFAULT_FOLDER = "grounded.png", "grounded"
THRESHOLDS = ("box_threshold", "presence_threshold")
LEFT_OUT_NAMED = 5


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
    try:
        failed = predict(arguments)
    except BrokenPipeError:
        # Whoever read the answers has enough, as `head` has. Nothing is left to be flushed at the end.
        sys.stdout = None
        sys.exit(0)
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
    with imports_without_pauses():
        from plvl.scripts.many_images import ImageAnswerer, told_in_order
        from plvl.scripts.model_loading import chosen_folder, load_chosen_model
        from plvl.scripts.told_answers import AnswerTeller, Place

    model, processor = load_chosen_model(chosen_folder(arguments.model), arguments.device)
    given, least = _thresholds_of(model.config, given)
    if files and "res" not in model.config.tasks:
        raise ValueError(f"{_options(files)}: this model answers with boxes alone, and has no masks")
    answerer = ImageAnswerer(model, processor, expressions, given)
    teller = AnswerTeller(arguments.json, least, given.get("presence_threshold", processor.presence_threshold))
    places = [
        Place(source, drawing, {option: paths[number] for option, paths in files.items()})
        for number, (source, drawing) in enumerate(zip(sources, drawings, strict=True))
    ]
    failed = []
    with _progress_bar(len(places), several) as progress:
        for place, (out, err, is_used) in told_in_order(places, answerer, teller, several):
            with progress.external_write_mode():
                for line in out:
                    print(line, flush=True)
                for line in err:
                    print(line, file=sys.stderr)
            progress.update()
            if not is_used:
                failed.append(str(place.source))
    return failed


def _progress_bar(num_images: int, several: bool):
    """On stderr, where that is a terminal and there are several images."""
    from tqdm import tqdm

    return tqdm(total=num_images, unit="image", leave=False, disable=None if several else True)


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


def main(argv=None):
    run_command(__doc__, add_arguments, run, "plvl predict", argv)


if __name__ == "__main__":
    main()
