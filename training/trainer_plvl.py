"""PLVLTrainer: Transformers' Trainer with three learning rates, named losses and grounding metrics."""

import logging
import math
from functools import partial
from pathlib import Path

import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import broadcast, gather_object
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    EvalLoopOutput,
    EvalPrediction,
    TrainOutput,
    rotate_checkpoints,
    speed_metrics,
)

from plvl.data.collator import GroundingCollator
from plvl.modeling_plvl.model_card_plvl import keep_card_of_hub, write_model_card
from plvl.processing.encoded_expressions import EncodedExpressions
from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.batch_losses import BatchLosses
from plvl.training.callbacks import KeepBestModels, SkipBadSteps, StopEarly, best_models
from plvl.training.checkpoint_manifest import write_manifest
from plvl.training.checkpoints import (
    UNFINISHED,
    agreed_checkpoint,
    best_checkpoint,
    explained_failure,
    remove_unfinished,
    replace_folder,
    what_prevents_going_on,
)
from plvl.training.combined_optimizer import CombinedOptimizer
from plvl.training.evaluation import (
    Evaluated,
    counted_batches,
    evaluate_batches,
    means_over_sets,
    merge,
    rows_of_process,
    targets_at_most,
)
from plvl.training.optimization import epoch_factor, freeze_encoders, linear_weights, muon_of, parameter_groups
from plvl.training.resumable_batches import (
    BatchesPosition,
    ResumableBatches,
    batches_in_epoch,
    collated_already,
    expressions_per_image,
    most_workers,
    number_of_rows,
)
from plvl.training.resume_settings import check_resume_settings, settings_to_resume, write_resume_settings
from plvl.training.sharding import share_out_model
from plvl.training.signals import EvaluationStoppedError, StopOnSignal, worker_signals
from plvl.training.trainer_contract import completed_arguments, refuse, say_what_has_no_effect

logger = logging.getLogger(__name__)


class LossNotFiniteError(FloatingPointError):
    """The loss of a batch is infinite or no number; the message names the batch's rows."""


class PLVLTrainer(Trainer):
    """
    Trains and evaluates a [`PLVLModel`] on rows of a grounding dataset.

    Pass the [`PLVLProcessor`] as `processing_class`; rows become batches through [`GroundingCollator`]. The rows to
    train on are [`TrainingRows`], or any dataset or sequence of rows; `augmentation`, as `training_augmentation` makes
    it, and a `data_collator` of one's own change these alone. Each log line carries the losses by name,
    `evaluate` gives the metrics of `grounding_metrics`, and the models that were best by box accuracy and by mask
    mIoU are kept. A run that is started again from a checkpoint ends as if it had never stopped.

    Arguments are [`Trainer`]'s, in its order, and `augmentation`; `args` may be plain [`TrainingArguments`], whose
    learning rate is then that of the encoders, too. `compute_metrics` gets an [`EvalPrediction`] of boxes, predicted
    and true, `(samples, 4)` as cx, cy, w, h in 0..1, beside the project's own metrics. docs/training.md lists what is
    refused and what has no effect.
    """

    args: PLVLTrainingArguments

    def __init__(
        self,
        model=None,
        args=None,
        data_collator=None,
        train_dataset=None,
        eval_dataset=None,
        processing_class=None,
        *others,
        augmentation=None,
        **named_others,
    ):
        args = completed_arguments(args)
        say_what_has_no_effect(args)
        refuse(named_others)
        per_image = expressions_per_image(train_dataset)
        if data_collator is None:
            data_collator = GroundingCollator(processing_class, augmentation, per_image)
        super().__init__(
            model, args, data_collator, train_dataset, eval_dataset, processing_class, *others, **named_others
        )
        # The losses are means over the batch, whatever else `forward` takes.
        self.model_accepts_loss_kwargs = False
        if isinstance(self.data_collator, GroundingCollator):  # also where model_init has made the model
            self.data_collator.max_targets = targets_at_most(self.model.config)
        self.given_optimizer = self.optimizer or (self.optimizer_cls_and_kwargs or [None])[0]
        self._losses_of_batch: dict[str, torch.Tensor] = {}
        self._losses = BatchLosses()
        self._skipped_before = self._first_step = 0
        self._last_checkpoint: Path | None = None
        self._batches = self._start = self._position = None
        self._writes_checkpoint = False
        freeze_encoders(self.model, self.args)
        if self.compute_metrics is not None and "rec" not in self.model.config.tasks:
            raise ValueError("PLVLTrainer takes compute_metrics for boxes, and this model has no task rec")
        self._on_signal = StopOnSignal()
        callbacks = [self._on_signal, SkipBadSteps()]
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

    @property
    def _bad_steps(self) -> SkipBadSteps:
        # Transformers puts others in its place (restore_callback_states_from_checkpoint).
        return next(each for each in self.callback_handler.callbacks if isinstance(each, SkipBadSteps))

    def call_model_init(self, trial=None):
        model = super().call_model_init(trial)
        freeze_encoders(model, self.args)
        return model

    # What is trained on

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """
        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*): a checkpoint's folder; True (or "true") for the last
                one in `output_dir` that a run can go on from.
            trial, ignore_keys_for_eval: as for [`Trainer.train`].

        Raises:
            ValueError: there is no such checkpoint, or this run cannot go on from it; the message says why.
        """
        if self.is_world_process_zero():
            remove_unfinished(self.args.output_dir)
        checkpoint = self._named_checkpoint(resume_from_checkpoint)
        self._start, self._skipped_before, self._first_step = None, 0, 0
        # As the run begins: what it changes on its way (a callback that thaws a layer) it changes again.
        self._settings = settings_to_resume(self)
        if checkpoint:
            state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
            self._skipped_before = SkipBadSteps.skipped_steps_of(state)
            self._first_step = state.global_step
            at_end = 0 < self.args.max_steps <= self._first_step
            # At the end of the run there is no place in the rows to find.
            check_resume_settings(checkpoint, self._settings, self.args.ignore_data_skip or at_end)
            if at_end:
                return self._end_at(checkpoint)
            if not self.args.ignore_data_skip:
                self._start = BatchesPosition.load(checkpoint, self.args.process_index)
        self._last_checkpoint = None
        try:
            output = super().train(checkpoint, trial, ignore_keys_for_eval)
        finally:
            self._on_signal.put_back()
        if self.args.save_total_limit != 1:  # of which Transformers keeps the best alone, in the end
            self._warn_of_lost_checkpoint()
        self._refuse_to_end_hardly_trained(self._bad_steps.skipped_steps)
        return output._replace(training_loss=output.metrics.get("train_loss", float("nan")))

    def _refuse_to_end_hardly_trained(self, skipped: int):
        made = self.state.global_step
        if not self.interrupted and 2 * skipped > made:
            raise LossNotFiniteError(
                f"{skipped} of {made} steps were skipped, since the loss was not finite: the model has hardly been "
                "trained. A smaller learning rate, warm-up (warmup_steps) or max_grad_norm may help, in another "
                "output_dir"
            )

    def _named_checkpoint(self, given: str | bool | None) -> str | None:
        """The folder that `resume_from_checkpoint` means; a command line says true and false in letters."""
        if isinstance(given, str) and given.lower() in ("true", "false") and not Path(given).exists():
            given = given.lower() == "true"
        if not given:
            return None
        if given is True:
            last = agreed_checkpoint(self.args.output_dir)
            if last is None:
                raise ValueError(
                    f"resume_from_checkpoint is True, but {self.args.output_dir} has no checkpoint to go on from: "
                    "leave it out to begin, or name the checkpoint's folder"
                )
            return last
        reason = what_prevents_going_on(given)
        if reason:
            raise ValueError(f"resume_from_checkpoint={given}: {reason}")
        return str(given)

    def _end_at(self, checkpoint) -> TrainOutput:
        """The end of a run that has made all its steps; Transformers would make one more."""
        logger.info("%s is the end of the run, nothing is left to train", checkpoint)
        self._load_from_checkpoint(checkpoint)
        self.state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
        self._refuse_to_end_hardly_trained(self._skipped_before)
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        return TrainOutput(self.state.global_step, float("nan"), {})

    def get_train_dataloader(self):
        args, rows = self.args, self.train_dataset
        if rows is None:
            raise ValueError("PLVLTrainer: training requires a train_dataset")
        # What auto_find_batch_size has come down to; a group of rows about one image stays whole.
        per_image = expressions_per_image(rows)
        batch_size = self._train_batch_size
        if args.auto_find_batch_size:
            batch_size = max(batch_size // per_image, 1) * per_image
        # A second try begins where the first one did.
        self._position = self._start
        self._losses.begin_run()
        bad_steps = self._bad_steps
        bad_steps.bad_step, bad_steps.skipped_steps = False, self._skipped_before
        num_rows = number_of_rows(rows)
        if num_rows is None:
            num_batches = args.max_steps * args.gradient_accumulation_steps
        else:
            num_batches = batches_in_epoch(num_rows, batch_size, args.world_size, args.gradient_accumulation_steps)
        num_workers = most_workers(rows, args.world_size, args.dataloader_num_workers)
        seed = args.seed if args.data_seed is None else args.data_seed
        self._batches = ResumableBatches(
            rows,
            self.data_collator,
            batch_size,
            num_batches,
            args.process_index,
            args.world_size,
            num_workers,
            seed,
            start=self._start,
        )
        # What accelerate makes of a DataLoader, but the rows are dealt out already, and the batches are whole.
        return DataLoaderShard(
            self._batches,
            batch_size=None,
            collate_fn=collated_already,
            num_workers=num_workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor if num_workers else None,
            multiprocessing_context=args.dataloader_multiprocessing_context if num_workers else None,
            generator=torch.Generator().manual_seed(seed),
            worker_init_fn=worker_signals(),
        )

    def num_examples(self, dataloader):
        batches = dataloader.dataset
        if not isinstance(batches, ResumableBatches):
            return super().num_examples(dataloader)
        return len(batches) * batches.batch_size * batches.num_processes

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except RuntimeError as error:
            if "size mismatch" not in str(error):
                raise
            misfits = str(error).split("\n\t")[1:] or [str(error)]
            raise ValueError(
                f"{resume_from_checkpoint}: the checkpoint is of another model: {len(misfits)} tensors do not fit, "
                f"such as {misfits[0]}"
            ) from error

    def _issue_warnings_after_load(self, load_result):
        """A checkpoint of another model must not be gone on from with what happens to fit."""
        if load_result.missing_keys or load_result.unexpected_keys:
            raise ValueError(
                "the checkpoint is of another model: it lacks "
                f"{load_result.missing_keys or 'nothing'} and has {load_result.unexpected_keys or 'nothing'} too much"
            )

    # A step

    def create_optimizer(self, model=None):
        if self.optimizer is not None:
            return self.optimizer
        model = self.model if model is None else model
        chosen = self.optimizer_cls_and_kwargs
        optimizer_cls, options = chosen or self.get_optimizer_cls_and_kwargs(self.args, model)
        own_groups = {"params", "model", "optimizer_dict"}.intersection(options)
        if own_groups or not isinstance(optimizer_cls, type) or not issubclass(optimizer_cls, torch.optim.Optimizer):
            raise ValueError(
                f"optim={self.args.optim!s} groups the parameters itself and would lose the encoders' learning rates: "
                "choose another, or give the trainer `optimizers`"
            )
        matrices = [] if self.args.muon_learning_rate is None else linear_weights(model)
        groups = parameter_groups(model, self.args, set(self.get_decay_parameter_names(model)), leave_out=matrices)
        # Trainer takes groups of parameters as an option of the optimizer.
        self.optimizer_cls_and_kwargs = optimizer_cls, options | {"params": groups}
        try:
            super().create_optimizer(model)
        finally:
            self.optimizer_cls_and_kwargs = chosen
        if matrices:
            self.optimizer = CombinedOptimizer(muon=muon_of(model, matrices, self.args), others=self.optimizer)
        return self.optimizer

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.lr_scheduler is None and self.args.lr_decay_by == "epoch":
            steps_per_epoch = len(self._batches) // self.args.gradient_accumulation_steps
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
        self._losses_of_batch = {name: loss.detach() for name, loss in outputs.loss_dict.items()}
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        origin = inputs.pop("origin", None)  # there is none of another loader than get_train_dataloader's
        # Running means and variances have seen a batch before its loss is known.
        buffers = [(each, each.clone()) for each in model.buffers()] if self.args.max_skipped_steps else []
        loss = super().training_step(model, inputs, num_items_in_batch)
        if origin is not None:
            self._position = self._batches.position_after(origin, self._position)
        here = not torch.isfinite(loss).item()
        anywhere, self._on_signal.agreed = self._anyone(here, self._on_signal.received)
        if anywhere:
            names = ["that were given"] if origin is None else origin.row_names
            self._skip_or_stop(names if here else None)
            self._losses.skip()
            for buffer, value in buffers:
                buffer.copy_(value)
            return torch.zeros_like(loss)
        self._losses.add(self._losses_of_batch)
        return loss

    def _anyone(self, *here: bool) -> list[bool]:
        """For each of some questions, whether any process says yes."""
        if self.args.world_size == 1:
            return list(here)
        answers = torch.tensor(here, dtype=torch.int32, device=self.args.device)
        torch.distributed.all_reduce(answers, torch.distributed.ReduceOp.MAX)
        return answers.bool().tolist()

    def _skip_or_stop(self, names: list[str] | None):
        bad_steps = self._bad_steps
        bad_steps.mark()
        skipped, most = bad_steps.skipped_steps, self.args.max_skipped_steps
        rows = f"the rows {', '.join(names)}" if names else "a batch of another process, which names its rows"
        what = f"step {self.state.global_step + 1}: the loss of {rows} is not finite"
        if skipped > most:
            raise LossNotFiniteError(f"{what} (max_skipped_steps is {most})")
        logger.warning("%s; step skipped, %d of at most %d", what, skipped, most)

    def log(self, logs, start_time=None):
        if "loss" in logs:
            self._losses.complete(logs, self.accelerator)
            if self._bad_steps.skipped_steps:
                logs["skipped_steps"] = self._bad_steps.skipped_steps
        if "train_loss" in logs:
            steps = self.state.global_step - self._first_step
            self._losses.complete_end(logs, steps * self.args.gradient_accumulation_steps)
        super().log(logs, start_time)

    # Evaluation

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """
        As [`Trainer.evaluate`], with the metrics of [`Evaluated`], which count every row once. Of several sets (a
        dict) each has its metrics under its name; box accuracy and mask mIoU also have their mean over the sets, under
        the names that a single set has them, and by these the best models are kept.
        """
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(sets, dict):
            means = means_over_sets(metrics, metric_key_prefix, sets, best_models(self.model.config))
            self.log(means)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, means)
            metrics |= means
        return metrics

    def get_eval_dataloader(self, eval_dataset=None):
        """Batches of this process's share of a set, with their truths: nothing is augmented."""
        if isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset[eval_dataset]
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if rows is None:
            raise ValueError("PLVLTrainer: evaluation requires an eval_dataset")
        return self.get_test_dataloader(rows)

    def get_test_dataloader(self, test_dataset):
        if self.processing_class is None:
            raise ValueError("PLVLTrainer: evaluation requires the model's PLVLProcessor as processing_class")
        args, most = self.args, targets_at_most(self.model.config)
        return torch.utils.data.DataLoader(
            rows_of_process(test_dataset, args.process_index, args.world_size),
            batch_size=args.eval_batch_size,
            collate_fn=GroundingCollator(self.processing_class, keep_truths=True, max_targets=most),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            generator=torch.Generator(),
            worker_init_fn=worker_signals(),
        )

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        """
        As [`Trainer.evaluation_loop`]; `predictions` and `label_ids` are boxes, `(samples, 4)`, cx, cy, w, h in 0..1,
        in the order of the rows (of a stream on several processes: process by process), or None from a model without
        the task "rec".
        """
        evaluated = self._ground_all(dataloader)
        metrics = evaluated.metrics()
        predicted, true = evaluated.predicted_boxes, evaluated.true_boxes
        if self.compute_metrics is not None:
            metrics |= self.compute_metrics(EvalPrediction(predictions=predicted, label_ids=true))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(predicted, true, metrics, evaluated.num_samples)

    def evaluation_pass(self, dataset, keep_answers: bool = False) -> Evaluated:
        """
        Grounds every row of a dataset, each in one process; all processes get the whole result.

        Args:
            dataset: rows.
            keep_answers (`bool`): whether the result has the answers, too.
        """
        return self._ground_all(self.get_test_dataloader(dataset), keep_answers)

    def report(self, evaluated: Evaluated, metric_key_prefix: str, start: float) -> dict[str, float]:
        """Logs the metrics of a pass that began at `start` (`time.time()`) and gives them, as `evaluate` does."""
        found = evaluated.metrics()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        metrics |= speed_metrics(metric_key_prefix, start, num_samples=found["num_samples"])
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _ground_all(self, dataloader, keep_answers: bool = False) -> Evaluated:
        args = self.args
        share_out_model(self)
        if args.world_size > 1:
            # Each process has running means and variances of its own batches; the first one's are saved.
            broadcast(list(self.model.buffers()))
        self.model.eval()
        self.callback_handler.eval_dataloader = dataloader
        anyone = (lambda here: self._anyone(here)[0]) if self.is_fsdp_enabled else bool
        batches = counted_batches(self._until_signal(dataloader), anyone)
        # Under FSDP only the whole model's forward has the weights together.
        encode = None if self.is_fsdp_enabled else EncodedExpressions(self.model)
        part = evaluate_batches(batches, partial(self._ground, encode=encode), self.processing_class, keep_answers)
        if self._anyone(self._on_signal.received)[0]:
            raise EvaluationStoppedError("SIGTERM: the evaluation is left")
        if args.world_size == 1:
            return part
        return merge(gather_object([part]), in_turn=isinstance(dataloader.dataset, torch.utils.data.Subset))

    def _until_signal(self, batches):
        for batch in batches:
            if self._on_signal.received:
                return
            yield batch

    def _maybe_log_save_evaluate(
        self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate=None
    ):
        """A scheduler that takes the machine back does not wait for the end of an evaluation."""
        given = tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate
        try:
            super()._maybe_log_save_evaluate(*given)
        except EvaluationStoppedError:
            self._on_signal.agreed = True
            self._on_signal.on_step_end(self.args, self.state, self.control)
            super()._maybe_log_save_evaluate(*given)

    def _ground(self, inputs, encode=None):
        inputs = self._prepare_inputs(inputs)
        with self.accelerator.autocast():
            if encode:
                inputs["text_embeds"] = encode(inputs.pop("input_ids"), inputs["attention_mask"])
            outputs = self.model(**inputs)
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        return outputs, inputs["labels"]

    # Checkpoints

    def _get_output_dir(self, trial):
        folder = super()._get_output_dir(trial)
        return str(Path(folder, UNFINISHED)) if self._writes_checkpoint else folder

    def _push_from_checkpoint(self, checkpoint_folder):
        if not self._writes_checkpoint:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial):
        """A checkpoint gets its name only when it is whole; until then Trainer writes it among the unfinished."""
        args, run_dir = self.args, Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        written, best_so_far = run_dir / UNFINISHED / name, self.state.best_model_checkpoint
        self._warn_of_lost_checkpoint()
        # Transformers asks for its place, which a state of an earlier version has not.
        self.state.stateful_callbacks.setdefault(SkipBadSteps.__name__, {})
        with explained_failure(run_dir, name, args.should_save):
            self._writes_checkpoint = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writes_checkpoint = False
            self.state.best_model_checkpoint = best_checkpoint(run_dir, self.state, best_so_far)
            if args.should_save:
                self.state.save_to_json(str(written / TRAINER_STATE_NAME))
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                self._complete(written, run_dir / name)
            self.accelerator.wait_for_everyone()
            # Machines without a common disk have each a part of their own.
            if self.is_local_process_zero() and written.exists():
                self._complete(written, run_dir / name)
        self._last_checkpoint = run_dir / name
        if args.push_to_hub:
            self._push_from_checkpoint(str(run_dir / name))
        if args.should_save:
            rotate_checkpoints(
                str(run_dir),
                save_total_limit=args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=False,
            )

    def _warn_of_lost_checkpoint(self):
        last = self._last_checkpoint
        if last is not None and not last.is_dir() and self.is_world_process_zero():
            logger.warning("%s, which this run has written, is gone: somebody removed it, and what stood beside", last)
            self._last_checkpoint = None

    def _complete(self, written: Path, target: Path):
        write_resume_settings(written, self._settings)
        write_manifest(written)
        replace_folder(written, target)

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
        Writes PLVL's card into `output_dir`, with the numbers of the metrics.json there; `push_to_hub` calls it. A
        card that somebody wrote is kept: that of `output_dir`, or else that of the repository, which comes here.
        Takes [`Trainer`]'s arguments. The card's datasets are `dataset_tags`, or else `dataset`; its language, its
        tasks and the splits come from the model and metrics.json, so `language`, `tasks` and `dataset_args` change
        nothing. Without `license` the card claims none.
        """
        if not self.is_world_process_zero():
            return
        if self.hub_model_id:
            keep_card_of_hub(self.args.output_dir, self.hub_model_id, self.args.hub_token)
        write_model_card(
            self.args.output_dir,
            self.hub_model_id or model_name or Path(self.args.output_dir).name,
            self.accelerator.unwrap_model(self.model).config,
            license=license,
            tags=tags,
            base_model=finetuned_from,
            datasets=dataset_tags or dataset,
        )
