"""PLVLTrainer: Transformers' Trainer with three learning rates, named losses and grounding metrics."""

import logging
import math
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import broadcast, gather_object
from transformers import Trainer, TrainerState
from transformers.trainer import OPTIMIZER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, rotate_checkpoints, speed_metrics

from plvl.data.collator import GroundingCollator
from plvl.modeling_plvl.model_card_plvl import write_model_card
from plvl.training.callbacks import (
    ClearBadGradients,
    KeepBestModels,
    StopEarly,
    StopOnSignal,
    leave_sigterm_to_the_process,
)
from plvl.training.checkpoints import UNFINISHED, explained_failure, remove_unfinished, replace_folder, step_of
from plvl.training.evaluation import (
    Evaluated,
    EvaluationCollator,
    counted_batches,
    evaluate_batches,
    merge,
    rows_of_process,
)
from plvl.training.feed import (
    FeedCollator,
    FeedPosition,
    TrainingFeed,
    batches_in_epoch,
    expressions_per_picture,
    most_workers,
    number_of_rows,
)
from plvl.training.joint_optimizer import JointOptimizer

logger = logging.getLogger(__name__)

ENCODERS = {"text_encoder": "freeze_text_encoder", "vision_encoder": "freeze_vision_encoder"}


class LossNotFiniteError(FloatingPointError):
    """The loss of a batch is infinite or no number; the message names the batch's rows."""


def linear_weights(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights of all linear layers that are trained: the matrices of the blocks; the head has convolutions."""
    linear_layers = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return [layer.weight for layer in linear_layers if layer.weight.requires_grad]


class PLVLTrainer(Trainer):
    """
    Trains and evaluates a [`PLVLModel`] on rows of a grounding dataset.

    Pass the [`PLVLProcessor`] as `processing_class`; rows become batches through [`GroundingCollator`]. The rows to
    train on are [`TrainingRows`], or any dataset or sequence of rows; `augmentation`, as `training_augmentation` makes
    it, and a `data_collator` of one's own change these alone. Each log line carries the losses by name,
    `evaluate` gives the metrics of `grounding_metrics`, and the models that were best by box accuracy and by mask
    mIoU are kept. A run that is started again from a checkpoint ends as if it had never stopped.
    """

    def __init__(self, model=None, args=None, processing_class=None, data_collator=None, augmentation=None, **kwargs):
        per_picture = expressions_per_picture(kwargs.get("train_dataset"))
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            data_collator=data_collator or GroundingCollator(processing_class, augmentation, per_picture),
            **kwargs,
        )
        # The losses are means over the batch, whatever else `forward` takes.
        self.model_accepts_loss_kwargs = False
        self._batch_losses: dict[str, torch.Tensor] = {}
        self._loss_sums = defaultdict(float)
        self._loss_batches = 0
        self._skipped_steps = 0
        self._feed: TrainingFeed | None = None
        self._position: FeedPosition | None = None
        self._freeze()
        self._on_signal, self._on_bad_step = StopOnSignal(), ClearBadGradients(self)
        callbacks = [self._on_signal, self._on_bad_step]
        if self.args.eval_strategy != "no":
            callbacks.append(KeepBestModels(self))
        if self.args.early_stopping_patience is not None:
            callbacks.append(StopEarly(self.args.early_stopping_patience))
        for callback in callbacks:
            self.add_callback(callback)

    @property
    def interrupted(self) -> bool:
        """Whether a signal has ended the training, which the same command continues."""
        return self._on_signal.agreed

    def _freeze(self):
        for name, parameter in self.model.named_parameters():
            frozen = any(name.startswith(part) and getattr(self.args, flag) for part, flag in ENCODERS.items())
            if frozen and ".text_guidance." not in name:
                parameter.requires_grad_(False)

    # What is trained on

    def train(self, resume_from_checkpoint=None, **kwargs):
        if self.is_world_process_zero():
            remove_unfinished(self.args.output_dir)
        self._position = None
        if resume_from_checkpoint:
            self._check_optimizer(resume_from_checkpoint)
            if not self.args.ignore_data_skip:
                self._position = FeedPosition.load(resume_from_checkpoint, self.args.process_index)
                self._check_position(resume_from_checkpoint)
            if 0 < self.args.max_steps <= step_of(resume_from_checkpoint):
                return self._end_at(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _end_at(self, checkpoint) -> TrainOutput:
        """The end of a run that has made all its steps; Transformers would make one more."""
        logger.warning("%s is the end of the run, nothing is left to train", checkpoint)
        self._load_from_checkpoint(checkpoint)
        self.state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
        return TrainOutput(self.state.global_step, float("nan"), {})

    def _check_optimizer(self, checkpoint):
        """Raises ValueError if the checkpoint was written with Muon and this run is without it, or the other way."""
        state = Path(checkpoint, OPTIMIZER_NAME)
        if not state.is_file():  # FSDP and DeepSpeed write folders, and have no Muon
            return
        rate = self.args.muon_learning_rate
        had_muon = "muon" in torch.load(state, map_location="cpu", mmap=True, weights_only=True)
        if had_muon != (rate is not None):
            raise ValueError(
                f"{checkpoint} was written {'with' if had_muon else 'without'} muon_learning_rate, in this run it is "
                f"{rate}: the optimizer cannot go on. Start it as it was."
            )

    def _check_position(self, checkpoint):
        """Raises ValueError if the checkpoint was written by a run that dealt out its rows in another way."""
        per_picture = expressions_per_picture(self.train_dataset)
        now = self.args.world_size, self.args.per_device_train_batch_size, per_picture
        at = self._position
        then = at and (at.num_processes, at.batch_size, at.expressions_per_picture)
        if now != then:
            form = "{} processes of {} rows each, {} about each picture"
            raise ValueError(
                f"{checkpoint} was written by {form.format(*then) if then else 'fewer processes'}, this run has "
                f"{form.format(*now)}: it cannot find its place in the rows. Start it as it was, or with "
                "ignore_data_skip to begin that epoch again."
            )

    def get_train_dataloader(self):
        args, rows = self.args, self.train_dataset
        num_rows = number_of_rows(rows)
        if num_rows is None:
            num_batches = args.max_steps * args.gradient_accumulation_steps
        else:
            share = args.train_batch_size, args.world_size, args.gradient_accumulation_steps
            num_batches = batches_in_epoch(num_rows, *share)
        num_workers = most_workers(rows, args.world_size, args.dataloader_num_workers)
        seed = args.seed if args.data_seed is None else args.data_seed
        self._feed = TrainingFeed(
            rows,
            args.train_batch_size,
            num_batches,
            args.process_index,
            args.world_size,
            num_workers,
            seed,
            start=self._position,
        )
        # What accelerate makes of a DataLoader, but the feed has dealt out the rows already.
        return DataLoaderShard(
            self._feed,
            batch_size=None,
            collate_fn=FeedCollator(self.data_collator),
            num_workers=num_workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor if num_workers else None,
            multiprocessing_context=args.dataloader_multiprocessing_context if num_workers else None,
            generator=torch.Generator().manual_seed(seed),
            worker_init_fn=leave_sigterm_to_the_process,
        )

    def num_examples(self, dataloader):
        return len(self._feed) * self.args.train_batch_size * self.args.world_size

    def _issue_warnings_after_load(self, load_result):
        """A checkpoint of another model must not be gone on from with what happens to fit."""
        if load_result.missing_keys or load_result.unexpected_keys:
            raise ValueError(
                "the checkpoint is of another model: it lacks "
                f"{load_result.missing_keys or 'nothing'} and has {load_result.unexpected_keys or 'nothing'} too much"
            )

    # A step

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            model = model or self.model
            optimizer_cls, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            if self.args.muon_learning_rate is None:
                self.optimizer = optimizer_cls(self.parameter_groups(model), **optimizer_kwargs)
            else:
                matrices = linear_weights(model)
                muon, groups = self._muon(matrices), self.parameter_groups(model, leave_out=matrices)
                self.optimizer = JointOptimizer(muon=muon, others=optimizer_cls(groups, **optimizer_kwargs))
        return self.optimizer

    def _muon(self, matrices: list[torch.nn.Parameter]) -> torch.optim.Muon:
        if self.is_fsdp_enabled:
            raise ValueError(
                f"muon_learning_rate={self.args.muon_learning_rate} is for whole matrices, and FSDP cuts them up"
            )
        return torch.optim.Muon(
            matrices,
            lr=self.args.muon_learning_rate,
            weight_decay=self.args.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def parameter_groups(self, model, leave_out=()) -> list[dict]:
        """Text encoder, vision encoder and the rest, each with its learning rate, with and without weight decay."""
        left_out = {id(parameter) for parameter in leave_out}
        rates = {
            "text_encoder": self.args.text_learning_rate,
            "vision_encoder": self.args.vision_learning_rate,
            "": self.args.learning_rate,
        }
        decayed = set(self.get_decay_parameter_names(model))
        groups = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and id(parameter) not in left_out:
                part = next(part for part in rates if name.removeprefix("module.").startswith(part))
                groups[rates[part], name in decayed].append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": self.args.weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.lr_scheduler is None and self.args.lr_decay_by == "epoch":
            steps_per_epoch = len(self._feed) // self.args.gradient_accumulation_steps
            factor = partial(
                epoch_factor,
                steps_per_epoch=steps_per_epoch,
                epochs=math.ceil(num_training_steps / steps_per_epoch),
                power=self.args.lr_scheduler_kwargs.get("power", 1.0),
            )
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        self._batch_losses = {name: loss.detach() for name, loss in outputs.loss_dict.items()}
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        batch, names = inputs.pop("feed"), inputs.pop("row_names")
        # Running means and variances have seen a batch before its loss is known.
        buffers = [(each, each.clone()) for each in model.buffers()] if self.args.max_skipped_steps else []
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._position = self._feed.position_after(batch, self._position)
        here = not torch.isfinite(loss).item()
        anywhere, self._on_signal.agreed = self._anyone(here, self._on_signal.received)
        if anywhere:
            self._skip_or_stop(names if here else None)
            for buffer, value in buffers:
                buffer.copy_(value)
            return torch.zeros_like(loss)
        # Kept on the device: nothing waits for the numbers before they are logged.
        for name, part in self._batch_losses.items():
            self._loss_sums[name] += part
        self._loss_batches += 1
        return loss

    def _anyone(self, *here: bool) -> list[bool]:
        """For each of some questions, whether any process says yes."""
        if self.args.world_size == 1:
            return list(here)
        answers = torch.tensor(here, dtype=torch.int32, device=self.args.device)
        torch.distributed.all_reduce(answers, torch.distributed.ReduceOp.MAX)
        return answers.bool().tolist()

    def _skip_or_stop(self, names: list[str] | None):
        self._skipped_steps += not self._on_bad_step.bad_step
        self._on_bad_step.bad_step = True
        rows = f"the rows {', '.join(names)}" if names else "a batch of another process, which names its rows"
        what = f"step {self.state.global_step + 1}: the loss of {rows} is not finite"
        if self._skipped_steps > self.args.max_skipped_steps:
            raise LossNotFiniteError(f"{what} (max_skipped_steps is {self.args.max_skipped_steps})")
        logger.warning("%s; step skipped, %d of at most %d", what, self._skipped_steps, self.args.max_skipped_steps)

    def log(self, logs, start_time=None):
        if "loss" in logs and self._loss_batches:
            means = torch.stack(list(self._loss_sums.values())) / self._loss_batches
            means = self.accelerator.gather(means[None]).mean(0)
            logs |= dict(zip(self._loss_sums, means.tolist(), strict=True))
            if self._skipped_steps:
                logs["skipped_steps"] = self._skipped_steps
            self._loss_sums.clear()
            self._loss_batches = 0
        super().log(logs, start_time)

    # Evaluation

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """
        Args:
            eval_dataset (*optional*): rows, or a dict of several such; `self.eval_dataset` by default.
            ignore_keys: Transformers' own; of no meaning here.
            metric_key_prefix (`str`): goes before each metric's name.

        Returns:
            `dict[str, float]`: the metrics of [`Evaluated`], which count every row once.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, dict):
            metrics = {}
            for name, part in dataset.items():
                metrics |= self.evaluate(part, metric_key_prefix=f"{metric_key_prefix}_{name}")
            return metrics
        start = time.time()
        return self.report(self.evaluation_pass(dataset), metric_key_prefix, start)

    def report(self, evaluated: Evaluated, metric_key_prefix: str, start: float) -> dict[str, float]:
        """Logs the metrics of a pass that began at `start` (`time.time()`) and gives them, as `evaluate` does."""
        found = evaluated.metrics()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        metrics |= speed_metrics(metric_key_prefix, start, num_samples=found["num_samples"])
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluation_pass(self, dataset, keep_answers: bool = False) -> Evaluated:
        """
        Grounds every row of a dataset, each in one process; all processes get the whole result.

        Args:
            dataset: rows.
            keep_answers (`bool`): whether the result has the answers, too.
        """
        args = self.args
        loader = torch.utils.data.DataLoader(
            rows_of_process(dataset, args.process_index, args.world_size),
            batch_size=args.eval_batch_size,
            collate_fn=EvaluationCollator(GroundingCollator(self.processing_class)),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            generator=torch.Generator(),
            worker_init_fn=leave_sigterm_to_the_process,
        )
        if args.world_size > 1 and not self.is_fsdp_enabled:
            # Each process has running means and variances of its own batches; the first one's are saved.
            broadcast(list(self.model.buffers()))
        self.model.eval()
        anyone = (lambda here: self._anyone(here)[0]) if self.is_fsdp_enabled else bool
        part = evaluate_batches(counted_batches(loader, anyone), self._ground, self.processing_class, keep_answers)
        return merge(gather_object([part])) if args.world_size > 1 else part

    def _ground(self, inputs):
        inputs = self._prepare_inputs(inputs)
        with self.accelerator.autocast():
            return self.model(**inputs), inputs["labels"]

    # Checkpoints

    def _save_checkpoint(self, model, trial):
        """A checkpoint gets its name only when it is whole."""
        args, output_dir = self.args, Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        pushes, args.push_to_hub = args.push_to_hub, False
        with explained_failure(output_dir, name):
            args.output_dir = str(output_dir / UNFINISHED)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                args.output_dir, args.push_to_hub = str(output_dir), pushes
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                replace_folder(output_dir / UNFINISHED / name, output_dir / name)
            self.accelerator.wait_for_everyone()
            # Machines without a common disk have each a part of their own.
            if self.is_local_process_zero() and (output_dir / UNFINISHED / name).exists():
                replace_folder(output_dir / UNFINISHED / name, output_dir / name)
        if pushes:
            self._push_from_checkpoint(str(output_dir / name))
        if args.should_save:
            rotate_checkpoints(str(output_dir), save_total_limit=args.save_total_limit, use_mtime=False)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        self._position.save(output_dir, self.args.process_index)

    def create_model_card(
        self,
        language=None,
        license=None,
        tags=None,
        model_name=None,
        finetuned_from=None,
        tasks=None,
        dataset_tags=None,
        dataset=None,
        dataset_args=None,
    ):
        """
        Writes PLVL's card into `output_dir`, with the numbers of the metrics.json there; `push_to_hub` calls it.
        Takes [`Trainer`]'s arguments. The card's datasets are `dataset_tags`, or else `dataset`; its language, its
        tasks and the splits come from the model and metrics.json, so `language`, `tasks` and `dataset_args` change
        nothing. Without `license` the card claims none.
        """
        if not self.is_world_process_zero():
            return
        write_model_card(
            self.args.output_dir,
            self.hub_model_id or model_name or Path(self.args.output_dir).name,
            self.accelerator.unwrap_model(self.model).config,
            license=license,
            tags=tags,
            base_model=finetuned_from,
            datasets=dataset_tags or dataset,
        )


def epoch_factor(step: int, steps_per_epoch: int, epochs: int, power: float) -> float:
    """The paper's schedule: what the learning rates are multiplied by at a step, (1 - epoch / epochs) ** power."""
    return max(1 - (step // steps_per_epoch) / epochs, 0.0) ** power
