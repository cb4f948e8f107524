"""A model with low-rank additions (LoRA) that have learned something."""

import torch

from plvl.modeling_plvl import PLVLModel
from plvl.training.finetuning.low_rank import add_low_rank


def model_with_additions(model_folder, rank: int) -> PLVLModel:
    model = PLVLModel.from_pretrained(model_folder)
    add_low_rank(model, rank)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model
