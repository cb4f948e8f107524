"""Weights of a backbone are all there and where they belong, or are refused with the list of tensors."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoBackbone, AutoModel, AutoModelForImageClassification, ResNetConfig

from conftest import SMALL_BACKBONES, small_config
from efficientnet_lite import lite_maps, random_lite0
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.backbone_weights import (
    backbone_settings,
    backbone_weights,
    efficientnet_lite_of,
    image_normalisation,
    timm_weights,
)
from plvl.modeling_plvl.checkpoint_conversion import BACKBONE, CheckpointMismatchError, build_model, newly_initialised
from plvl.modeling_plvl.checkpoint_files import UnsafeCheckpointError

TIMM = {"test_efficientnet": 3, "test_convnext": 2, "test_resnet": 3}  # the map of stride 16
PIXELS = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def config_with(backbone: dict):
    vision = small_config().vision_config.to_dict() | {"backbone_config": backbone}
    return small_config(vision_config={name: value for name, value in vision.items() if name != "model_type"})


def timm_config(name, index, **fields):
    return config_with({"model_type": "timm_backbone", "backbone": name, "out_indices": [index]} | fields)


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def build(config, given) -> PLVLModel:
    return build_model([backbone_weights(given, config.vision_config.backbone_config)], config).eval()


@torch.no_grad()
def last_map(model: PLVLModel, pixels=PIXELS):
    return model.vision_encoder.embeddings.backbone(pixels).feature_maps[-1]


@pytest.fixture(params=TIMM)
def whole(request, tmp_path):
    """The whole of a timm network, its configuration as a backbone, and a file with its state dict."""
    network = randomised(timm.create_model(request.param))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return network, timm_config(request.param, TIMM[request.param]), tmp_path / "model.safetensors"


def test_a_state_dict_of_timm_gives_the_features_of_the_whole_network(whole, tmp_path):
    network, config, file = whole
    index = config.vision_config.backbone_config.out_indices
    with torch.no_grad():
        [expected] = network.forward_intermediates(PIXELS, indices=index, intermediates_only=True)
    torch.save(network.state_dict(), tmp_path / "state_dict.pth")
    for given in (file, file.parent, str(tmp_path / "state_dict.pth")):
        torch.testing.assert_close(last_map(build(config, given)), expected)
    assert {parameter.dtype for parameter in build(config, file).parameters()} == {torch.float32}


def test_what_comes_after_the_map_is_dropped_and_listed(whole):
    network, config, file = whole
    weights = backbone_weights(file, config.vision_config.backbone_config)
    model = build_model([weights], config)
    brought = {name for name in model.state_dict() if ".backbone." in name}
    assert brought == set(weights.tensors)
    assert len(weights.dropped) + len(brought) == len(network.state_dict())
    classifier = network.default_cfg["classifier"]
    assert {f"{classifier}.weight", f"{classifier}.bias"} <= set(weights.dropped)
    assert newly_initialised(model, [weights]) == [
        "decoder",
        "head",
        "text guidance of the vision encoder",
        "text_encoder",
        "vision_encoder after its backbone",
    ]


def test_a_tensor_that_is_missing_left_over_or_of_another_shape_is_named_as_timm_does(whole, tmp_path):
    network, config, _ = whole
    weights = backbone_weights(tmp_path / "model.safetensors", config.vision_config.backbone_config)
    needed = [name for name in network.state_dict() if name not in weights.dropped]
    state_dict = network.state_dict() | {"surprise.weight": torch.zeros(2), needed[-1]: torch.zeros(3, 3, 3, 3, 3)}
    del state_dict[needed[1]]
    torch.save(state_dict, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointMismatchError) as caught:
        build(config, tmp_path / "damaged.pth")
    message = str(caught.value)
    assert "damaged.pth does not fit" in message
    assert f"missing (1):\n  {needed[1]} (vision_encoder.embeddings.backbone." in message
    assert "left over (1):\n  surprise.weight" in message
    assert f"of another shape (1):\n  {needed[-1]} (" in message and "(3, 3, 3, 3, 3), expected (" in message


def test_a_frozen_norm_has_no_use_for_the_number_of_its_batches(tmp_path):
    network = randomised(timm.create_model("test_resnet"))
    torch.save(network.state_dict(), tmp_path / "x.pth")
    config = timm_config("test_resnet", 3, freeze_batch_norm_2d=True)
    weights = backbone_weights(tmp_path / "x.pth", config.vision_config.backbone_config)
    assert "conv1.1.num_batches_tracked" in weights.dropped
    [expected] = network.forward_intermediates(PIXELS, indices=[3], intermediates_only=True)
    torch.testing.assert_close(last_map(build_model([weights], config).eval()), expected.detach())


def test_a_folder_without_weights_and_a_file_of_something_else_are_named(tmp_path):
    backbone = timm_config("test_resnet", 3).vision_config.backbone_config
    with pytest.raises(ValueError, match=f"the folder {tmp_path} has no weights: neither model.safetensors nor pytor"):
        backbone_weights(tmp_path, backbone)
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(CheckpointMismatchError, match=r"missing \(\d+\)(?s:.)*left over \(1\):\n  epoch"):
        build_model([timm_weights({"epoch": torch.ones(1)}, "x.pth", backbone, {})], timm_config("test_resnet", 3))
    with pytest.raises(ValueError, match=r"x\.pth: no state dict, these are not tensors: 'epoch'"):
        backbone_weights(tmp_path / "x.pth", backbone)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UnsafeCheckpointError, match=r"pytorch_model\.bin: refused, because it asks for os\.system"):
        backbone_weights(tmp_path, backbone)


def test_a_network_that_timm_does_not_have_is_named_with_the_nearest():
    backbone = timm_config("tf_efficientnet_lite", 3).vision_config.backbone_config
    with pytest.raises(ValueError, match="timm has no 'tf_efficientnet_lite'; the nearest are tf_efficientnet_lite4"):
        timm_weights(random_lite0(), "lite.pth", backbone, {})


def test_efficientnet_lite_of_the_packages_computes_the_same_in_timm():
    state_dict = random_lite0()
    pixels = torch.randn(1, 3, 90, 122, generator=torch.Generator().manual_seed(0))  # of an odd number of cells
    config = timm_config("tf_efficientnet_lite0", 0, out_indices=[0, 1, 2, 3, 4])
    weights = timm_weights(state_dict, "lite.pth", config.vision_config.backbone_config, {})
    assert {name.split(".")[0] for name in weights.dropped} == {"_conv_head", "_bn1", "_fc"}
    with torch.no_grad():
        found = build_model([weights], config).eval().vision_encoder.embeddings.backbone(pixels).feature_maps
    stages = lite_maps(state_dict, pixels)
    for ours, expected in zip(found, [stages[stage] for stage in (0, 1, 2, 4, 6)], strict=True):
        assert ours.shape == expected.shape and expected.abs().max() > 0.1
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_efficientnet_lite_is_known_by_its_names_and_fits_no_other_network():
    state_dict = random_lite0()
    assert efficientnet_lite_of(state_dict, "lite.pth") == "tf_efficientnet_lite0"
    with pytest.raises(ValueError, match=r"lite.pth: no EfficientNet-Lite of the packages"):
        efficientnet_lite_of({**state_dict, "_fc.bias": torch.zeros(10)}, "lite.pth")
    backbone = timm_config("efficientnet_lite0", 3).vision_config.backbone_config
    with pytest.raises(ValueError, match=r"lite\.pth holds an EfficientNet-Lite.* names 'efficientnet_lite0'"):
        timm_weights(state_dict, "lite.pth", backbone, {})
    config = timm_config("tf_efficientnet_lite2", 3)
    weights = timm_weights(state_dict, "lite.pth", config.vision_config.backbone_config, {})
    with pytest.raises(
        CheckpointMismatchError, match=r"of another shape(?s:.)*_project_conv\.weight \(vision_encoder"
    ):
        build_model([weights], config)


def test_pixels_are_normalised_as_the_weights_were_trained(tmp_path):
    config = timm_config("tf_efficientnet_lite0", 3)
    backbone = config.vision_config.backbone_config
    timms_own = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert image_normalisation(config, []) == timms_own
    assert image_normalisation(small_config(), []) == {}, "ImageNet's, as the processor has them"
    lite = timm_weights(random_lite0(), "lite.pth", backbone, {})
    found = image_normalisation(config, [lite])
    white_and_black = (torch.tensor([255.0, 0.0]) / 255 - found["image_mean"][0]) / found["image_std"][0]
    torch.testing.assert_close(white_and_black, torch.tensor([1.0, -127 / 128]))
    # A repository of timm says it in its config.json.
    config = timm_config("test_resnet", 3)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    described = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    weights = backbone_weights(tmp_path, config.vision_config.backbone_config)
    assert image_normalisation(config, [weights]) == {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


@pytest.fixture(params=[(kind, head) for kind in SMALL_BACKBONES for head in (True, False)])
def transformers_folder(request, tmp_path):
    """A folder of Transformers, of an image classifier or of the bare network."""
    kind, has_head = request.param
    config = CONFIG_MAPPING[kind](**SMALL_BACKBONES[kind])
    network = (AutoModelForImageClassification if has_head else AutoModel).from_config(config)
    randomised(network).save_pretrained(tmp_path)
    return kind, tmp_path


def test_a_folder_of_transformers_brings_the_whole_backbone(transformers_folder):
    kind, folder = transformers_folder
    config = config_with({"model_type": kind} | SMALL_BACKBONES[kind])
    weights = backbone_weights(folder, config.vision_config.backbone_config)
    model = build_model([weights], config).eval()
    truth = type(model.vision_encoder.embeddings.backbone).from_pretrained(folder).eval()
    torch.testing.assert_close(last_map(model), truth(PIXELS).feature_maps[-1].detach())
    new = {name for name in truth.state_dict() if BACKBONE + name not in weights.tensors}
    assert all(name.startswith("hidden_states_norms.") for name in new)
    assert bool(new) == (kind in ("convnext", "swin"))
    assert {name.removeprefix(f"{kind}.").split(".")[0] for name in weights.dropped} <= {"classifier", "layernorm"}


def test_a_backbone_that_was_saved_by_itself_brings_the_norms_of_its_maps(tmp_path):
    config = config_with({"model_type": "convnext"} | SMALL_BACKBONES["convnext"])
    randomised(AutoBackbone.from_config(config.vision_config.backbone_config)).save_pretrained(tmp_path)
    weights = backbone_weights(tmp_path, config.vision_config.backbone_config)
    assert any("hidden_states_norms" in name for name in weights.tensors) and not weights.dropped
    build_model([weights], config)


def test_a_folder_of_transformers_that_does_not_fit_is_refused_with_the_list(tmp_path):
    sizes = SMALL_BACKBONES["resnet"]
    network = AutoModelForImageClassification.from_config(ResNetConfig(**sizes))
    state_dict = network.state_dict() | {"resnet.surprise.weight": torch.zeros(2)}
    del state_dict["resnet.embedder.embedder.convolution.weight"]
    network.save_pretrained(tmp_path, state_dict=state_dict)
    backbone = config_with({"model_type": "resnet"} | sizes | {"hidden_sizes": [8, 12, 24]}).vision_config
    with pytest.raises(CheckpointMismatchError) as caught:
        backbone_weights(tmp_path, backbone.backbone_config)
    message = str(caught.value)
    assert "missing (1):\n  embedder.embedder.convolution.weight" in message
    assert "left over (1):\n  resnet.surprise.weight" in message
    assert "of another shape" in message and "encoder.stages.2." in message


def test_a_folders_own_sizes_stand_under_what_is_given(tmp_path):
    AutoModel.from_config(ResNetConfig(**SMALL_BACKBONES["resnet"])).save_pretrained(tmp_path)
    settings = backbone_settings(tmp_path, {"model_type": "resnet", "hidden_act": "gelu"})
    config = config_with(settings).vision_config.backbone_config
    assert (config.hidden_sizes, config.out_features, config.hidden_act) == ([8, 12, 20], ["stage3"], "gelu")
    earlier = config_with(backbone_settings(tmp_path, {"model_type": "resnet", "out_indices": [2]}))
    assert earlier.vision_config.backbone_config.out_features == ["stage2"]
    with pytest.raises(ValueError, match="holds a model of the type 'resnet', and backbone_config names 'convnext'"):
        backbone_settings(tmp_path, {"model_type": "convnext"})
    with pytest.raises(ValueError, match="no configuration of a backbone"):
        backbone_settings(tmp_path / "nowhere", {"model_type": "resnet"})


def test_a_preprocessor_beside_the_weights_says_how_pixels_were_normalised(tmp_path):
    AutoModel.from_config(ResNetConfig(**SMALL_BACKBONES["resnet"])).save_pretrained(tmp_path)
    config = config_with({"model_type": "resnet"} | SMALL_BACKBONES["resnet"])
    assert image_normalisation(config, [backbone_weights(tmp_path, config.vision_config.backbone_config)]) == {}
    described = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described), encoding="utf-8")
    weights = backbone_weights(tmp_path, config.vision_config.backbone_config)
    assert image_normalisation(config, [weights]) == {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
