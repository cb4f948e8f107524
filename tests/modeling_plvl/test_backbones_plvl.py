"""Backbones of Transformers and timm in the place of the patch projection."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from conftest import SMALL_BACKBONES, small_config
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.onnx_plvl import export_onnx
from small_runs import make_trainer, without_dropout

BACKBONES = {
    "timm_backbone": {"backbone": "tf_efficientnet_lite0", "out_indices": [3]},
    **SMALL_BACKBONES,
    "dinov3_convnext": {"hidden_sizes": [8, 12, 20, 24], "depths": [1, 1, 1, 1], "out_features": ["stage3"]},
}
INPUTS = {
    "pixel_values": torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
    "input_ids": torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]]),
}
LABELS = {"boxes": torch.tensor([[0.5, 0.4, 0.2, 0.4], [0.3, 0.6, 0.5, 0.2]]), "masks": torch.ones(2, 64, 96)}


def config_of(kind, **vision):
    config = small_config()
    given = config.vision_config.to_dict() | {"backbone_config": {"model_type": kind} | BACKBONES[kind]} | vision
    return small_config(vision_config={name: value for name, value in given.items() if name != "model_type"})


def model_of(kind, **vision) -> PLVLModel:
    torch.manual_seed(0)
    model = PLVLModel(config_of(kind, **vision))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "backbone" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("kind", BACKBONES)
@torch.no_grad()
def test_its_feature_map_stands_where_the_patches_do(kind):
    embeddings = model_of(kind).vision_encoder.embeddings
    found = embeddings(INPUTS["pixel_values"])
    features = embeddings.backbone(INPUTS["pixel_values"]).feature_maps[-1]
    assert features.shape[-2:] == (4, 6) and found.shape[:2] == (2, 24)
    without_position = features.flatten(2).transpose(1, 2) @ embeddings.projection.weight[:, :, 0, 0].T
    position = found - without_position - embeddings.projection.bias
    torch.testing.assert_close(position[0], position[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_coarser_maps_are_enlarged_to_the_finest_and_stand_behind_it():
    several = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0", "out_indices": [3, 4]}
    embeddings = model_of("timm_backbone", backbone_config=several).vision_encoder.embeddings
    fine, coarse = embeddings.backbone(INPUTS["pixel_values"]).feature_maps
    assert (fine.shape[-2:], coarse.shape[-2:]) == ((4, 6), (2, 3))
    features = embeddings.features(INPUTS["pixel_values"])
    assert features.shape[1] == embeddings.projection.in_channels == fine.shape[1] + coarse.shape[1]
    torch.testing.assert_close(features[:, : fine.shape[1]], fine)
    # Halfway between neighbours, a quarter of the way to the next one; at the border the cell's own value.
    enlarged = features[:, fine.shape[1] :]
    torch.testing.assert_close(enlarged[:, :, 0, 0], coarse[:, :, 0, 0])
    torch.testing.assert_close(enlarged[:, :, 0, 1], 0.75 * coarse[:, :, 0, 0] + 0.25 * coarse[:, :, 0, 1])
    torch.testing.assert_close(enlarged[:, :, 1, 0], 0.75 * coarse[:, :, 0, 0] + 0.25 * coarse[:, :, 1, 0])


@pytest.mark.parametrize("kind", BACKBONES)
@torch.no_grad()
def test_the_image_is_embedded_once_for_many_expressions(kind):
    model = model_of(kind)
    shared = model(
        image_embeddings=model.get_image_embeddings(INPUTS["pixel_values"][:1]), input_ids=INPUTS["input_ids"]
    )
    repeated = model(pixel_values=INPUTS["pixel_values"][[0, 0]], input_ids=INPUTS["input_ids"])
    torch.testing.assert_close(shared.center_logits, repeated.center_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", BACKBONES)
@torch.no_grad()
def test_a_model_comes_back_from_disk_with_its_backbone(kind, tmp_path):
    model = model_of(kind)
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(loaded.eval()(**INPUTS).center_logits, model(**INPUTS).center_logits)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_backbone_is_the_pretrained_part_of_the_vision_encoder(kind, frozen, processor, image, tmp_path):
    rates = {"learning_rate": 3e-3, "vision_learning_rate": 2e-3, "text_learning_rate": 1e-3}
    trainer = make_trainer(model_of(kind), processor, image, tmp_path, freeze_vision_encoder=frozen, **rates)
    model = trainer.model.train()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("backbone" in name for name in trained) is not frozen
    assert {"vision_encoder.layers.0.fc1.weight", "vision_encoder.embeddings.projection.weight"} <= trained
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in trainer.create_optimizer().param_groups:
        for name in (names[id(parameter)] for parameter in group["params"]):
            part = 2e-3 if "backbone" in name else 1e-3 if name.startswith("text_encoder") else 3e-3
            assert group["lr"] == part, name
    model(**INPUTS, labels=LABELS).loss.backward()
    # DDP would wait for a gradient that never comes.
    assert [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None] == []


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointed in (False, True):
        model = without_dropout(model_of("resnet")).train()
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(**INPUTS, labels=LABELS).loss.backward()
        gradients.append(model.vision_encoder.embeddings.projection.weight.grad)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)
    assert gradients[0].abs().max() > 0


def test_what_does_not_fit_is_said_before_anything_trains():
    with pytest.raises(
        ValueError, match=r"makes a map of \(4, 6\) of 64 x 96 pixels, which is no stride of 8: set patch"
    ):
        model_of("resnet", patch_size=8)(**INPUTS)
    with pytest.raises(ValueError, match="backbone_config: Transformers has no backbone of the type 'bert'"):
        model_of("resnet", backbone_config={"model_type": "bert"})
    with pytest.raises(ValueError, match=r"Transformers has no model_type 'resnt' \(did you mean resnet\?\)"):
        model_of("resnet", backbone_config={"model_type": "resnt"})
    with pytest.raises(ValueError, match="timm has no 'tf_efficientnet_lite'; .* are tf_efficientnet_lite4"):
        model_of("resnet", backbone_config={"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite"})


def test_it_is_exported_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = model_of("timm_backbone", image_size=64)
    export_onnx(model, tmp_path / "model.onnx", (64, 96))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = INPUTS | {"attention_mask": torch.ones_like(INPUTS["input_ids"])}
    known = {each.name for each in session.get_inputs()}
    given = {name: tensor.numpy() for name, tensor in inputs.items() if name in known}
    [boxes] = session.run(["pred_boxes"], given)
    with torch.no_grad():
        np.testing.assert_allclose(boxes, model(**inputs).pred_boxes.numpy(), atol=1e-4)
