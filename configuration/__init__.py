"""PLVL's configuration classes, training recipes and accelerate configurations."""

from transformers import AutoConfig

from plvl.configuration.configuration_plvl import PLVLConfig, PLVLVisionConfig

AutoConfig.register(PLVLConfig.model_type, PLVLConfig)

__all__ = ["PLVLConfig", "PLVLVisionConfig"]
