import sys

import pytest
import timm
import torch

from conftest import small_config
from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
from plvl.modeling_plvl import PLVLModel
from plvl.scripts.model_loading import chosen_folder, load_whole

# What of timm a model may have: a backbone, or its whole vision encoder.
TIMM_PARTS = {
    "backbone": {"backbone_config": {"model_type": "timm_backbone", "backbone": "test_resnet", "out_indices": [3]}},
    "vit": {"model_type": "plvl_timm_vision", "architecture": "test_vit", "image_size": 64},
}


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """Folders in the place of the carried checkpoints, by their names; and an empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("photos", "shapes"):
        (tmp_path / "carried" / name).mkdir(parents=True)
        monkeypatch.setitem(CARRIED_CHECKPOINTS, name, tmp_path / "carried" / name)
    return CARRIED_CHECKPOINTS


def test_a_carried_checkpoint_is_chosen_by_its_name(carried, capsys):
    assert [chosen_folder(name) for name in ("shapes", "photos")] == [carried["shapes"], carried["photos"]]
    assert capsys.readouterr().err == ""


def test_without_a_name_it_is_the_one_of_photographs_or_else_that_of_shapes(carried, capsys):
    assert chosen_folder(None) == carried["photos"]
    carried["photos"].rmdir()
    assert chosen_folder(None) == carried["shapes"]
    assert "using the carried checkpoint shapes" in capsys.readouterr().err
    carried["shapes"].rmdir()
    assert default_checkpoint() == "shapes"


def test_a_folder_of_the_same_name_goes_first_and_is_said(carried, tmp_path, capsys):
    (tmp_path / "here" / "photos").mkdir()
    (tmp_path / "here" / "shapes").write_text("no folder")
    assert chosen_folder("photos").resolve() == tmp_path / "here" / "photos"
    told = capsys.readouterr().err
    assert f"using the folder {tmp_path / 'here' / 'photos'}, which goes before the carried checkpoint" in told
    assert str(carried["photos"]) in told
    assert chosen_folder("shapes") == carried["shapes"]


def test_a_whole_folder_gives_the_model_and_a_processor_that_knows_its_words(model_folder, model, processor):
    loaded_model, loaded_processor = load_whole(model_folder)
    assert loaded_processor.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert all(torch.equal(loaded_model.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_folder_without_a_vocabulary_is_refused(model_folder):
    (model_folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"trained is no whole model: it lacks a vocabulary \(tokenizer\.json\)$"):
        load_whole(model_folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_processor_that_cannot_be_read_is_one_line_that_names_the_folder(model_folder, name, content):
    (model_folder / name).write_text(content)
    with pytest.raises(ValueError, match=r"trained is no whole model: its processor does not load \(") as raised:
        load_whole(model_folder)
    assert "\n" not in str(raised.value)


@pytest.fixture(params=TIMM_PARTS)
def timm_folder(request, processor, tmp_path):
    """A model with a part of timm, and its processor."""
    given = TIMM_PARTS[request.param]
    if request.param == "backbone":
        vision = small_config().vision_config.to_dict()
        given = {name: value for name, value in vision.items() if name != "model_type"} | given
    folder = tmp_path / "of_timm"
    PLVLModel(small_config(vision_config=given)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_without_timm_one_sentence_says_what_to_install(timm_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    message = r"of_timm cannot be loaded here: .* timm, which does not load \(.*\): pip install 'timm>=[\d.]+'$"
    with pytest.raises(ValueError, match=message) as raised:
        load_whole(timm_folder)
    assert "\n" not in str(raised.value)


def test_an_old_timm_is_named_with_the_version_that_is_needed(timm_folder, monkeypatch):
    monkeypatch.setattr(timm, "__version__", "1.0.9")
    message = r"of_timm cannot be loaded here: .*timm [\d.]+ or newer, and 1\.0\.9 is here: pip install 'timm>=[\d.]+'"
    with pytest.raises(ValueError, match=message):
        load_whole(timm_folder)
    monkeypatch.setattr(timm, "__version__", "1.0.100")
    load_whole(timm_folder)
