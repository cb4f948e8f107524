"""
PLVL's metrics for the `evaluate` library, at the image's own size:

    metric = evaluate.load("training/grounding_metric")
    metric.compute(predictions=[{"box": [10, 5, 20, 20], "mask": rle}], references=[{"box": [...], "mask": rle}])
"""

import datasets
import evaluate

from plvl.training.metrics import answer_statistics, grounding_metrics

_DESCRIPTION = "Box accuracy, mask mIoU, oIoU and precision of referring expression comprehension and segmentation."
_INPUTS = """
Args:
    predictions, references: a dict for each expression: "box" (x, y, w, h in pixels, or None) and "mask" (compressed
        RLE as pycocotools writes it, {"size": [height, width], "counts": str}, or None). The lines of a predictions
        file of run_grounding.py are such. References without a mask count only for boxes, those without a box only
        for masks; a prediction without what its reference has is a miss.
Returns:
    num_samples, num_boxes and num_masks (the references with a box, and with a mask), box_accuracy (IoU of 0.5 or
    more), box_miou, mask_miou, mask_oiou, mask_precision@0.5 to @0.9, all in 0..1; those of what no prediction has are
    left out, with its number.
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
        sample = {"box": datasets.List(datasets.Value("float64")), "mask": mask}
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

    def _compute(self, predictions, references):
        metrics = grounding_metrics(answer_statistics(predictions, references))
        metrics.pop("center_box_accuracy", None)
        return metrics


def _samples(given: list[dict]) -> list[dict]:
    """Box and mask alone; a mask that is not there as an empty one, for `evaluate` takes no None in its place."""
    absent = {"size": [], "counts": ""}
    return [{"box": sample.get("box"), "mask": sample.get("mask") or absent} for sample in given]
