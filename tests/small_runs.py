"""Small runs of training: a model that answers at random, its trainer, and programs in processes of their own."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import StochasticDepth
from transformers import set_seed

from conftest import small_config
from plvl.data.collator import GroundingCollator
from plvl.data.loading import load_grounding_dataset
from plvl.data.training_rows import load_training_rows
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.training import PLVLTrainer, PLVLTrainingArguments
from plvl.training.checkpoints import last_good_checkpoint

HERE = Path(__file__).parent


def shapes_processor(roots) -> PLVLProcessor:
    rows = load_grounding_dataset("refshapes", "train", **roots).remove_columns("image")
    tokenizer = build_word_vocabulary((row["text"] for row in rows), vocab_size=99)
    return PLVLProcessor(PLVLImageProcessor(size={"height": 64, "width": 96}), tokenizer)


def random_model(**changes) -> PLVLModel:
    """Its answers differ from row to row, as a new model's hardly do."""
    torch.manual_seed(0)
    model = PLVLModel(small_config(**changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, StochasticDepth):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


@dataclass
class JitteringCollator:
    """Stands for training augmentation: draws from every generator a collator may use."""

    collator: GroundingCollator

    def __call__(self, rows):
        batch = self.collator(rows)
        noise = torch.rand(1) + random.random() + float(np.random.rand())
        return batch | {"pixel_values": batch["pixel_values"] + 0.1 * noise}


def shapes_trainer(roots, output_dir, model=None, rows=None, **arguments) -> PLVLTrainer:
    processor = shapes_processor(roots)
    defaults = {
        "output_dir": str(output_dir),
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "num_train_epochs": 1,
        "logging_steps": 1,
    }
    return PLVLTrainer(
        model=model or random_model(),
        args=PLVLTrainingArguments(**(defaults | arguments)),
        processing_class=processor,
        data_collator=JitteringCollator(GroundingCollator(processor)),
        train_dataset=rows or load_training_rows("refshapes", "train", **roots, shuffle_buffer=16, seed=1),
        eval_dataset=load_grounding_dataset("refshapes", "val", **roots),
    )


def make_rows(image):
    """Two rows about the image of tests/conftest.py, one of them without a mask."""
    return [
        {
            "image": image,
            "text": text,
            "sent_id": number,
            "file_name": f"{number}.jpg",
            "boxes": [[10, 5, 20, 20]],
            "segmentation": segmentation,
            "height": 40,
            "width": 60,
        }
        for number, (text, segmentation) in enumerate(
            [
                ("the red square", {"polygons": [[10, 5, 30, 5, 30, 25, 10, 25]], "size": None, "counts": None}),
                ("the man", None),
            ]
        )
    ]


def make_trainer(model, processor, image, tmp_path, rows=None, **arguments) -> PLVLTrainer:
    """A trainer on these two rows."""
    rows = rows or make_rows(image)
    defaults = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "save_strategy": "no"}
    args = PLVLTrainingArguments(**(defaults | arguments))
    return PLVLTrainer(
        model=model, args=args, processing_class=processor, train_dataset=rows, eval_dataset=make_rows(image)
    )


def resumable_run(roots, output_dir, workers: int = 0, callbacks=(), **arguments) -> PLVLTrainer:
    """Two epochs of 7 steps with evaluations, begun or gone on with: a checkpoint at every fourth step."""
    set_seed(0)
    defaults = {
        "num_train_epochs": 2,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": 4,
        "eval_strategy": "steps",
        "eval_steps": 4,
        "dataloader_num_workers": workers,
        "per_device_train_batch_size": 16,
    }
    trainer = shapes_trainer(roots, output_dir, **(defaults | arguments))
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=last_good_checkpoint(output_dir))
    return trainer


def run_program(
    program: str, *arguments, processes: int = 1, check: bool = True, configuration: str = "2_cpu_processes"
):
    """Runs a program that stands beside this file in a process of its own, or in several that accelerate launches."""
    launcher = [sys.executable]
    if processes > 1:
        file = Path(__file__).parents[1] / f"configuration/accelerate/{configuration}.yaml"
        # Port 0: one that is free.
        launcher += ["-m", "accelerate.commands.launch", "--config_file", str(file), "--main_process_port=0"]
        launcher += [f"--num_processes={processes}"]
    command = [*launcher, str(HERE / program), *map(str, arguments)]
    finished = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=600)
    if check and finished.returncode:
        raise AssertionError(f"{program} ended with {finished.returncode}:\n{finished.stderr[-6000:]}")
    return finished


def start_program(program: str, *arguments) -> subprocess.Popen:
    """Starts a program that stands beside this file; its stdout is to be read line by line."""
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    return subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)


def _environment() -> dict[str, str]:
    # This checkout's rooms, whichever is installed.
    paths = os.pathsep.join(map(str, (HERE, HERE.parent)))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
