"""Checkpoints of other programs become PLVL models, whole or not at all."""

import re

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining, BertModel, ViTConfig, ViTModel

from original_checkpoints import small_config, small_plvl, small_samvit, small_vitdet
from plvl.modeling_plvl.checkpoint_conversion import (
    CheckpointMismatchError,
    build_model,
    newly_initialised,
    plvl_weights,
    sam_weights,
    text_weights,
    vitdet_weights,
)

TEXT_SIZES = small_config().text_config.to_dict()


def convert_plvl(state_dict, config=None):
    config = config or small_config()
    return build_model([plvl_weights({"model": state_dict}, "x.pth", config)], config)


@pytest.fixture
def bert_folder(tmp_path):
    folder = tmp_path / "bert"
    BertForPreTraining(BertConfig(**TEXT_SIZES)).save_pretrained(folder)
    return folder


def test_every_tensor_of_an_original_checkpoint_is_taken_or_dropped_by_name():
    state_dict = small_plvl()
    weights = plvl_weights({"model": state_dict, "epoch": 3}, "x.pth", small_config())
    assert weights.unknown == []
    assert set(weights.dropped) == {
        name for name in state_dict if re.search(r"mask_head|mask_cnn|pooler|prompt_norms\.[01]\.", name)
    }
    assert newly_initialised(build_model([weights], small_config()), [weights]) == []


def test_tensors_arrive_where_they_belong():
    state_dict = small_plvl()
    model = convert_plvl(state_dict)
    torch.testing.assert_close(
        model.vision_encoder.layers[1].fc1.weight, state_dict["visumodel.backbone.0.body.blocks.1.mlp.fc1.weight"]
    )
    stacked = state_dict["decoder.decoder.layers.0.multihead_attn.in_proj_weight"]
    attention = model.decoder.layers[0].cross_attention
    for part, projection in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        torch.testing.assert_close(projection.weight, stacked[32 * part : 32 * (part + 1)])


def test_a_prefix_of_distributed_training_makes_no_difference():
    state_dict = small_plvl()
    plain, wrapped = (
        convert_plvl({prefix + name: tensor for name, tensor in state_dict.items()}) for prefix in ("", "module.")
    )
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True))


def test_half_precision_weights_become_float32():
    state_dict = {name: v.half() if v.is_floating_point() else v for name, v in small_plvl().items()}
    model = convert_plvl(state_dict)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_another_layout_comes_from_the_configuration():
    state_dict = {name: v for name, v in small_plvl().items() if "_seg" not in name}
    body = "visumodel.backbone.0.body."
    for name in list(state_dict):
        if name.startswith((f"{body}blocks.2.cross_attn.", f"{body}prompt_blocks.2.")):
            state_dict[name.replace("2", "0", 1)] = state_dict[name]
    model = convert_plvl(state_dict, small_config(cross_attention_layers=[0, 2], tasks=["rec"]))
    norm = model.vision_encoder.layers[0].text_guidance.norm.weight
    assert torch.equal(norm, state_dict[f"{body}prompt_norms.0.weight"])


@pytest.mark.parametrize(
    "branch", [r"(blocks\.2\.cross_attn|prompt_blocks\.2|prompt_norms\.2)\.", r"bbox_embed\.conv\d_seg\."]
)
def test_a_checkpoint_that_lost_a_whole_branch_is_refused(branch):
    state_dict = small_plvl()
    lost = [name for name in state_dict if re.search(branch, name)]
    with pytest.raises(CheckpointMismatchError, match=rf"missing \((?s:.)*{re.escape(lost[0])}") as caught:
        convert_plvl({name: tensor for name, tensor in state_dict.items() if name not in lost})
    assert [name for name in lost if name not in str(caught.value)] == []
    assert "left over" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tasks": ["rec"]}, "bbox_embed.conv3_seg.weight"),
        ({"tasks": ["res"]}, "bbox_embed.conv3_size.weight"),
        ({"cross_attention_layers": []}, "visumodel.backbone.0.body.prompt_blocks.2.down_project.weight"),
    ],
)
def test_a_branch_that_the_configuration_does_not_have_is_left_over(change, name):
    with pytest.raises(CheckpointMismatchError, match=rf"left over \((?s:.)*{re.escape(name)}"):
        convert_plvl(small_plvl(), small_config(**change))


def test_normalised_image_tokens_are_missing_in_an_original_checkpoint():
    with pytest.raises(CheckpointMismatchError, match=r"missing \((?s:.)*decoder\.vision_norm\.weight"):
        convert_plvl(small_plvl(), small_config(normalize_image_tokens=True))


def test_a_mask_trunk_of_its_own_is_missing_in_an_original_checkpoint():
    with pytest.raises(CheckpointMismatchError, match=r"missing \(7\)(?s:.)*head\.mask_trunk\.0\.weight") as caught:
        convert_plvl(small_plvl(), small_config(mask_shares_center=False))
    assert "left over" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "visu_proj.bias",
        "visumodel.backbone.0.body.blocks.2.cross_attn.in_proj_weight",
        "visumodel.backbone.0.body.prompt_norms.2.weight",
        "textmodel.bert.encoder.layer.1.output.dense.bias",
        "bbox_embed.conv3_seg.weight",
        "bbox_embed.conv1_ctr.1.running_var",
    ],
)
def test_a_missing_tensor_is_named_as_the_checkpoint_would(name):
    state_dict = small_plvl()
    del state_dict[name]
    with pytest.raises(CheckpointMismatchError, match=rf"x\.pth.*(?s:.)missing(?s:.)*{re.escape(name)}"):
        convert_plvl(state_dict)


def test_tensors_left_over_or_of_another_shape_are_all_named():
    state_dict = small_plvl()
    state_dict["surprise.weight"] = torch.zeros(2)
    state_dict["visumodel.backbone.0.body.blocks.3.norm1.weight"] = torch.zeros(24)
    state_dict["text_proj.weight"] = torch.zeros(32, 23)
    state_dict["decoder.decoder.layers.1.self_attn.in_proj_bias"] = torch.zeros(95)
    with pytest.raises(CheckpointMismatchError) as caught:
        convert_plvl(state_dict)
    message = str(caught.value)
    assert "surprise.weight" in message
    assert "visumodel.backbone.0.body.blocks.3.norm1.weight" in message
    assert re.search(r"text_proj\.weight.*\(32, 23\), expected \(32, 24\)", message)
    assert message.count("decoder.decoder.layers.1.self_attn.in_proj_bias") >= 2  # left over, and its parts missing


@pytest.mark.parametrize(
    ("checkpoint", "complaint"),
    [
        ({"epoch": 3}, r"no weights under 'model'; the file has \['epoch'\]"),
        ({"model": {"visu_proj.bias": 3}}, "not tensors: 'visu_proj.bias'"),
        ({"model": {0: torch.zeros(2)}}, "no names of tensors: 0"),
        (["model"], "holds a list"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(checkpoint, complaint):
    with pytest.raises(ValueError, match=rf"x\.pth: .*{complaint}"):
        plvl_weights(checkpoint, "x.pth")


def test_vitdet_brings_the_vision_encoder_and_nothing_else():
    checkpoint = small_vitdet()
    weights = vitdet_weights(checkpoint, "vitdet.pkl")
    model = build_model([weights], small_config())
    assert weights.dropped == [name for name in checkpoint["model"] if not name.startswith("backbone.net.")]
    table = model.vision_encoder.embeddings.position_embeddings
    torch.testing.assert_close(table.detach().numpy(), checkpoint["model"]["backbone.net.pos_embed"])
    assert model.config.vision_config.has_class_position
    assert newly_initialised(model, [weights]) == [
        "decoder",
        "head",
        "text guidance of the vision encoder",
        "text_encoder",
    ]


def test_what_vitdet_keeps_beside_its_backbone_may_be_anything():
    checkpoint = small_vitdet()
    beside = {"iteration": 7, "roi_heads.scale": np.float64(2), "roi_heads.names": np.array(["cup"])}
    checkpoint["model"] |= beside
    assert set(beside) <= set(vitdet_weights(checkpoint, "vitdet.pkl").dropped)


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_vitdet_must_fit_within_its_backbone(change):
    checkpoint = small_vitdet()
    if change == "missing":
        name = "backbone.net.blocks.0.attn.rel_pos_h"
        del checkpoint["model"][name]
    else:
        name = "backbone.net.norm.weight"
        checkpoint["model"][name] = torch.ones(24).numpy()
    with pytest.raises(CheckpointMismatchError, match=rf"{change}(?s:.)*{re.escape(name)}"):
        build_model([vitdet_weights(checkpoint, "vitdet.pkl")], small_config())


def test_sam_brings_a_position_table_without_a_class_position():
    timm_model = small_samvit()
    weights = sam_weights(timm_model.state_dict(), "sam.pth")
    model = build_model([weights], small_config())
    assert weights.dropped == [name for name in timm_model.state_dict() if name.startswith("neck.")]
    assert model.config.vision_config.position_grid_size == 5
    assert not model.config.vision_config.has_class_position
    torch.testing.assert_close(model.vision_encoder.embeddings.position_embeddings, timm_model.pos_embed.flatten(1, 2))


def test_a_position_table_of_no_square_is_refused_with_its_shape():
    checkpoint = small_samvit().state_dict() | {"pos_embed": torch.zeros(1, 5, 7, 24)}
    with pytest.raises(CheckpointMismatchError, match=r"position_embeddings here\): \(1, 5, 7, 24\), expected"):
        build_model([sam_weights(checkpoint, "sam.pth")], small_config())


def test_bert_comes_without_pooler_and_pretraining_heads(bert_folder):
    weights = text_weights(bert_folder)
    model = build_model([weights], small_config(text_config={"model_type": "bert", "hidden_size": 48}))
    assert all(re.match(r"cls\.|pooler\.", name) for name in weights.dropped)
    assert {name.split(".")[0] for name in weights.dropped} == {"cls", "pooler"}
    truth = BertModel.from_pretrained(bert_folder, add_pooling_layer=False)
    for ours, theirs in zip(model.text_encoder.parameters(), truth.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert model.config.text_config.hidden_size == 24


def test_bert_without_a_prefix_is_taken_too(bert_folder, tmp_path):
    BertModel.from_pretrained(bert_folder).save_pretrained(tmp_path / "plain")
    with_prefix, plain = text_weights(bert_folder), text_weights(tmp_path / "plain")
    assert plain.dropped == ["pooler.dense.weight", "pooler.dense.bias"]
    assert with_prefix.tensors.keys() == plain.tensors.keys()
    assert all(torch.equal(plain.tensors[name], with_prefix.tensors[name]) for name in plain.tensors)


def test_bert_that_does_not_fit_its_configuration_is_refused(tmp_path):
    model = BertModel(BertConfig(**TEXT_SIZES))
    state_dict = model.state_dict()
    state_dict["extra.weight"] = torch.zeros(2)
    state_dict["embeddings.word_embeddings.weight"] = torch.zeros(39, 24)
    del state_dict["encoder.layer.0.output.dense.weight"]
    model.save_pretrained(tmp_path, state_dict=state_dict)
    with pytest.raises(CheckpointMismatchError) as caught:
        text_weights(tmp_path)
    message = str(caught.value)
    assert re.search(r"missing \(1\):\n  encoder\.layer\.0\.output\.dense\.weight", message)
    assert re.search(r"left over \(1\):\n  extra\.weight", message)
    assert re.search(r"embeddings\.word_embeddings\.weight: \(39, 24\), expected \(40, 24\)", message)


def test_a_model_that_reads_no_text_is_no_text_encoder(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a model of the type 'vit' gives no states of an expression"):
        text_weights(tmp_path)


def test_vision_and_text_go_into_one_model(bert_folder):
    weights = [vitdet_weights(small_vitdet(), "vitdet.pkl"), text_weights(bert_folder)]
    model = build_model(weights, small_config())
    assert newly_initialised(model, weights) == ["decoder", "head", "text guidance of the vision encoder"]
