"""What the tests of FSDP run in each of two processes: sharded_run.py IMAGE_ROOT LABEL_ROOT OUTPUT."""

import json
import os
import sys
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers.trainer_utils import set_seed

from plvl.data.loading import load_grounding_dataset
from small_runs import random_model, shapes_trainer


def main(image_root, label_root, output):
    roots, output = {"image_root": image_root, "label_root": label_root}, Path(output)
    set_seed(0)
    trainer = shapes_trainer(roots, output / "evaluated", model=random_model())
    results = {"before": metrics_of(trainer, roots), "own_before": own_parameters(trainer.model)}
    for name, start in (("whole", None), ("again", output / "whole/checkpoint-2")):
        trainer = trained(roots, output / name, start)
        results[name] = metrics_of(trainer, roots)
    moments = (state["exp_avg"] for state in trainer.optimizer.state.values())
    results |= {
        "of_all": sum(each.numel() for each in trainer.model.parameters()),
        "own": own_parameters(trainer.model),
        "own_moments": own_numbers(moments),
        "device": str(trainer.args.device),
    }
    results["bf16"] = metrics_of(trained(roots, output / "bf16", None, bf16=True, max_steps=1), roots)
    os.environ.pop("ACCELERATE_USE_FSDP")
    trainer = trained(roots, output / "unsharded", None)
    results["own_unsharded"] = own_parameters(trainer.model)
    Path(output, f"results_{torch.distributed.get_rank()}.json").write_text(json.dumps(results), encoding="utf-8")


def trained(roots, output_dir, start, **arguments):
    set_seed(0)
    defaults = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    defaults |= {"text_learning_rate": 1e-3, "vision_learning_rate": 1e-3}
    trainer = shapes_trainer(roots, output_dir, model=random_model(), **(defaults | arguments))
    trainer.train(resume_from_checkpoint=start and str(start))
    trainer.save_model()
    return trainer


def metrics_of(trainer, roots):
    return trainer.evaluate(load_grounding_dataset("refshapes", "val", **roots))


def own_parameters(model) -> int:
    """As between two steps: after a forward the first module still has all of its own."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return own_numbers(model.parameters())


def own_numbers(tensors) -> int:
    """How many of the numbers of some tensors this process has."""
    return sum((each.to_local() if isinstance(each, DTensor) else each).numel() for each in tensors)


if __name__ == "__main__":
    main(*sys.argv[1:])
