"""
PLVLModel under Transformers' own tests of a model, at a tiny size.

Transformers tests torch.compile and offloading on an accelerator alone; the tests named `..._on_cpu` do so without.
"""

import tempfile
import unittest

import torch
from accelerate.utils import compute_module_sizes
from torch._dynamo.testing import CompileCounter
from transformers import BertConfig, PreTrainedModel, ResNetConfig, set_seed
from transformers.testing_utils import torch_device
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor, random_attention_mask

from plvl.configuration import PLVLConfig, PLVLTimmVisionConfig, PLVLVisionConfig
from plvl.modeling_plvl import PLVLModel


class PLVLModelTester:
    """A network of two blocks: the first attends over the whole grid, the second inside windows and to the text."""

    is_training = True
    batch_size = 3
    image_size = 32
    patch_size = 8
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    vocab_size = 99
    seq_length = 7
    # The tokens of the first vision block.
    encoder_seq_length = (image_size // patch_size) ** 2

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> PLVLConfig:
        vision_config = PLVLVisionConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            mlp_ratio=2,
            window_size=3,
            global_attention_layers=[0],
            position_grid_size=3,
            relative_position_grid_size=6,
        )
        text_config = BertConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=37,
            max_position_embeddings=40,
        )
        return PLVLConfig(
            vision_config=vision_config,
            text_config=text_config,
            cross_attention_layers=[1],
            cross_attention_heads=4,
            adapter_size=8,
            decoder_hidden_size=32,
            decoder_layers=2,
            decoder_attention_heads=4,
            decoder_ffn_dim=37,
            head_channels=16,
            head_hidden_channels=8,
        )

    def prepare_config_and_inputs_for_common(self):
        inputs = {
            "pixel_values": floats_tensor([self.batch_size, 3, self.image_size, self.image_size]),
            "input_ids": ids_tensor([self.batch_size, self.seq_length], self.vocab_size),
            "attention_mask": random_attention_mask([self.batch_size, self.seq_length]),
        }
        return self.get_config(), inputs


class PLVLModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (PLVLModel,)
    additional_model_inputs = ["input_ids"]
    test_can_init_all_missing_weights_before_2023 = True
    _is_composite = True

    def setUp(self):
        self.model_tester = PLVLModelTester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            batch_size, _, height, width = inputs["pixel_values"].shape
            masks = torch.zeros(batch_size, height, width, device=torch_device)
            masks[:, height // 4 : height // 2, width // 4 : width // 2] = 1
            boxes = torch.tensor([[0.375, 0.375, 0.25, 0.25]], device=torch_device).expand(batch_size, 4)
            inputs["labels"] = {"boxes": boxes, "masks": masks}
        return inputs

    def test_sdpa_can_dispatch_composite_models(self):
        # The mixin's looks for a vision_model and a language_model, each a PreTrainedModel.
        with tempfile.TemporaryDirectory() as folder:
            PLVLModel(self.model_tester.get_config()).save_pretrained(folder)
            for requested, expected in ((None, "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")):
                model = PLVLModel.from_pretrained(folder, attn_implementation=requested)
                with_attention = [module for module in model.modules() if type(module).__name__.endswith("Attention")]
                parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
                configs = [module.config for module in with_attention + parts if hasattr(module, "config")]
                self.assertGreater(len(configs), len(parts))
                self.assertEqual({config._attn_implementation for config in configs}, {expected})

    def test_eager_and_sdpa_give_the_same_answers(self):
        # The mixin's compares the vision encoder's states.
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        config.mask_text_padding_in_vision = True
        model = PLVLModel(config).to(torch_device).eval()
        answers = []
        for attention in ("eager", "sdpa"):
            model.set_attn_implementation(attention)
            with torch.no_grad():
                answers.append(model(**inputs).to_tuple())
        torch.testing.assert_close(*answers)

    def test_compiled_training_without_a_graph_break_on_cpu(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        inputs = self._prepare_for_class(inputs, PLVLModel, return_labels=True)
        model = PLVLModel(config).to(torch_device)
        losses, gradients = [], []
        # The backend that traces forward and backward and generates no code, which takes minutes on a CPU.
        for run in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
            model.zero_grad()
            set_seed(42)
            loss = run(**inputs).loss
            loss.backward()
            losses.append(loss)
            gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)

    def test_one_compiled_graph_serves_images_of_any_size_on_cpu(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = PLVLModel(config).to(torch_device).eval()
        graphs = CompileCounter()
        compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=graphs)
        for patches in (5, 7, 8):
            side = patches * self.model_tester.patch_size
            inputs["pixel_values"] = floats_tensor([self.model_tester.batch_size, 3, side, side])
            with torch.no_grad():
                torch.testing.assert_close(compiled(**inputs).to_tuple(), model(**inputs).to_tuple())
        self.assertEqual(graphs.frame_count, 1)

    def test_disk_offload_on_cpu(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = PLVLModel(config).eval()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            for share in self.model_split_percents:
                max_memory = {"cpu": int(share * compute_module_sizes(model)[""])}
                offloaded = PLVLModel.from_pretrained(folder, device_map="auto", max_memory=max_memory)
                self.assertEqual(set(offloaded.hf_device_map.values()), {"cpu", "disk"})
                with torch.no_grad():
                    torch.testing.assert_close(offloaded(**inputs).to_tuple(), model(**inputs).to_tuple())


class PLVLWithTimmTester(PLVLModelTester):
    """The same with a plain ViT of timm, of two blocks and five prefix tokens, rotary positions."""

    hidden_size = 32
    patch_size = 16
    encoder_seq_length = 5 + (32 // 16) ** 2

    def get_config(self) -> PLVLConfig:
        config = super().get_config()
        model_args = {"embed_dim": self.hidden_size, "depth": self.num_hidden_layers, "num_heads": 4}
        config.vision_config = PLVLTimmVisionConfig(
            architecture="vit_base_patch16_dinov3", model_args=model_args, image_size=self.image_size
        )
        return config


class PLVLWithTimmTest(PLVLModelTest):
    # timm's blocks give no attention weights, and choose their attention by timm's own settings.
    has_attentions = False

    def setUp(self):
        self.model_tester = PLVLWithTimmTester(self)

    @unittest.skip("timm makes its rotary positions anew for each size, in Python")
    def test_one_compiled_graph_serves_images_of_any_size_on_cpu(self):
        pass


class PLVLWithBackboneTester(PLVLModelTester):
    """The same with a convolutional backbone of Transformers in the place of the patches."""

    def get_config(self) -> PLVLConfig:
        config = super().get_config()
        config.vision_config.backbone_config = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"
        )
        return config


class PLVLWithBackboneTest(PLVLModelTest):
    def setUp(self):
        self.model_tester = PLVLWithBackboneTester(self)

    @unittest.skip("a convolutional network has no attention to choose, and Transformers refuses to set one")
    def test_eager_and_sdpa_give_the_same_answers(self):
        pass

    @unittest.skip("a convolutional network has no attention to choose")
    def test_sdpa_can_dispatch_composite_models(self):
        pass
