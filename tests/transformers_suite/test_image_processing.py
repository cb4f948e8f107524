"""PLVLImageProcessor, with torchvision and with Pillow, under Transformers' own tests of an image processor."""

import unittest

from transformers_tests.test_image_processing_common import ImageProcessingTester, ImageProcessingTestMixin

from plvl.processing import PLVLImageProcessor, PLVLImageProcessorPil


class PLVLImageProcessingTester(ImageProcessingTester):
    batch_size = 7
    num_channels = 3
    min_resolution = 30
    max_resolution = 400

    def __init__(self):
        # Transformers' own looks for its model of the name of this file's folder.
        pass

    def prepare_image_processor_dict(self):
        return {"size": {"height": 32, "width": 32}}

    def expected_output_image_shape(self, images):
        return self.num_channels, 32, 32


class PLVLImageProcessingTest(ImageProcessingTestMixin, unittest.TestCase):
    image_processing_classes = {"torchvision": PLVLImageProcessor, "pil": PLVLImageProcessorPil}
    test_cast_dtype = True

    def setUp(self):
        self.image_processor_tester = PLVLImageProcessingTester()

    @property
    def image_processor_dict(self):
        return self.image_processor_tester.prepare_image_processor_dict()
