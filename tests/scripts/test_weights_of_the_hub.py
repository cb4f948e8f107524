"""Weights of a backbone by their name on the Hub."""

import json
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save

from conftest import small_config
from plvl.modeling_plvl.backbone_weights import backbone_weights
from plvl.modeling_plvl.checkpoint_conversion import build_model
from plvl.training.recipe import ModelArguments
from plvl.training.starting_model import check_model

BACKBONE = {"model_type": "timm_backbone", "backbone": "test_resnet", "out_indices": [3]}


@pytest.fixture
def config():
    vision = small_config().vision_config.to_dict() | {"backbone_config": BACKBONE}
    return small_config(vision_config={name: value for name, value in vision.items() if name != "model_type"})


@pytest.fixture
def repository(local_hub):
    def publish(files, name="timm/test_resnet.r160_in1k"):
        local_hub.repositories[name] = SimpleNamespace(name=name, files=files, commits=[], private=False)
        return name

    return publish


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_repository_of_timm_brings_weights_and_what_pixels_were(repository, config, tmp_path, file):
    torch.manual_seed(1)
    state_dict = timm.create_model("test_resnet").state_dict()
    torch.save(state_dict, tmp_path / "x")
    content = save(state_dict) if file.endswith("safetensors") else (tmp_path / "x").read_bytes()
    described = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    name = repository({file: content, "config.json": json.dumps(described).encode()})
    weights = backbone_weights(name, config.vision_config.backbone_config)
    model = build_model([weights], config)
    found = model.vision_encoder.embeddings.backbone._backbone.layer2[0].conv1.weight
    assert torch.equal(found, state_dict["layer2.0.conv1.weight"])
    assert weights.normalisation == {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


def test_a_repository_that_is_in_the_cache_needs_no_network(repository, config, monkeypatch):
    name = repository({"model.safetensors": save(timm.create_model("test_resnet").state_dict())})
    backbone_weights(name, config.vision_config.backbone_config)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert backbone_weights(name, config.vision_config.backbone_config).tensors


def test_a_name_that_the_hub_does_not_have_is_told_before_anything_is_made(repository, config):
    fields = config.to_dict()
    fields = {name: fields[name] for name in fields if name.endswith(("_layers", "_heads"))}
    fields |= {"vision_config": {"backbone_config": BACKBONE}}
    name = repository({"config.json": b"{}"}, "timm/empty")
    arguments = ModelArguments(model_config=fields, vision_weights="timm/nowhere")
    [problem] = check_model(arguments, is_trained=True)
    assert problem.startswith("vision_weights: there is no folder timm/nowhere, and the Hub does not give it (")
    with pytest.raises(ValueError, match="timm/nowhere is no file or folder, and the Hub does not give it"):
        backbone_weights("timm/nowhere", config.vision_config.backbone_config)
    with pytest.raises(
        ValueError, match="timm/empty is no file or folder, and the Hub gives neither model.safetensor"
    ):
        backbone_weights(name, config.vision_config.backbone_config)
