"""What a training run can be told: Transformers' arguments and PLVL's own."""

import logging
import os
from dataclasses import dataclass, field

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

from plvl.training.sharding import complete_sharding

logger = logging.getLogger(__name__)

LR_DECAYS = ("step", "epoch")


@dataclass
class PLVLTrainingArguments(TrainingArguments):
    """[`transformers.TrainingArguments`] with the learning rates and schedule of arXiv 2504.16145 as defaults."""

    learning_rate: float = field(default=2.5e-5, metadata={"help": "For all but the two encoders."})
    text_learning_rate: float = field(default=5e-6, metadata={"help": "For the text encoder."})
    vision_learning_rate: float = field(default=1e-5, metadata={"help": "For the vision encoder."})
    muon_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Has Muon train the weights of all linear layers, at this rate, which moves a weight about "
            "as far as AdamW would; `optim` trains the rest."
        },
    )
    freeze_text_encoder: bool = field(default=False, metadata={"help": "Leave the text encoder as it is."})
    freeze_vision_encoder: bool = field(
        default=False, metadata={"help": "Leave the vision encoder as it is, but for what lets language in."}
    )
    weight_decay: float = field(default=1e-4, metadata={"help": "Weight decay, AdamW's and Muon's."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Clips the gradient's norm; 0 does not."})
    lr_scheduler_type: str = field(default="polynomial", metadata={"help": "The schedule of the learning rates."})
    lr_scheduler_kwargs: dict | str | None = field(
        default=None,
        metadata={"help": "Its parameters, as JSON; by default the paper's for the polynomial one: power 0.9, to 0."},
    )
    lr_decay_by: str = field(
        default="step",
        metadata={"help": "Whether the polynomial schedule falls at each step or at each epoch, as in the paper."},
    )
    total_train_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Expressions in an optimizer step over all processes; per_device_train_batch_size is the most a "
            "process takes at once, and gradient accumulation makes up the rest."
        },
    )
    max_skipped_steps: int = field(
        default=0, metadata={"help": "Steps whose loss is not finite that are passed over before the run stops."}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Evaluations in a row that may better neither box accuracy nor mask mIoU."},
    )
    ddp_timeout: int = field(
        default=600, metadata={"help": "Seconds that a process waits for the others before the run ends in an error."}
    )
    # No parameter is without a gradient, so DDP need not look for any.
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Has DDP look for parameters without a gradient."}
    )
    # Rows keep their columns until the collator has read them.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False."})

    def __post_init__(self):
        join_processes_on_cpus(self)
        super().__post_init__()
        complete_sharding(self)
        if self.lr_scheduler_kwargs is None and self.lr_scheduler_type == "polynomial":
            self.lr_scheduler_kwargs = {"power": 0.9, "lr_end": 0.0}
        if self.lr_decay_by not in LR_DECAYS:
            raise ValueError(f"lr_decay_by must be one of {', '.join(LR_DECAYS)}, got {self.lr_decay_by!r}")
        if self.lr_decay_by == "epoch" and (self.lr_scheduler_type != "polynomial" or self.get_warmup_steps(1000)):
            raise ValueError("lr_decay_by=epoch goes with lr_scheduler_type=polynomial and no warm-up")
        refuse_several_gpus(self)
        if self.total_train_batch_size:
            if self.auto_find_batch_size:
                raise ValueError("total_train_batch_size fixes the batch that auto_find_batch_size would change")
            self._divide_total_batch()

    @property
    def device(self) -> torch.device:
        """Without a number on CPUs: torch 2.11 loads no optimizer's state onto "cpu:0"."""
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    def _divide_total_batch(self):
        if self.gradient_accumulation_steps != 1:
            raise ValueError("total_train_batch_size decides about gradient_accumulation_steps: give one of them")
        self.per_device_train_batch_size, self.gradient_accumulation_steps = divide_total_batch(
            self.total_train_batch_size, self.world_size, self.per_device_train_batch_size
        )
        if self.process_index == 0:
            logger.info(
                "total batch %d = %d processes x %d expressions x %d accumulated batches",
                self.total_train_batch_size,
                self.world_size,
                self.per_device_train_batch_size,
                self.gradient_accumulation_steps,
            )


def join_processes_on_cpus(args: TrainingArguments):
    """Joins the processes that a launcher has started: Transformers gives those on CPUs no `ddp_timeout`."""
    launched = all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    on_cpus = args.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
    if on_cpus and launched and several and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(args.ddp_backend or "gloo", timeout=args.ddp_timeout_delta)


def refuse_several_gpus(args: TrainingArguments):
    """Raises ValueError where Trainer would copy the model to several GPUs (DataParallel)."""
    if args.n_gpu > 1:
        raise ValueError(
            f"one process sees {args.n_gpu} GPUs: start one process for each (accelerate launch --multi_gpu "
            f"--num_processes {args.n_gpu} ...) or show it one (CUDA_VISIBLE_DEVICES=0)"
        )


def divide_total_batch(total: int, num_processes: int, most_at_once: int) -> tuple[int, int]:
    """
    How each process takes its share of a batch.

    Args:
        total: expressions in an optimizer step.
        num_processes: that share them.
        most_at_once: that a process can take in one forward pass.

    Returns:
        (expressions in a forward pass of a process, forward passes in an optimizer step), as few passes as there can
        be.

    Raises:
        ValueError: the processes cannot share the batch evenly; the message names numbers of processes that can.
    """
    if total % num_processes:
        possible = [number for number in range(1, total + 1) if total % number == 0]
        raise ValueError(
            f"a total batch of {total} cannot be shared by {num_processes} processes; "
            f"it can by {', '.join(map(str, possible))}. Change total_train_batch_size or the number of processes."
        )
    share = total // num_processes
    at_once = next(size for size in range(min(share, most_at_once), 0, -1) if share % size == 0)
    return at_once, share // at_once
