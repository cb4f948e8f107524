"""Grounds expressions in a picture, or in every picture of a folder, and draws what they mean.

plvl predict PICTURE "EXPRESSION" ["EXPRESSION" ...] [--model MODEL] [--output OUTPUT] [--json]
"""

import argparse
import json
import sys
from pathlib import Path

DEFAULT_FILE, DEFAULT_FOLDER = "grounded.png", "grounded"
EXPRESSIONS_AT_ONCE = 16


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("picture", metavar="PICTURE", help="a picture file, a URL, or a folder of pictures")
    parser.add_argument("expressions", metavar="EXPRESSION", nargs="+", help="what to find, as 'the man in red'")
    parser.add_argument("--model", help="folder or Hub name of a PLVL model (default: the bundled checkpoint)")
    parser.add_argument(
        "--output",
        help="where the drawing goes: a file, or for a folder of pictures a folder "
        f"(default: {DEFAULT_FILE} or {DEFAULT_FOLDER}/; with --json nothing is drawn by default)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each picture: of each expression the score, the box (x1, y1, x2, y2 in pixels) "
        "and the mask (COCO RLE)",
    )


def run(arguments):
    try:
        failed = predict(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"plvl predict: {error}")
    if failed:
        sys.exit(f"plvl predict: {len(failed)} of the pictures could not be used: {', '.join(failed)}")


def predict(arguments) -> list[str]:
    """Does what the arguments ask for; gives the pictures of a folder that could not be used."""
    for number, expression in enumerate(arguments.expressions, 1):
        if not expression.strip():
            raise ValueError(f"expression {number} is empty")
    # Not at the top: --help and a misspelt flag need not wait for Transformers.
    from plvl.data.pictures import PictureError
    from plvl.processing.pipeline_plvl import VisualGroundingPipeline
    from plvl.scripts.chosen_model import chosen_folder, load_chosen_model
    from plvl.scripts.named_pictures import drawing_paths, find_pictures, read_picture

    is_folder, pictures = find_pictures(arguments.picture)
    output = arguments.output or (None if arguments.json else DEFAULT_FOLDER if is_folder else DEFAULT_FILE)
    drawings = drawing_paths(pictures, output, is_folder) if output else [None] * len(pictures)
    model, processor = load_chosen_model(chosen_folder(arguments.model))
    pipe = VisualGroundingPipeline(model=model, processor=processor, device=model.device)

    failed = []
    for picture, drawing in zip(pictures, drawings, strict=True):
        try:
            image = read_picture(picture)
        except PictureError as error:
            if not is_folder:
                raise ValueError(f"{error.defect}: {error}") from error
            failed.append(str(picture))
            if arguments.json:
                print(json.dumps({"picture": str(picture), "error": f"{error.defect}: {error}"}), flush=True)
            print(f"plvl predict: {error.defect}: {error}", file=sys.stderr)
            continue
        answers = pipe(image, arguments.expressions, batch_size=EXPRESSIONS_AT_ONCE)
        _report(picture, image, answers, drawing, as_json=arguments.json)
    return failed


def _report(picture, image, answers, drawing: Path | None, as_json: bool):
    from plvl.processing.answer_drawing import draw_answers

    if as_json:
        print(json.dumps(_record(picture, image, answers)), flush=True)
    else:
        print(f"{picture}: {image.width} x {image.height} pixels")
        for answer in answers:
            print("  " + _line(answer, image))
    if drawing:
        drawing.parent.mkdir(parents=True, exist_ok=True)
        boxes = [list(answer["box"].values()) if "box" in answer else None for answer in answers]
        draw_answers(image, [answer | {"box": box} for answer, box in zip(answers, boxes, strict=True)]).save(drawing)
        print(f"drawn: {drawing}", file=sys.stderr if as_json else sys.stdout)


def _record(picture, image, answers) -> dict:
    import numpy as np

    from plvl.data.masks import encode_mask

    described = []
    for answer in answers:
        entry = {"expression": answer["label"], "score": answer["score"]}
        if "box" in answer:
            entry["box"] = list(answer["box"].values())
        if "mask" in answer:
            entry["mask"] = encode_mask(np.array(answer["mask"]) > 0)
        described.append(entry)
    return {"picture": str(picture), "width": image.width, "height": image.height, "answers": described}


def _line(answer, image) -> str:
    parts = []
    if answer["score"] is not None:
        parts.append(f"confidence {answer['score']:.2f}")
    if "box" in answer:
        box = answer["box"]
        parts.append(f"box: x {box['xmin']} to {box['xmax']}, y {box['ymin']} to {box['ymax']}")
    if "mask" in answer:
        share = answer["mask"].histogram()[255] / (image.width * image.height)
        parts.append(f"mask: {share:.1%} of the picture")
    return f'"{answer["label"]}": {"; ".join(parts)}'


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
