"""PLVLConfig under Transformers' own tests of a configuration."""

import unittest
from types import SimpleNamespace

from transformers_tests.test_configuration_common import ConfigTester

from plvl.configuration import PLVLConfig, PLVLVisionConfig


class PLVLConfigTest(unittest.TestCase):
    model_tester = SimpleNamespace(
        get_config=lambda: PLVLConfig(text_config={"vocab_size": 99, "num_hidden_layers": 3}, adapter_size=16)
    )

    def test_config(self):
        # The vocabulary belongs to the text encoder's configuration.
        ConfigTester(
            self,
            config_class=PLVLConfig,
            has_text_modality=False,
            common_properties=["num_hidden_layers"],
            tasks=["rec"],
            cross_attention_layers=[2, 11],
            adapter_size=16,
        ).run_common_tests()


class PLVLVisionConfigTest(unittest.TestCase):
    def test_config(self):
        ConfigTester(self, config_class=PLVLVisionConfig, has_text_modality=False, hidden_size=96).run_common_tests()
