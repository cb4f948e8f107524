"""PLVLProcessor under Transformers' own tests of a processor."""

import unittest

from transformers import BertTokenizer
from transformers_tests.test_processing_common import ProcessorTesterMixin

from plvl.processing import PLVLImageProcessor, PLVLProcessor

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lower", "newer", "upper", "older", "longer", "string"]


class PLVLProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = PLVLProcessor

    @classmethod
    def _setup_tokenizer(cls):
        return BertTokenizer(vocab={token: index for index, token in enumerate(VOCABULARY)})

    @classmethod
    def _setup_image_processor(cls):
        return PLVLImageProcessor(size={"height": 32, "width": 32})
