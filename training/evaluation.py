"""Evaluation on any number of processes: every row counts once, and no mask leaves its process."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from torchvision.ops import box_convert

from plvl.data.collator import GroundingCollator
from plvl.data.masks import encode_mask
from plvl.training.generalized_metrics import generalized_metrics, generalized_statistics
from plvl.training.metrics import (
    NATIVE_STATISTICS,
    STATISTICS,
    grounding_metrics,
    grounding_statistics,
    native_statistics,
)

NUM_OF_ONE_OBJECT = len(STATISTICS + NATIVE_STATISTICS)


@dataclass
class Evaluated:
    """
    What one pass over a split gave.

    Args:
        statistics (`dict[str, np.ndarray]`): by the rows' dataset, each sample's statistics, as
            `grounding_metrics` takes them; of a model of any number of targets those of `generalized_metrics` follow.
        loss_sum (`float`): of the batches' losses, each times its samples.
        predicted_boxes, true_boxes (`np.ndarray`): `(samples, 4)`, cx, cy, w, h in 0..1, of a model of any number of
            targets `(samples, max_targets, 4)`; None where the model has no boxes.
        answers (`list[dict]`): a dict for each sample, see `answer_record`; empty unless asked for.
        candidates (`list[dict]`): of a model of any number of targets, for each sample what `choose_thresholds` takes.
    """

    statistics: dict[str, np.ndarray] = field(default_factory=dict)
    loss_sum: float = 0.0
    predicted_boxes: np.ndarray | None = None
    true_boxes: np.ndarray | None = None
    answers: list[dict] = field(default_factory=list)
    candidates: list[dict] = field(default_factory=list)

    @property
    def num_samples(self) -> int:
        return sum(len(samples) for samples in self.statistics.values())

    def metrics(self) -> dict[str, float]:
        """
        Of all samples, with the mean `loss`; where there is more than one dataset also of each, as
        `<dataset>/<metric>`.
        """
        if not self.statistics:
            return grounding_metrics(np.zeros((0, 8)))
        everything = np.concatenate(list(self.statistics.values()))
        metrics = all_metrics(everything) | {"loss": self.loss_sum / len(everything)}
        if len(self.statistics) > 1:
            for dataset, statistics in sorted(self.statistics.items()):
                metrics |= {f"{dataset}/{name}": value for name, value in all_metrics(statistics).items()}
        return metrics


def all_metrics(statistics: np.ndarray) -> dict[str, float]:
    """The metrics of one object's box and mask, and those of any number where there are statistics for them."""
    of_one, of_any = np.split(statistics, [NUM_OF_ONE_OBJECT], axis=1)
    return grounding_metrics(of_one) | (generalized_metrics(of_any) if of_any.size else {})


def means_over_sets(metrics: dict[str, float], prefix: str, sets: Iterable[str], names: Iterable[str]) -> dict:
    """
    Of metrics `<prefix>_<set>_<name>` of several sets the means `<prefix>_<name>`, where every set has the metric;
    `names` are `eval_<name>`.
    """
    means = {}
    for name in (each.removeprefix("eval_") for each in names):
        values = [metrics.get(f"{prefix}_{one}_{name}") for one in sets]
        if values and None not in values:
            means[f"{prefix}_{name}"] = sum(values) / len(values)
    return means


def rows_of_process(dataset, process: int, num_processes: int):
    """
    The rows that one of several processes evaluates: each row is in exactly one process's share. Of what has a length,
    a process has every `num_processes`-th row, as a `Subset`.
    """
    if isinstance(dataset, IterableDataset):
        return split_dataset_by_node(dataset, process, num_processes)
    if hasattr(dataset, "__len__"):
        return torch.utils.data.Subset(dataset, range(process, len(dataset), num_processes))
    if num_processes > 1:
        raise ValueError(f"a {type(dataset).__name__} cannot be shared by processes: give a `datasets` set or a list")
    return dataset


def counted_batches(batches: Iterable, anyone: Callable[[bool], bool]) -> Iterator[tuple]:
    """
    The batches of this process as `(batch, True)`, and its last one again as `(batch, False)` while others go on.

    Args:
        anyone: tells whether True was given in any process. Where the model's forward pass needs no other process,
            it may ask nobody.
    """
    batch, iterator = None, iter(batches)
    while True:
        fresh = next(iterator, None)
        if not anyone(fresh is not None):
            return
        if fresh is None and batch is None:
            raise ValueError("there are fewer rows to evaluate than processes: use fewer processes")
        batch = fresh if fresh is not None else batch
        yield batch, fresh is not None


@torch.no_grad()
def evaluate_batches(batches, forward: Callable, processor, keep_answers: bool = False) -> Evaluated:
    """
    Args:
        batches: `(batch, whether it counts)`, the batches with `rows` and `truths`, of [`GroundingCollator`].
        forward: gives the model's outputs of a batch, and the labels on the outputs' device.
        processor ([`PLVLProcessor`]): brings the answers to the image's own size.
        keep_answers (`bool`): whether to give the answers, too.
    """
    statistics = defaultdict(list)
    evaluated = Evaluated()
    boxes = []
    for batch, counts in batches:
        inputs = dict(batch)
        rows, truths = inputs.pop("rows"), inputs.pop("truths")
        outputs, labels = forward(inputs)
        if not counts:
            continue
        sizes = [(row["height"], row["width"]) for row in rows]
        if outputs.presence_logits is None:
            answers = processor.post_process_grounding(outputs, sizes)
            batch_statistics = statistics_of_one_object(outputs, labels, answers, truths)
        else:
            everything = processor.post_process_grounding(outputs, sizes, box_threshold=0, presence_threshold=0)
            answers = [_over_thresholds(each, processor) for each in everything]
            batch_statistics = statistics_of_any_objects(outputs, labels, everything, answers, truths)
            evaluated.candidates += [candidate_of(*pair) for pair in zip(everything, truths, strict=True)]
        for row, sample in zip(rows, batch_statistics, strict=True):
            statistics[row.get("dataset") or ""].append(sample.numpy())
        evaluated.loss_sum += float(outputs.loss) * len(rows)
        if outputs.pred_boxes is not None:
            boxes.append((outputs.pred_boxes.float().cpu().numpy(), labels["boxes"].float().cpu().numpy()))
        if keep_answers:
            evaluated.answers += [answer_record(row, answer) for row, answer in zip(rows, answers, strict=True)]
    evaluated.statistics = {dataset: np.stack(samples) for dataset, samples in statistics.items()}
    if boxes:
        evaluated.predicted_boxes, evaluated.true_boxes = map(np.concatenate, zip(*boxes, strict=True))
    return evaluated


def statistics_of_one_object(outputs, labels, answers: list[dict], truths: list[dict]) -> torch.Tensor:
    """`(samples, 11)`: `STATISTICS`, then `NATIVE_STATISTICS`."""
    # An object that vanishes at the network's size counts, too: it is one that was not found.
    has_mask = labels["boxes"].new_tensor([truth["mask"] is not None for truth in truths])
    network = grounding_statistics(outputs, labels | {"has_mask": has_mask}).cpu()
    return torch.cat([network, native_statistics(answers, truths)], 1)


def statistics_of_any_objects(outputs, labels, everything, answers, truths: list[dict]) -> torch.Tensor:
    """
    `(samples, 18)`: first those of one object, then `GENERALIZED_STATISTICS`. The first are of the highest peak,
    whatever the thresholds say, where a sample has one object, and of the mask where it has any.

    Args:
        everything, answers: from `post_process_grounding`, without thresholds and with them.
    """
    has_boxes = outputs.pred_boxes is not None
    best = SimpleNamespace(pred_boxes=outputs.pred_boxes[:, 0] if has_boxes else None, pred_masks=outputs.pred_masks)
    first = labels | {"boxes": labels["boxes"][:, 0]}
    any_object = [dict(truth, mask=truth["mask"] if len(truth["boxes"]) else None) for truth in truths]
    one = [_highest(answer) for answer in everything]
    padded = [truth | {"boxes": truth["boxes"] or [(0.0, 0.0, 0.0, 0.0)]} for truth in any_object]
    statistics = statistics_of_one_object(best, first, one, padded)
    is_one = torch.tensor([len(truth["boxes"]) == 1 for truth in truths])
    statistics[~is_one, STATISTICS.index("width")] = float("nan")  # which says that there is no box
    return torch.cat([statistics, generalized_statistics(answers, truths)], 1)


def _over_thresholds(answer: dict, processor) -> dict:
    """What `post_process_grounding` answers with the processor's thresholds, of its answer without any."""
    # In single precision, as there.
    found = bool(torch.tensor(answer["present"]) >= processor.presence_threshold)
    kept = {}
    if "boxes" in answer:
        is_kept = answer["scores"] >= processor.box_threshold
        found = found and bool(is_kept.any())
        is_kept = is_kept & found
        kept = {"boxes": answer["boxes"][is_kept], "scores": answer["scores"][is_kept]}
    if "mask" in answer:
        kept["mask"] = answer["mask"] & found
    return answer | kept | {"found": found}


def _highest(answer: dict) -> dict:
    """The answer of a model of one object that has the same highest peak; a box of nothing where there is none."""
    one = {"mask": answer["mask"]} if "mask" in answer else {}
    if "boxes" in answer:
        one["box"] = answer["boxes"][0] if len(answer["boxes"]) else answer["boxes"].new_zeros(4)
    return one


def candidate_of(answer: dict, truth: dict) -> dict:
    """What `choose_thresholds` takes of an answer without thresholds."""
    boxes = answer.get("boxes", torch.zeros(0, 4)).float().cpu()
    scores = answer.get("scores", torch.zeros(0)).float().cpu()
    return {"present": answer["present"], "boxes": boxes, "scores": scores, "truth_boxes": truth["boxes"]}


def evaluate_rows(model, processor, rows: Iterable[dict], batch_size: int = 32) -> Evaluated:
    """
    Grounds a few rows in this process, without a trainer; the answers are kept.

    Args:
        model, processor: a [`PLVLModel`] and its [`PLVLProcessor`].
        rows (`Iterable[dict]`): with `plvl.data.schema.ROW_FEATURES`; those of a batch are held at a time.
    """
    model.eval()
    collator = GroundingCollator(processor, keep_truths=True, max_targets=targets_at_most(model.config))
    rows = iter(rows)
    batches = ((collator(batch), True) for batch in iter(lambda: list(islice(rows, batch_size)), []))

    def forward(inputs):
        inputs = send_to_device(inputs, model.device)
        return model(**inputs), inputs["labels"]

    return evaluate_batches(batches, forward, processor, keep_answers=True)


def targets_at_most(config) -> int | None:
    """The labels' number of boxes in a model of any number of targets; None in one of one."""
    return config.max_targets if config.targets == "any" else None


def merge(parts: list[Evaluated], in_turn: bool) -> Evaluated:
    """
    What several processes have evaluated, as one.

    Args:
        parts: of each process.
        in_turn (`bool`): whether rows were dealt to the processes in turn: then answers and boxes are put in the order
            of the rows again. Else they come process by process.
    """
    merged, statistics = Evaluated(), defaultdict(list)
    for part in parts:
        merged.loss_sum += part.loss_sum
        for dataset, samples in part.statistics.items():
            statistics[dataset].append(samples)
    merged.statistics = {dataset: np.concatenate(samples) for dataset, samples in statistics.items()}
    arranged = _in_turn if in_turn else chain.from_iterable
    merged.answers = list(arranged([part.answers for part in parts]))
    merged.candidates = list(arranged([part.candidates for part in parts]))
    for name in ("predicted_boxes", "true_boxes"):
        boxes = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        if boxes:
            setattr(merged, name, np.stack(list(arranged(boxes))))
    return merged


def _in_turn(shares: list) -> list:
    """The first of each share, the second of each, and so on."""
    longest = max(map(len, shares))
    return [share[place] for place in range(longest) for share in shares if place < len(share)]


def answer_record(row: dict, answer: dict) -> dict:
    """
    An answer as it goes into JSON Lines: the row's numbers and names, `text`, `score`, `box` (x, y, w, h in pixels
    of the image) and `mask` (compressed RLE of the image's size). Of a model of any number of targets `present`,
    `scores` and `boxes` in the place of score and box.
    """
    names = ("dataset", "split", "file_name", "image_id", "ref_id", "sent_id", "text")
    record = {name: row.get(name) for name in names}
    if "box" in answer:
        x1, y1, x2, y2 = answer["box"].tolist()
        record |= {"score": float(answer["score"]), "box": [x1, y1, x2 - x1, y2 - y1]}
    if "present" in answer:
        record["present"] = answer["present"]
    if "boxes" in answer:
        record["scores"] = answer["scores"].tolist()
        record["boxes"] = box_convert(answer["boxes"], "xyxy", "xywh").tolist()
    if "mask" in answer:
        record["mask"] = encode_mask(answer["mask"].cpu().numpy())
    return record
