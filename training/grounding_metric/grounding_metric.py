"""
PLVL's metrics for the `evaluate` library, at the image's own size:

    metric = evaluate.load("training/grounding_metric")
    metric.compute(predictions=[{"box": [10, 5, 20, 20], "mask": rle}], references=[{"box": [...], "mask": rle}])

and those of expressions that mean no object, one or several:

    metric.compute(
        predictions=[{"boxes": [[10, 5, 20, 20], [40, 8, 12, 9]], "scores": [0.9, 0.8], "mask": rle}],
        references=[{"boxes": [], "mask": None}],
        box_threshold=0.7,
    )
"""

import datasets
import evaluate
import numpy as np

from plvl.training.generalized_metrics import generalized_answer_statistics, generalized_metrics
from plvl.training.metrics import answer_statistics, grounding_metrics

_DESCRIPTION = """
Box accuracy, mask mIoU, oIoU and precision of referring expression comprehension and segmentation, and the metrics of
GRES and GREC for expressions that mean no object, one or several.
"""
_INPUTS = """
Args:
    predictions, references: a dict for each expression: "box" (x, y, w, h in pixels, or None) and "mask" (compressed
        RLE as pycocotools writes it, {"size": [height, width], "counts": str}, or None). The lines of a predictions
        file of run_grounding.py are such. References without a mask count only for boxes, those without a box only
        for masks; a prediction without what its reference has is a miss. In the place of "box" may stand "boxes" (a
        list of any number of x, y, w, h, [] for none), in predictions with "scores" (a number for each box); a
        reference of no boxes needs no mask.
    box_threshold: boxes of a lower score do not count for GREC (0.7 in the benchmark's program); all by default.
Returns:
    num_samples, num_boxes and num_masks (the references with a box, and with a mask), box_accuracy (IoU of 0.5 or
    more), box_miou, mask_miou, mask_oiou, mask_precision@0.5 to @0.9, all in 0..1; those of what no prediction has are
    left out, with its number. Where "boxes" are predicted, or a reference has not one of them but none or several,
    also num_no_target, gres_giou, gres_ciou, gres_n_acc, gres_t_acc, gres_precision@0.7 to @0.9, grec_precision (boxes
    match by generalised IoU), grec_precision_plain_iou and the same over samples of _none, _one and _several targets,
    grec_n_acc, grec_t_acc; the metrics of before are then over the references with one object, and of the boxes
    predicted the one of the best score counts.
"""
_CITATION = """
@misc{wang2025progressivelanguageguidedvisuallearning,
    title={Progressive Language-guided Visual Learning for Multi-Task Visual Grounding},
    author={Jingchao Wang and Hong Wang and Wenlong Zhang and Kunhua Ji and Dingjiang Huang and Yefeng Zheng},
    year={2025}, eprint={2504.16145}, archivePrefix={arXiv}, primaryClass={cs.CV}
}
"""


class GroundingMetric(evaluate.Metric):
    def _info(self):
        mask = {"size": datasets.List(datasets.Value("int64")), "counts": datasets.Value("string")}
        numbers = datasets.List(datasets.Value("float64"))
        sample = {"box": numbers, "boxes": datasets.List(numbers), "scores": numbers, "mask": mask}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": sample, "references": sample}),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Adds some expressions' answers and truths."""
        super().add_batch(predictions=_samples(predictions), references=_samples(references), **kwargs)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Adds one expression's answer and truth."""
        super().add(prediction=_samples([prediction])[0], reference=_samples([reference])[0], **kwargs)

    def _compute(self, predictions, references, box_threshold=None):
        generalized = {}
        if any(sample["boxes"] is not None for sample in predictions) or any(map(_is_general, references)):
            given = [_with_boxes(sample) for sample in predictions], [_with_boxes(sample) for sample in references]
            generalized = generalized_metrics(generalized_answer_statistics(*given, box_threshold))
        metrics = grounding_metrics(
            answer_statistics([_best(sample) for sample in predictions], [_only(sample) for sample in references])
        )
        metrics.pop("center_box_accuracy", None)
        return metrics | generalized


def _samples(given: list[dict]) -> list[dict]:
    """Four fields alone; a mask that is not there as an empty one, for `evaluate` takes no None in its place."""
    absent = {"size": [], "counts": ""}
    others = ("box", "boxes", "scores")
    return [{name: sample.get(name) for name in others} | {"mask": sample.get("mask") or absent} for sample in given]


def _is_general(truth: dict) -> bool:
    return truth["boxes"] is not None and len(truth["boxes"]) != 1


def _best(answer: dict) -> dict:
    """An answer for an expression that means one object."""
    if answer["boxes"] is None:
        return answer
    if not answer["boxes"]:
        return answer | {"box": [0.0] * 4}  # a miss also where no answer has boxes
    return answer | {"box": answer["boxes"][int(np.argmax(answer["scores"] or [0]))]}


def _only(truth: dict) -> dict:
    """What metrics of one object count of a truth: nothing where it means none or several."""
    if truth["boxes"] is None:
        return truth
    return {"box": None, "mask": None} if _is_general(truth) else truth | {"box": truth["boxes"][0]}


def _with_boxes(sample: dict) -> dict:
    return sample if sample["boxes"] is not None or not sample["box"] else sample | {"boxes": [sample["box"]]}
