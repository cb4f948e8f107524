"""The PLVL network, its losses and how its weights are loaded."""

from transformers import AutoBackbone, AutoModel

from plvl.configuration.configuration_plvl import PLVLConfig, PLVLTimmVisionConfig, PLVLVisionConfig
from plvl.modeling_plvl.modeling_plvl import PLVLModel, PLVLOutput, PLVLPreTrainedModel
from plvl.modeling_plvl.timm_vision_plvl import PLVLTimmVisionModel
from plvl.modeling_plvl.vision_model_plvl import PLVLVisionModel

AutoModel.register(PLVLConfig, PLVLModel)
for config_class, model_class in ((PLVLVisionConfig, PLVLVisionModel), (PLVLTimmVisionConfig, PLVLTimmVisionModel)):
    AutoModel.register(config_class, model_class)
    AutoBackbone.register(config_class, model_class)

__all__ = ["PLVLModel", "PLVLOutput", "PLVLPreTrainedModel", "PLVLTimmVisionModel", "PLVLVisionModel"]
