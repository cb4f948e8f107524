"""What the tests of two processes run in each of them: two_processes.py IMAGE_ROOT LABEL_ROOT OUTPUT."""

import json
import sys
from pathlib import Path

import torch
from transformers.trainer_utils import set_seed

from plvl.data.loading import load_grounding_dataset
from small_runs import random_model, shapes_trainer


def main(image_root, label_root, output):
    roots, output = {"image_root": image_root, "label_root": label_root}, Path(output)
    results = {"evaluation": evaluation(roots, output), "training": {}}
    for tasks in (["rec"], ["res"], ["rec", "res"]):
        results["training"][" ".join(tasks)] = training(roots, output, tasks)
    results["resumed"] = resumed(roots, output)
    if torch.distributed.get_rank() == 0:
        (output / "results.json").write_text(json.dumps(results))


def evaluation(roots, output):
    """Metrics of a stream, whose shards are dealt out, and of 7 rows under two names, which are not."""
    trainer = shapes_trainer(roots, output, per_device_eval_batch_size=4)
    stream = load_grounding_dataset("refshapes", "val", **roots)
    rows = [row | {"dataset": "even" if place % 2 == 0 else "odd"} for place, row in enumerate(stream.take(7))]
    answers = trainer.evaluation_pass(stream, keep_answers=True).answers
    return {
        "stream": trainer.evaluate(stream),
        "rows": trainer.evaluate(rows),
        "sent_ids": [answer["sent_id"] for answer in answers],
    }


def training(roots, output, tasks):
    """Whether the processes have the same weights after two steps, and those are not the first ones."""
    torch.distributed.barrier()
    set_seed(0)
    model = random_model(tasks=tasks)
    before = weights(model)
    trainer = shapes_trainer(roots, output, model=model, max_steps=2)
    trainer.train()
    own = weights(model)
    first = own.clone()
    torch.distributed.broadcast(first, 0)
    ddp = trainer.model_wrapped
    return {
        "same": bool((first == own).all()),
        "changed": bool((before != own).any()),
        "searches_unused": ddp.find_unused_parameters,
        "metrics": measured_and_saved(trainer, roots, output / "_".join(tasks)),
    }


def measured_and_saved(trainer, roots, folder):
    metrics = trainer.evaluate(load_grounding_dataset("refshapes", "val", **roots))
    trainer.save_model(str(folder))
    return metrics


def resumed(roots, output):
    """Whether a run with Muon, from the checkpoint of its third step, ends as the run that wrote it."""
    ends = []
    for folder, start in ((output / "whole", None), (output / "again", output / "whole/checkpoint-3")):
        set_seed(0)
        model = random_model()
        arguments = {"max_steps": 5, "save_strategy": "steps", "save_steps": 3, "dataloader_num_workers": 1}
        trainer = shapes_trainer(roots, folder, model=model, muon_learning_rate=1e-3, **arguments)
        trainer.train(resume_from_checkpoint=start and str(start))
        ends.append(weights(model))
    return bool((ends[0] == ends[1]).all())


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


if __name__ == "__main__":
    main(*sys.argv[1:])
