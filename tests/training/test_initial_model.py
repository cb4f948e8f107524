"""A new model begins with what fits of a trained one whose encoders or vocabulary are others."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from conftest import small_config
from plvl.training.recipe import ModelArguments
from plvl.training.starting_model import check_model, load_or_make_model

PATCHES = "vision_encoder.embeddings.projection.weight"
WORDS = "text_encoder.embeddings.word_embeddings.weight"
OTHER_WORDS = ["a zebra behind the square", "red kite"]


def parts(**vision):
    """`model_config` of a network like the trained one, with changes in the vision encoder."""
    given = small_config().to_dict()
    fields = ("_config", "_layers", "_heads", "_size", "_dim", "_channels")
    kept = {name: value for name, value in given.items() if name.endswith(fields)}
    kept["vision_config"] = {k: v for k, v in kept["vision_config"].items() if k != "model_type"} | vision
    return kept


def made(expressions=OTHER_WORDS, **arguments):
    return load_or_make_model(ModelArguments(**arguments), lambda: iter(expressions))


def test_tensors_of_the_same_name_and_shape_are_taken_and_the_others_begin_anew(model_folder, model, caplog):
    with caplog.at_level(logging.INFO, "plvl"):
        new, _ = made(model_config=parts(patch_size=32, image_size=64), initial_model=str(model_folder))
    taken, fresh = model.state_dict(), new.state_dict()
    assert fresh[PATCHES].shape != taken[PATCHES].shape
    for name in ("decoder.layers.0.fc1.weight", "vision_encoder.layers.2.fc2.weight", "head.center.1.bias"):
        torch.testing.assert_close(fresh[name], taken[name], atol=0, rtol=0)
    (said,) = [record.message for record in caplog.records if "initial_model" in record.message]
    new_ones = said.partition("new: ")[2]
    assert PATCHES in new_ones and "head.mask.0.0.weight" in new_ones and "decoder" not in new_ones


def test_words_that_both_vocabularies_have_keep_their_embeddings_wherever_they_stand(model_folder, model, processor):
    new, new_processor = made(model_config=parts(), initial_model=str(model_folder))
    before, now = processor.tokenizer.get_vocab(), new_processor.tokenizer.get_vocab()
    trained, own = model.state_dict()[WORDS], new.state_dict()[WORDS]
    assert before["square"] != now["square"] and "zebra" not in before
    for word in ("red", "square", "the", "[CLS]"):
        torch.testing.assert_close(own[now[word]], trained[before[word]], atol=0, rtol=0)
    assert not torch.isclose(trained, own[now["zebra"]], atol=1e-3).all(1).any()


def test_weights_that_are_named_beside_it_go_before(model_folder, model, processor, tmp_path):
    text = BertModel(model.config.text_config)
    text.save_pretrained(tmp_path / "text")
    processor.tokenizer.save_pretrained(tmp_path / "text")
    weights = {"text_weights": str(tmp_path / "text"), "initial_model": str(model_folder)}
    new, _ = made(model_config=parts() | {"text_config": {}}, **weights)
    own, trained = new.state_dict(), model.state_dict()
    for name in ("encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"):
        torch.testing.assert_close(own[f"text_encoder.{name}"], text.state_dict()[name], atol=0, rtol=0)
    torch.testing.assert_close(own["decoder.layers.0.fc1.weight"], trained["decoder.layers.0.fc1.weight"])


def test_finer_maps_of_the_same_backbone_are_not_heard_at_first(tmp_path):
    def reading(indices, backbone="tf_efficientnet_lite0"):
        network = {"model_type": "timm_backbone", "backbone": backbone, "out_indices": indices}
        return {"backbone_config": network, "patch_size": 32 if indices == [4] else 16}

    coarse, processor = made(model_config=parts(**reading([4])))
    coarse.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    finer, _ = made(model_config=parts(**reading([3, 4])), initial_model=str(tmp_path))
    trained, own = coarse.state_dict()[PATCHES], finer.state_dict()[PATCHES]
    added = own.shape[1] - trained.shape[1]
    assert added > 0 and not own[:, :added].any()
    torch.testing.assert_close(own[:, added:], trained, atol=0, rtol=0)

    for others in (reading([2, 3]), reading([3, 4], backbone="tf_efficientnet_lite2")):
        fresh, _ = made(model_config=parts(**others), initial_model=str(tmp_path))
        assert fresh.state_dict()[PATCHES].abs().amin((0, 2, 3)).all()


def test_a_model_that_is_not_whole_is_refused(model_folder):
    tensors = load_file(model_folder / "model.safetensors")
    del tensors["decoder.norm.bias"]
    save_file(tensors, model_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"initial_model: .* lacks weights: decoder\.norm\.bias"):
        made(model_config=parts(), initial_model=str(model_folder))


def test_a_folder_that_is_not_there_is_named_before_anything_is_made(tmp_path):
    arguments = ModelArguments(model_config=parts(), initial_model=str(tmp_path / "gone"))
    (problem,) = check_model(arguments, is_trained=True)
    assert "initial_model" in problem and "gone" in problem


def test_additions_to_a_model_are_none_to_begin_with(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").touch()
    [problem] = check_model(ModelArguments(model_config=parts(), initial_model=str(tmp_path)), is_trained=True)
    assert problem == f"initial_model: {tmp_path} has additions to a model, and not its weights: merge the two"
