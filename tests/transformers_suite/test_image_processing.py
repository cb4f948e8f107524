"""PLVLImageProcessor, with torchvision and with Pillow, under Transformers' own tests of an image processor."""

import unittest

from transformers_tests.test_image_processing_common import ImageProcessingTester, ImageProcessingTestMixin

from plvl.processing import PLVLImageProcessor, PLVLImageProcessorPil


class PLVLImageProcessingTester(ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"height": 32, "width": 32})
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        # Transformers' own looks for the name of this file's folder among its models.
        return {"torchvision": PLVLImageProcessor, "pil": PLVLImageProcessorPil}


class PLVLImageProcessingTest(ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = PLVLImageProcessingTester
    test_cast_dtype = True
