"""What a run reads, opened before its first step."""

import logging
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

from plvl.data.loading import load_grounding_dataset, open_sources, set_sizes
from plvl.data.row_streams import rows_of_shards
from plvl.data.training_rows import TrainingRows, load_training_rows
from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.preflight import Preflight
from plvl.training.recipe import DataArguments

logger = logging.getLogger(__name__)

# Rows of a split whose images are looked for, and training expressions whose length is.
IMAGES_LOOKED_FOR = 1000
EXPRESSIONS_LOOKED_AT = 10_000


class RunData:
    """
    What a run reads. What cannot be opened is noted in `check`, and stands here as None or not at all.

    Attributes:
        train ([`TrainingRows`], *optional*): what is trained on.
        validation (*optional*): what is evaluated during training.
        splits (`dict`): what is evaluated at the end, by the split's name.
        threshold_rows (*optional*): by what thresholds are chosen.
    """

    def __init__(self, data_args: DataArguments, args: PLVLTrainingArguments, check: Preflight):
        self.data_args = data_args
        self.train: TrainingRows | None = None
        self.validation = self.threshold_rows = None
        self.splits = {}
        self._looked_at: set[str] = set()
        advice = _advice(data_args)
        if args.do_train:
            with check.noting(advice):
                self.train = load_training_rows(
                    data_args.dataset,
                    data_args.train_split,
                    **data_args.source,
                    shuffle_buffer=data_args.shuffle_buffer_size,
                    seed=args.seed,
                    max_skipped=data_args.max_skipped,
                    expressions_per_image=data_args.expressions_per_image,
                )
                self._look_for_images(data_args.train_split)
        if args.do_train and args.eval_strategy != "no":
            with check.noting(advice):
                self.validation = self._open(data_args.validation_split)
        if args.do_eval or args.do_predict:
            for split in data_args.eval_splits:
                with check.noting(advice):
                    self.splits[split] = self._open(split)

        if data_args.choose_thresholds:
            with check.noting(advice):
                self.threshold_rows = self._open(data_args.choose_thresholds)

    def expressions(self) -> Iterable[str]:
        """Those of the training split, each once, whatever the weights of its sets."""
        given = self.data_args
        for source in open_sources(given.dataset, given.train_split, **given.source).values():
            yield from (row["text"] or "" for row in rows_of_shards(**source.reading))

    def _open(self, split: str):
        given = self.data_args
        rows = load_grounding_dataset(given.dataset, split, **given.source, max_skipped=given.max_skipped)
        self._look_for_images(split)
        return rows

    def _look_for_images(self, split: str):
        """Refuses a split of which more rows than `max_skipped` allows have no image: it would end the run later."""
        if split in self._looked_at:
            return
        self._looked_at.add(split)
        sources = open_sources(self.data_args.dataset, split, **self.data_args.source)
        rows = chain.from_iterable(
            islice(rows_of_shards(**source.reading), IMAGES_LOOKED_FOR // len(sources))
            for source in sources.values()
            if not source.has_images_inside
        )
        paths = [row["image"]["path"] for row in rows if row["image"]]
        there = {path: Path(path).is_file() for path in dict.fromkeys(paths)}
        missing = [path for path in paths if not there[path]]
        num_rows = sum(set_sizes(sources).values())
        if len(missing) > self.data_args.max_skipped * num_rows or (paths and len(missing) == len(paths)):
            raise FileNotFoundError(
                f"{len(missing)} of the first {len(paths)} rows of {split} have no image, such as {missing[0]}"
            )


def report_cut_expressions(processor, expressions: Iterable[str]):
    """Says how many of the first expressions to train on have more tokens than the model is given."""
    texts = list(map(processor.normalize_text, islice(expressions, EXPRESSIONS_LOOKED_AT)))
    longest = processor.max_text_length
    cut = sum(len(ids) > longest for ids in processor.tokenizer(texts)["input_ids"]) if texts else 0
    if cut:
        logger.warning(
            "%d of the first %d training expressions have more than %d tokens; what is beyond is cut off",
            cut,
            len(texts),
            longest,
        )


def _advice(given: DataArguments) -> str:
    """What to do where files of the data are missing."""
    roots = Path(given.image_root), Path(given.label_root)
    if given.dataset == "refshapes" and roots == (roots[0].parent / "images", roots[0].parent / "labels"):
        return f". `python scripts/make_refshapes.py --output {roots[0].parent}` makes the set"
    return ". image_root and label_root name the folders; docs/data.md has the layout of each set"
