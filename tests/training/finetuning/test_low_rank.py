import shutil

import pytest
import torch
from transformers import AutoModel, AutoProcessor

import plvl  # noqa: F401
from low_rank_models import model_with_additions
from plvl.modeling_plvl import PLVLModel
from plvl.scripts.model_loading import load_whole
from plvl.training.finetuning.low_rank import add_low_rank, write_adapter, write_merged

pytest.importorskip("peft")
RANK = 3


@pytest.fixture
def learned(model_folder):
    """The starting model with additions that have learned something."""
    return model_with_additions(model_folder, RANK).eval()


def assert_same_answers(model, other, inputs):
    with torch.no_grad():
        one, two = model(**inputs), other.eval()(**inputs)
    torch.testing.assert_close(one.pred_boxes, two.pred_boxes)
    torch.testing.assert_close(one.pred_masks, two.pred_masks, atol=1e-4, rtol=1e-4)


def test_additions_change_nothing_before_they_have_learned_and_are_all_that_learns(model_folder, inputs):
    start, model = PLVLModel.from_pretrained(model_folder).eval(), PLVLModel.from_pretrained(model_folder)
    add_low_rank(model, RANK)
    assert_same_answers(start, model, inputs)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    for part in ("text_encoder", "vision_encoder", "text_guidance", "decoder"):
        assert any(part in name for name in trained)
    assert {parameter.shape[0] for name, parameter in model.named_parameters() if "lora_A" in name} == {RANK}


def test_merged_it_is_a_model_like_any_other(learned, model_folder, inputs, tmp_path):
    write_merged(PLVLModel.from_pretrained(model_folder), learned.state_dict(), RANK, tmp_path / "merged")
    merged, info = AutoModel.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert merged.state_dict().keys() == PLVLModel.from_pretrained(model_folder).state_dict().keys()
    assert_same_answers(learned, merged, inputs)


@pytest.fixture
def adapter(learned, model_folder, processor, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_adapter(PLVLModel.from_pretrained(model_folder), learned.state_dict(), RANK, folder, str(model_folder))
    processor.save_pretrained(folder)
    return folder


def test_kept_apart_it_loads_as_a_model_with_its_additions(adapter, learned, model_folder, inputs):
    assert not (adapter / "model.safetensors").exists() and not (adapter / "config.json").exists()
    assert_same_answers(learned, AutoModel.from_pretrained(adapter), inputs)
    assert type(AutoProcessor.from_pretrained(adapter)).__name__ == "PLVLProcessor"
    assert_same_answers(learned, load_whole(adapter)[0], inputs)


def test_an_adapter_without_its_model_says_so(adapter, model_folder):
    shutil.rmtree(model_folder)
    with pytest.raises(ValueError, match="has additions to the model .*trained, which is not there"):
        load_whole(adapter)


def test_an_adapter_without_peft_says_how_to_install_it(adapter, monkeypatch):
    monkeypatch.setattr("plvl.scripts.model_loading.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="are loaded with peft: pip install"):
        load_whole(adapter)


def test_half_an_adapter_is_no_model(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no whole model: it lacks additions \(adapter_model.safetensors\)"):
        load_whole(adapter)
