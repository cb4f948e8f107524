import pytest
import torch

from plvl.scripts.model_loading import load_whole


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
