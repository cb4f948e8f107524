"""What `plvl predict` makes of one image's answers: lines for a person or JSON, a drawing, masks and cut-outs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from plvl.data.masks import encode_mask
from plvl.processing.answer_drawing import draw_answers, drawable_answer
from plvl.processing.answer_words import answer_in_words
from plvl.scripts.answer_files import cut_out

LEFT_OUT = "left out, not sure enough"
# At zlib's least effort a drawing of a photograph was saved in 15 ms and 317 kB, at Pillow's usual in 54 and 288.
PNG_EFFORT = 1


class Place(NamedTuple):
    """An image, the file of its drawing, and of each option (masks, cutout) a file for each expression."""

    source: str | Path
    drawing: Path | None
    files: dict[str, list[Path]]


class Told(NamedTuple):
    """What is printed about an image, on stdout and on stderr, and whether the image could be used."""

    out: list[str]
    err: list[str]
    is_used: bool


@dataclass(frozen=True)
class AnswerTeller:
    """
    Writes the files about an image, and says what is to be printed; prints nothing itself.

    Args:
        as_json: whether stdout gets JSON, and stderr the names of files.
        least_score: of a model of one target, the score below which an answer is left out.
        presence_threshold: that a model of any number of targets is asked with.
    """

    as_json: bool
    least_score: float | None
    presence_threshold: float

    def unreadable(self, place: Place, error: ValueError) -> Told:
        record = [json.dumps({"image": str(place.source), "error": str(error)})] if self.as_json else []
        return Told(record, [f"plvl predict: {error}"], is_used=False)

    def tell(self, place: Place, image: Image.Image, answers: list[dict[str, Any]]) -> Told:
        """`answers`: the pipeline's to each expression."""
        if self.least_score is not None:
            answers = [answer if answer["score"] >= self.least_score else _left_out(answer) for answer in answers]
        if self.as_json:
            said = [json.dumps(_record(place.source, image, answers))]
        else:
            said = [f"{place.source}: {image.width} x {image.height} pixels"]
            said += ["  " + self._line(answer, image) for answer in answers]
        written = [f"drawn: {place.drawing}"] if place.drawing else []
        if place.drawing:
            self._draw(image, answers, place.drawing)
        written += [f"written: {path}" for path in _write_files(image, answers, place.files)]
        return Told(said, written, is_used=True) if self.as_json else Told(said + written, [], is_used=True)

    def _draw(self, image: Image.Image, answers: list[dict[str, Any]], path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        drawable = [
            answer | {"said": LEFT_OUT} if "left_out" in answer else drawable_answer(answer, self.presence_threshold)
            for answer in answers
        ]
        # Other formats know no such option, and leave it out.
        draw_answers(image, drawable).save(path, compress_level=PNG_EFFORT)

    def _line(self, answer: dict[str, Any], image: Image.Image) -> str:
        parts = []
        if "left_out" in answer:
            parts.append(f"{LEFT_OUT} (confidence {answer['score']:.2f})")
        elif "present" in answer:
            parts.append(answer_in_words(answer, self.presence_threshold))
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


def _left_out(answer: dict[str, Any]) -> dict[str, Any]:
    return {"label": answer["label"], "score": answer["score"], "left_out": True}


def _write_files(image: Image.Image, answers: list[dict[str, Any]], files: dict[str, list[Path]]) -> list[Path]:
    """Masks and cut-outs; gives those written. Where nothing is found there is none, of an earlier call neither."""
    written = []
    for option, paths in files.items():
        for answer, path in zip(answers, paths, strict=True):
            mask = answer.get("mask")
            if mask is None or not mask.getbbox():
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            (mask if option == "masks" else cut_out(image, mask)).save(path, compress_level=PNG_EFFORT)
            written.append(path)
    return written


def _record(source: str | Path, image: Image.Image, answers: list[dict[str, Any]]) -> dict[str, Any]:
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
