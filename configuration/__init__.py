"""PLVL's configuration classes, training recipes and accelerate configurations."""

from transformers import AutoConfig

from plvl.configuration.configuration_plvl import PLVLConfig, PLVLTimmVisionConfig, PLVLVisionConfig

for config_class in (PLVLConfig, PLVLTimmVisionConfig, PLVLVisionConfig):
    AutoConfig.register(config_class.model_type, config_class)

__all__ = ["PLVLConfig", "PLVLTimmVisionConfig", "PLVLVisionConfig"]
