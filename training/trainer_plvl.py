"""PLVLTrainer: Transformers' Trainer with three learning rates, named losses and grounding metrics."""

from collections import defaultdict
from pathlib import Path

import torch
from transformers import Trainer

from plvl.data.collator import GroundingCollator
from plvl.modeling_plvl.model_card_plvl import write_model_card
from plvl.training.metrics import grounding_metrics, grounding_statistics


class PLVLTrainer(Trainer):
    """
    Trains and evaluates a [`PLVLModel`] on rows of a grounding dataset.

    Pass the [`PLVLProcessor`] as `processing_class`; rows become batches through [`GroundingCollator`]. Each log line
    carries the losses by name, and `evaluate` gives the metrics of `grounding_metrics`.
    """

    def __init__(self, model=None, args=None, processing_class=None, data_collator=None, **kwargs):
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            data_collator=data_collator or GroundingCollator(processing_class),
            compute_metrics=lambda evaluated: grounding_metrics(evaluated.predictions),
            **kwargs,
        )
        # The losses are means over the batch, whatever else `forward` takes.
        self.model_accepts_loss_kwargs = False
        self._loss_sums = defaultdict(float)
        self._loss_steps = 0

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            optimizer_cls, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer_cls(self.parameter_groups(model or self.model), **optimizer_kwargs)
        return self.optimizer

    def parameter_groups(self, model) -> list[dict]:
        """Text encoder, vision encoder and the rest, each with its learning rate, with and without weight decay."""
        rates = {
            "text_encoder": self.args.text_learning_rate,
            "vision_encoder": self.args.vision_learning_rate,
            "": self.args.learning_rate,
        }
        decayed = set(self.get_decay_parameter_names(model))
        groups = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                part = next(part for part in rates if name.removeprefix("module.").startswith(part))
                groups[rates[part], name in decayed].append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": self.args.weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        if model.training:
            # Kept on the device: nothing waits for the numbers before they are logged.
            for name, loss in outputs.loss_dict.items():
                self._loss_sums[name] += loss.detach()
            self._loss_steps += 1
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs, start_time=None):
        if "loss" in logs and self._loss_steps:
            logs |= {name: (total / self._loss_steps).item() for name, total in self._loss_sums.items()}
            self._loss_sums.clear()
            self._loss_steps = 0
        super().log(logs, start_time)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        if prediction_loss_only:
            return outputs.loss, None, None
        return outputs.loss, grounding_statistics(outputs, inputs["labels"]), inputs["labels"]["boxes"]

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
