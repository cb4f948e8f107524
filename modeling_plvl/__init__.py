"""The PLVL network, its losses and how its weights are loaded."""

from transformers import AutoModel

from plvl.configuration.configuration_plvl import PLVLConfig
from plvl.modeling_plvl.modeling_plvl import PLVLModel, PLVLOutput, PLVLPreTrainedModel

AutoModel.register(PLVLConfig, PLVLModel)

__all__ = ["PLVLModel", "PLVLOutput", "PLVLPreTrainedModel"]
