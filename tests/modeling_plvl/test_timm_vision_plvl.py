"""Plain ViTs of timm as vision encoders: timm's own blocks, with language between their attention and MLP."""

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoBackbone, AutoModel

from conftest import small_config
from plvl.configuration import PLVLTimmVisionConfig
from plvl.modeling_plvl import PLVLModel, PLVLTimmVisionModel
from plvl.modeling_plvl.checkpoint_conversion import CheckpointMismatchError, build_model, timm_vit_weights
from plvl.modeling_plvl.onnx_plvl import export_onnx
from small_runs import make_trainer, without_dropout

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 4}
FAMILIES = {
    "dinov3": ("vit_base_patch16_dinov3", SMALL),
    "dinov2": ("vit_small_patch14_reg4_dinov2", SMALL | {"img_size": 70}),
    "siglip2": ("vit_base_patch16_siglip_512", SMALL | {"img_size": 64}),
    "clip": ("vit_base_patch16_clip_224", SMALL | {"img_size": 64}),
    "eva02": ("eva02_tiny_patch14_224", SMALL | {"img_size": 70}),
    "augreg": ("vit_tiny_patch16_224", SMALL | {"img_size": 64}),
    "mae": ("vit_large_patch16_224", SMALL | {"img_size": 64}),
    "deit3": ("deit3_small_patch16_224", SMALL | {"img_size": 64}),
    "rotary, another for each block": ("vit_small_patch16_rope_mixed_224", SMALL),
}
PREFIX_TOKENS = dict(zip(FAMILIES, (5, 5, 0, 1, 1, 1, 1, 1, 1), strict=True))
IDS = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3], [2, 9, 5, 3], [2, 4, 4, 3]])


def config_of(family, **changes):
    architecture, model_args = FAMILIES[family]
    vision = {"architecture": architecture, "model_args": model_args, "image_size": 112}
    return small_config(vision_config=vision, cross_attention_layers=[1, 2], cross_attention_heads=4, **changes)


def model_of(family, **changes) -> PLVLModel:
    torch.manual_seed(0)
    model = PLVLModel(config_of(family, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def images_of(model, number=2, rows=4, columns=6):
    """Not of the size that the position table was made for."""
    side = model.config.vision_config.patch_size
    return torch.randn(number, 3, rows * side, columns * side, generator=torch.Generator().manual_seed(1))


def labels_of(images, number):
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(number, *images.shape[-2:], generator=generator).round()
    return {"boxes": 0.2 + 0.3 * torch.rand(number, 4, generator=generator), "masks": masks}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@torch.no_grad()
def test_with_language_silent_the_features_are_timms(family):
    architecture, model_args = FAMILIES[family]
    torch.manual_seed(0)
    vit = timm.create_model(architecture, dynamic_img_size=True, **model_args).eval()
    for parameter in vit.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    model = build_model([timm_vit_weights(vit.state_dict(), "here")], config_of(family)).eval()
    for layer in model.vision_encoder.layers[1:]:
        layer.text_guidance.attention.out_proj.weight.zero_()
    images, prefix = images_of(model), PREFIX_TOKENS[family]
    features = model.vision_encoder.guide(model.get_image_embeddings(images), torch.randn(2, 5, 24), None)
    expected = vit.forward_features(images)[:, prefix:]
    assert expected.std() > 0.5 and features.shape == (2, 24, 48)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="block 1 waits for a text here: PLVLModel runs this encoder"):
        model.vision_encoder(images)


@torch.no_grad()
def test_prefix_tokens_do_not_ask_the_text(family):
    model, asked = model_of(family), []
    for layer in model.vision_encoder.layers[1:]:
        layer.text_guidance.attention.q_proj.register_forward_hook(lambda *call: asked.append(call[1][0].shape[1]))
    states = model(pixel_values=images_of(model), input_ids=IDS[:2], output_hidden_states=True).hidden_states
    assert asked == [24, 24]
    assert [each.shape[1] for each in states] == [24 + PREFIX_TOKENS[family]] * 4


@torch.no_grad()
def test_the_image_is_embedded_once_for_many_expressions(family):
    model = model_of(family)
    images = images_of(model)
    embeddings = model.get_image_embeddings(images)
    prefix_rows = -(-PREFIX_TOKENS[family] // 6)
    assert embeddings.shape == (2, 4 + prefix_rows, 6, 48)
    shared = model(image_embeddings=embeddings[1:], input_ids=IDS)
    repeated = model(pixel_values=images[[1, 1, 1, 1]], input_ids=IDS)
    torch.testing.assert_close(shared.center_logits, repeated.center_logits, atol=1e-4, rtol=1e-4)
    of_both = model(pixel_values=images, input_ids=IDS)
    torch.testing.assert_close(of_both.center_logits[2:], shared.center_logits[2:], atol=1e-4, rtol=1e-4)
    assert (shared.center_logits[0] - shared.center_logits[1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_model_comes_back_from_disk(family, tmp_path):
    model = model_of(family)
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = {"pixel_values": images_of(model), "input_ids": IDS[:2]}
    assert torch.equal(loaded.eval()(**inputs).center_logits, model(**inputs).center_logits)


@torch.no_grad()
def test_it_is_a_backbone_of_its_own_also_from_the_whole_models_folder(family, tmp_path):
    model = model_of(family)
    model.save_pretrained(tmp_path / "whole")
    vision = PLVLTimmVisionModel.from_pretrained(tmp_path / "whole").eval()
    images, blocks = images_of(model), vision.layers
    assert torch.equal(blocks[2].mlp_half.mlp.fc2.weight, model.vision_encoder.layers[2].mlp_half.mlp.fc2.weight)
    vision.config.out_indices = [1, 3]
    vision.save_pretrained(tmp_path / "vision")
    backbone = AutoModel.from_pretrained(tmp_path / "vision").eval()
    assert type(AutoBackbone.from_config(backbone.config)) is PLVLTimmVisionModel
    assert [each.shape for each in backbone(images).feature_maps] == [(2, 48, 4, 6)] * 2
    outputs = backbone(images, output_hidden_states=True)
    prefix = PREFIX_TOKENS[family]
    assert len(outputs.hidden_states) == 4 and backbone.channels == [48, 48]
    first = outputs.hidden_states[1][:, prefix:].transpose(1, 2).unflatten(2, (4, 6))
    assert torch.equal(outputs.feature_maps[0], first)
    last = backbone.norm(outputs.hidden_states[3])[:, prefix:].transpose(1, 2).unflatten(2, (4, 6))
    assert torch.equal(outputs.feature_maps[1], last)


def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none(family):
    gradients = []
    for checkpointed in (False, True):
        model = without_dropout(model_of(family)).train()
        for layer in model.vision_encoder.layers:
            layer.drop_path = torch.nn.Identity()
            layer.attention_half.drop_path1 = layer.mlp_half.drop_path2 = torch.nn.Identity()
        if checkpointed:
            model.gradient_checkpointing_enable()
        images = images_of(model)
        model(pixel_values=images, input_ids=IDS, labels=labels_of(images, 4)).loss.backward()
        # DDP would wait for a gradient that never comes.
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
        gradients.append(model.vision_encoder.layers[0].attention_half.attn.proj.weight.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_vit_is_frozen_and_language_learns(frozen, processor, image, tmp_path):
    rates = {"learning_rate": 3e-3, "vision_learning_rate": 2e-3, "text_learning_rate": 1e-3}
    trainer = make_trainer(model_of("dinov3"), processor, image, tmp_path, freeze_vision_encoder=frozen, **rates)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    of_vit = {name for name, _ in trainer.model.named_parameters() if name.startswith("vision_encoder.")}
    guidance = {name for name in of_vit if ".text_guidance." in name}
    assert guidance and guidance <= trained
    assert bool(trained & (of_vit - guidance)) is not frozen
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    for group in trainer.create_optimizer().param_groups:
        for name in (names[id(parameter)] for parameter in group["params"]):
            part = 2e-3 if name in of_vit else 1e-3 if name.startswith("text_encoder") else 3e-3
            assert group["lr"] == part, name


@pytest.mark.parametrize("vision", ["paper", "timm"])
def test_what_must_not_be_split_is_there(vision):
    """accelerate wraps these where nobody says what FSDP is to wrap, and ends where one is missing."""
    model = PLVLModel(small_config()) if vision == "paper" else model_of("clip")
    kinds = {type(module).__name__ for module in model.modules()}
    block = {"paper": "PLVLVisionLayer", "timm": "PLVLTimmVisionLayer"}[vision]
    assert {block, "PLVLDecoderLayer", "PLVLHead"} <= set(model._no_split_modules) <= kinds


def test_weights_that_do_not_fit_are_refused_with_their_names():
    config = config_of("dinov2")
    weights = timm.create_model(FAMILIES["dinov2"][0], **FAMILIES["dinov2"][1]).state_dict()
    assert timm_vit_weights(weights | {"head.weight": torch.ones(3)}, "here").dropped == ["head.weight"]
    del weights["blocks.1.ls2.gamma"]
    weights |= {"blocks.0.attn.extra": torch.ones(2), "norm.weight": torch.ones(7)}
    with pytest.raises(CheckpointMismatchError) as error:
        build_model([timm_vit_weights(weights, "w.pth")], config)
    for line in (
        "w.pth does not fit",
        "missing (1):\n  blocks.1.ls2.gamma (vision_encoder.layers.1.mlp_half.ls2.gamma here)",
        "left over (1):\n  blocks.0.attn.extra",
        "of another shape (1):\n  norm.weight (vision_encoder.norm.weight here): (7,), expected (48,)",
    ):
        assert line in str(error.value)


def test_sizes_are_timms_and_saved_with_the_configuration():
    config = PLVLTimmVisionConfig(architecture="vit_small_patch14_reg4_dinov2", model_args={"depth": 7}, image_size=98)
    sizes = {"patch_size": 14, "hidden_size": 384, "num_hidden_layers": 7, "num_attention_heads": 6}
    assert {name: getattr(config, name) for name in sizes} == sizes
    assert config.num_prefix_tokens == 5 and config.grid_size == 7
    assert PLVLTimmVisionConfig(**config.to_dict()).to_dict() == config.to_dict()


def test_sizes_that_are_not_what_timm_builds_are_refused():
    saved = PLVLTimmVisionConfig(architecture="vit_tiny_patch16_224", model_args={"depth": 2}, image_size=64).to_dict()
    changed = PLVLTimmVisionConfig(**saved | {"model_args": {"depth": 3}})
    with pytest.raises(ValueError, match="num_hidden_layers is 2 in the configuration, and 3 in what timm builds"):
        PLVLTimmVisionModel(changed)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"architecture": "vit_base_patch16_dinov4"}, "timm has no .*; the nearest are vit_base_patch16_dinov3"),
        ({"architecture": "vit_base_patch16_rpn_224"}, "blocks of the kind ResPostBlock: between their attention"),
        ({"architecture": "vit_base_patch16_xp_224"}, "blocks of the kind ParallelScalingBlock"),
        ({"architecture": "deit_tiny_distilled_patch16_224"}, "is a VisionTransformerDistilled and no plain ViT"),
        (
            {"architecture": "vit_tiny_patch16_224", "model_args": {"dept": 1}},
            "model_args: {'dept': 1} does not go with",
        ),
        (
            {"architecture": "vit_tiny_patch16_224", "model_args": {"drop_path_rate": 0.2}},
            "model_args: drop_path_rate of vit_tiny_patch16_224 is PLVL's to set",
        ),
        ({"model_type": "plvl_timm_vision"}, "model_type 'plvl_timm_vision' is none here: it is 'plvl_vision'"),
        ({"model_type": "vit", "hidden_size": 96}, "model_type 'vit' is none here"),
        ({"architecture": "resnet18"}, "resnet18 is a ResNet and no plain ViT; backbone_config"),
        (
            {"architecture": "vit_small_patch14_dinov2", "hidden_size": 96},
            "hidden_size is 384 in vit_small_patch14_dinov2, got 96: model_args changes what timm builds",
        ),
        (
            {"architecture": "vit_small_patch14_dinov2", "image_size": 224 + 16},
            r"image_size must be a multiple of patch_size \(14\), got 240",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(vision, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        small_config(vision_config=vision)


def test_it_is_exported_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = model_of("dinov3")
    export_onnx(model, tmp_path / "model.onnx", (64, 96))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = {"pixel_values": images_of(model), "input_ids": IDS[:2], "attention_mask": torch.ones_like(IDS[:2])}
    known = {each.name for each in session.get_inputs()}
    [boxes] = session.run(["pred_boxes"], {name: each.numpy() for name, each in inputs.items() if name in known})
    with torch.no_grad():
        np.testing.assert_allclose(boxes, model(**inputs).pred_boxes.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", ["dinov3", "clip"], indirect=True)
@torch.no_grad()
def test_it_compiles_without_a_break(family):
    model = model_of(family)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    inputs = {"pixel_values": images_of(model), "input_ids": IDS}
    torch.testing.assert_close(compiled(**inputs).pred_boxes, model(**inputs).pred_boxes)
