"""Grounds expressions in a folder of images or a Parquet set of any size; the answers are Parquet shards.

accelerate launch scripts/ground_images.py IMAGES --output DIR [--expressions "EXPRESSION" ...] [--model MODEL]

Processes divide the work among themselves, and a run that was stopped goes on where it was, with any number of them.
"""

import argparse
import itertools
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from plvl.scripts.image_inputs import can_open
from plvl.scripts.ordered_threads import in_threads
from plvl.scripts.output_place import require_writable_folder
from plvl.scripts.program import run_command, show_progress

# Under the name that it has where it is imported: as a program it is called __main__.
logger = logging.getLogger("plvl.scripts.ground_images")

SECONDS_BETWEEN_LOOKS = 2.0  # at shards that others have claimed
THRESHOLDS = ("box_threshold", "presence_threshold")


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument(
        "images", metavar="IMAGES", help="a folder of images, a Parquet file, or a folder of *.parquet"
    )
    parser.add_argument("--output", required=True, help="folder of the answers; one that was begun is gone on with")
    parser.add_argument("--model", help="folder or Hub name of a PLVL model, or photos (default) or shapes")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--expressions", nargs="+", help="what to find in every image, as 'the man in red'")
    asked.add_argument("--expressions_file", metavar="FILE", help="the same, one in each line of a file")
    parser.add_argument(
        "--image_column", default="image", help="column of Parquet: struct of bytes and path, or either"
    )
    parser.add_argument(
        "--text_column", default="text", help="column of an expression or a list of them, where none are given here"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="images, and expressions, at once")
    parser.add_argument("--num_workers", type=int, default=2, help="threads of a process that read images")
    parser.add_argument("--shard_rows", type=int, default=1000, help="rows of the input that a shard is about")
    parser.add_argument("--box_threshold", type=float, help="as of plvl predict, of models of any number of targets")
    parser.add_argument("--presence_threshold", type=float, help="the same")


def run(arguments):
    """Answers what is not answered yet; several processes that are given the same arguments share it."""
    for name in ("batch_size", "num_workers", "shard_rows"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} must be 1 or more, got {getattr(arguments, name)}")
    given = {name: getattr(arguments, name) for name in THRESHOLDS if getattr(arguments, name) is not None}
    show_progress()
    expressions = asked_expressions(arguments)
    require_other_folder(arguments)
    require_writable_folder(arguments.output)
    # Not at the top: --help and what is wrong with the arguments need not wait for Transformers.
    from plvl.data.answer_shards import AnswerShards
    from plvl.scripts.model_loading import chosen_folder, load_chosen_model

    source = open_source(arguments, expressions)
    folder = chosen_folder(arguments.model)
    asked = {
        "model": model_digest(folder),
        "expressions": expressions or f"column {arguments.text_column}",
        "input": source.identity,
        "rows_per_shard": arguments.shard_rows,
        **given,
    }
    described = {"model_name": str(folder), "images": str(Path(arguments.images).absolute())}
    shards = AnswerShards(arguments.output, asked, len(source.parts), described)
    if missing := shards.missing():
        logger.info("%s: %d of %d shards are to be written", arguments.output, len(missing), len(source.parts))
        use_own_device()
        model, processor = load_chosen_model(folder)
        if given and model.config.targets == "one":
            raise ValueError(f"{' and '.join(given)}: this model has one target, and no threshold")
        asker = Asker(model, processor, expressions, arguments.batch_size, arguments.num_workers, given)
        answer_parts(source, shards, asker)
    totals = shards.complete(sum(part.num_rows for part in source.parts))
    if int(os.environ.get("RANK", 0)) == 0:
        print(
            f"{arguments.output}: {totals['answers']} answers about {totals['rows']} rows in {shards.num_shards} "
            f"shards; {totals['errors']} of them say why there is none"
        )


def require_other_folder(arguments):
    """Raises ValueError where the answers would lie among the images, which would be a Parquet set from then on."""
    images, output = Path(arguments.images), Path(arguments.output)
    if images.exists() and output.exists() and images.samefile(output):
        raise ValueError(f"--output {output} is the folder of the images: name another, which may lie in it")


def asked_expressions(arguments) -> list[str] | None:
    """What is asked of every image; None where the rows have their own expressions."""
    expressions = arguments.expressions
    if arguments.expressions_file:
        lines = Path(arguments.expressions_file).read_text(encoding="utf-8-sig").splitlines()
        expressions = [line for line in lines if line.strip()]
        if not expressions:
            raise ValueError(f"{arguments.expressions_file} has no expressions")
    for number, expression in enumerate(expressions or [], 1):
        if not any(character.isprintable() and not character.isspace() for character in expression):
            raise ValueError(f"expression {number} is empty")
    return expressions


def open_source(arguments, expressions):
    from plvl.data.unlabelled import ImageFolder, ParquetImages

    path = Path(arguments.images)
    if not path.exists():
        raise ValueError(f"{path} is missing: name a folder of images, a Parquet file or a folder of *.parquet")
    if path.is_dir() and not any(path.glob("*.parquet")):
        if expressions is None:
            raise ValueError(f"{path} is a folder of images: name with --expressions what to find in them")
        return ImageFolder(path, arguments.shard_rows, can_open)
    text_column = arguments.text_column if expressions is None else None
    return ParquetImages(path, arguments.shard_rows, arguments.image_column, text_column)


def model_digest(folder: Path) -> str:
    """Of the files that decide about answers, wherever the folder lies; of additions to a model also that model's."""
    from plvl.checkpoints.model_files import is_adapter, require_model_files, weight_files
    from plvl.data.source_files import content_digest
    from plvl.scripts.model_loading import base_folder

    require_model_files(folder)
    names = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer.json", "vocab.txt")
    files = [folder / name for name in (*names, "tokenizer_config.json") if (folder / name).is_file()]
    if is_adapter(folder):
        base = base_folder(folder)
        files += [*weight_files(base), base / "config.json"]
    return content_digest(weight_files(folder) + files)


def use_own_device():
    """Of several accelerators a process that a launcher has started takes its own."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", 0)))


def answer_parts(source, shards, asker: "Asker"):
    """Each process begins with its own share of the missing shards, helps with those of the others, and ends when none
    is missing: one whose process has died is free again."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    start, num_rows, is_waiting = time.monotonic(), 0, False
    while missing := shards.missing():
        num_rows_before = num_rows
        for number in (each for turn in range(processes) for each in missing[(rank + turn) % processes :: processes]):
            with shards.claim(number) as is_mine:
                if not is_mine:
                    continue
                part = source.parts[number]
                shards.write(number, asker.answers(source.rows(part)))
                num_rows += part.num_rows
                speed = num_rows / (time.monotonic() - start)
                logger.info("%s; this process: %.1f rows/s", shards.file(number).name, speed)
        if num_rows == num_rows_before and shards.missing():
            if not is_waiting:
                is_waiting = True
                logger.info("waiting for the shards that other processes are at work on, to take them if one dies")
            time.sleep(SECONDS_BETWEEN_LOOKS)


class Question(NamedTuple):
    """An image, and what its rows ask about it: (row, file name, expression) each."""

    image: dict[str, Any]
    asked: list[tuple[int, str | None, str | None]]


class Prepared(NamedTuple):
    """A question whose image has been read: `size` is (height, width) in pixels; or `error` says why it was not."""

    asked: list[tuple[int, str | None, str | None]]
    size: tuple[int, int] | None
    pixel_values: Any
    error: str | None


class Asker:
    """Answers rows of a source, a few images at a time; each image is read and embedded once for all its expressions.

    Args:
        model, processor: of PLVL, ready to answer.
        expressions: what is asked of every image; None where rows have their own.
        batch_size: images that are embedded at once, and expressions that are answered.
        num_threads: that read images.
        thresholds: for `post_process_grounding`.
    """

    def __init__(self, model, processor, expressions, batch_size: int, num_threads: int, thresholds: dict[str, float]):
        from plvl.processing.encoded_expressions import EncodedExpressions

        self.model, self.processor, self.expressions = model, processor, expressions
        self.batch_size, self.num_threads, self.thresholds = batch_size, num_threads, thresholds
        self.encode = EncodedExpressions(model)

    def answers(self, rows: Iterable) -> Iterator[dict[str, Any]]:
        """Yields the answers in the order of the rows, as plvl.data.answer_shards has them."""
        batch: list[Prepared] = []
        for prepared in in_threads(self._prepare, self._questions(rows), self.num_threads):
            batch.append(prepared)
            if sum(len(each.asked) for each in batch) >= self.batch_size:
                yield from self._answer(batch)
                batch = []
        if batch:
            yield from self._answer(batch)

    def _questions(self, rows) -> Iterator[Question]:
        """Rows that follow one another about one image are one question."""
        for image, about_it in itertools.groupby(rows, key=lambda row: row.image):
            yield Question(
                image,
                [
                    (row.number, row.file_name, expression)
                    for row in about_it
                    for expression in self.expressions or row.expressions
                ],
            )

    def _prepare(self, question: Question) -> Prepared:
        from plvl.data.image_files import ImageFileError, open_image

        try:
            image = open_image(question.image)
        except ImageFileError as error:
            return Prepared(question.asked, None, None, f"{error.defect}: {error}")
        pixel_values = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        return Prepared(question.asked, (image.height, image.width), pixel_values, None)

    def _answer(self, batch: list[Prepared]) -> Iterator[dict[str, Any]]:
        import torch

        read = [prepared for prepared in batch if prepared.error is None]
        # (image of `read`, expression), for all that can be asked.
        pairs = [
            (place, expression)
            for place, prepared in enumerate(read)
            for _, _, expression in prepared.asked
            if why_not_asked(expression) is None
        ]
        found: list[dict[str, Any]] = []
        if pairs:
            with torch.inference_mode():
                pixel_values = torch.cat([prepared.pixel_values for prepared in read])
                embeddings = self.model.get_image_embeddings(pixel_values.to(self.model.device, self.model.dtype))
                for start in range(0, len(pairs), self.batch_size):
                    found += self._ground(embeddings, pairs[start : start + self.batch_size], read)
        answers = iter(found)
        for prepared in batch:
            height, width = prepared.size or (None, None)
            for row, file_name, expression in prepared.asked:
                answer = {"row": row, "file_name": file_name, "expression": expression}
                error = prepared.error or why_not_asked(expression)
                if error is None:
                    yield answer | {"width": width, "height": height} | next(answers)
                else:
                    yield answer | {"width": width, "height": height, "error": error}

    def _ground(self, embeddings, pairs: list[tuple[int, str]], read: list[Prepared]) -> list[dict[str, Any]]:
        places = [place for place, _ in pairs]
        inputs = self.processor(text=[expression for _, expression in pairs], return_tensors="pt")
        inputs = inputs.to(self.model.device)
        # Of one image for all expressions, the first cross-attention computes its queries once.
        about = embeddings[places[:1]] if len(set(places)) == 1 else embeddings[places]
        outputs = self.model(
            image_embeddings=about,
            text_embeds=self.encode(inputs["input_ids"], inputs["attention_mask"]),
            attention_mask=inputs["attention_mask"],
        )
        sizes = [read[place].size for place in places]
        return [
            plain_answer(each) for each in self.processor.post_process_grounding(outputs, sizes, **self.thresholds)
        ]


def why_not_asked(expression: str | None) -> str | None:
    from plvl.processing.expression_words import is_blank, is_text

    if expression is None or is_blank(expression):
        return "expression is empty"
    return None if is_text(expression) else "expression is no text"


def plain_answer(found: dict[str, Any]) -> dict[str, Any]:
    """An answer of `post_process_grounding` in the form of a row of answers."""
    from plvl.data.masks import encode_mask

    answer = {"present": found.get("present")}
    if "box" in found:
        answer |= {"boxes": [found["box"].tolist()], "scores": [found["score"]]}
    if "boxes" in found:
        answer |= {"boxes": found["boxes"].tolist(), "scores": found["scores"].tolist()}
    if "mask" in found:
        answer["mask"] = encode_mask(found["mask"].cpu().numpy())
    return answer


def main(argv=None):
    run_command(__doc__, add_arguments, run, "plvl ground", argv)


if __name__ == "__main__":
    from plvl.training.signals import end_on_sigterm, end_with_launcher

    end_on_sigterm()
    end_with_launcher()
    main()
