"""What a test of two processes runs in each: evaluation of five rows that mean none, one and two objects."""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from PIL import Image

from plvl.data.masks import NO_OBJECT
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.training.evaluation import evaluate_rows
from small_runs import make_rows, make_trainer, random_model


def main(output):
    image = Image.new("RGB", (60, 40), (30, 60, 90))
    image.paste((220, 40, 40), (10, 5, 30, 25))
    one, other = make_rows(image)
    none = one | {"text": "the zebra", "boxes": [], "segmentation": NO_OBJECT}
    several = one | {"text": "both squares", "boxes": [[10, 5, 20, 20], [40, 10, 10, 25]], "segmentation": None}
    rows = [
        row | {"dataset": "toy", "sent_id": number} for number, row in enumerate([one, none, several, other, none])
    ]
    tokenizer = build_word_vocabulary(row["text"] for row in rows)
    processor = PLVLProcessor(PLVLImageProcessor(size={"height": 64, "width": 96}), tokenizer, box_threshold=0.1)
    PartialState(cpu=True)
    model = random_model(targets="any", max_targets=3)
    trainer = make_trainer(model, processor, image, output, rows=rows, per_device_eval_batch_size=2)
    several_processes = trainer.evaluation_pass(rows).metrics()
    alone = evaluate_rows(model, processor, rows, batch_size=2).metrics()
    if torch.distributed.get_rank() == 0:
        results = {"several": several_processes, "alone": alone}
        Path(output, "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
