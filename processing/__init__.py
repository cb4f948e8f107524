"""Images and expressions into the network, answers out of it, and drawn."""

from transformers import AutoImageProcessor, AutoProcessor

from plvl.configuration.configuration_plvl import PLVLConfig
from plvl.processing.image_processing_plvl import PLVLImageProcessor, PLVLImageProcessorPil
from plvl.processing.processing_plvl import PLVLProcessor

AutoImageProcessor.register(
    PLVLConfig, image_processor_classes={"torchvision": PLVLImageProcessor, "pil": PLVLImageProcessorPil}
)
AutoProcessor.register(PLVLConfig, PLVLProcessor)

__all__ = ["PLVLImageProcessor", "PLVLImageProcessorPil", "PLVLProcessor"]
