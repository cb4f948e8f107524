"""What `push_to_hub` of a model, of a processor and of a trainer sends."""

import inspect
import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoProcessor, Trainer

from plvl.modeling_plvl.model_card_plvl import somebody_wrote
from plvl.training import PLVLTrainer, PLVLTrainingArguments


def card_of(repository):
    return ModelCard(repository.files["README.md"].decode())


@pytest.mark.parametrize("first", ["model", "processor"])
def test_model_and_processor_make_one_repository(local_hub, model, processor, first):
    pushed = {"model": model, "processor": processor}
    pushed.pop(first).push_to_hub("lab/tiny")
    [second] = pushed.values()
    second.push_to_hub("lab/tiny")
    repository = local_hub.repositories["lab/tiny"]
    assert sorted(repository.commits) == ["Upload model", "Upload processor"]
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= set(repository.files)

    # Whose card is Transformers' own, which publishing replaces.
    assert {"plvl", "visual-grounding"} <= set(card_of(repository).data.tags)
    assert not somebody_wrote(repository.files["README.md"].decode())


def test_a_card_that_somebody_wrote_is_kept(local_hub, model):
    model.push_to_hub("lab/tiny")
    repository = local_hub.repositories["lab/tiny"]
    repository.files["README.md"] = b"---\nlicense: mit\n---\nMy own words.\n"
    model.push_to_hub("lab/tiny")
    assert card_of(repository).text.strip() == "My own words."
    assert card_of(repository).data.license == "mit"


def test_what_was_pushed_loads_from_the_hub(local_hub, model, processor):
    model.push_to_hub("lab/tiny", private=True)
    processor.push_to_hub("lab/tiny")
    assert local_hub.repositories["lab/tiny"].private
    loaded_model, loaded_processor = AutoModel.from_pretrained("lab/tiny"), AutoProcessor.from_pretrained("lab/tiny")
    assert type(loaded_processor) is type(processor)
    assert loaded_processor.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert loaded_model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in loaded_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


@pytest.fixture
def trainer(local_hub, model, processor, tmp_path):
    arguments = PLVLTrainingArguments(tmp_path / "outputs", hub_model_id="lab/tiny", use_cpu=True, report_to="none")
    (tmp_path / "outputs").mkdir(exist_ok=True)
    return PLVLTrainer(model, arguments, processing_class=processor)


def test_a_trainer_pushes_model_processor_and_a_card_with_its_numbers(local_hub, trainer, tmp_path):
    metrics = {"refcoco/val": {"box_accuracy": 0.5, "mask_miou": 0.25}}
    (tmp_path / "outputs" / "metrics.json").write_text(json.dumps(metrics))
    trainer.push_to_hub(dataset="refcoco", finetuned_from="lab/pretrained", license="mit", tags="from the tests")

    repository = local_hub.repositories["lab/tiny"]
    assert {"config.json", "model.safetensors", "processor_config.json", "metrics.json"} <= set(repository.files)
    card = card_of(repository)
    assert "| refcoco/val | 50.0 | 25.0 |" in card.text
    assert 'pipeline("visual-grounding", model="lab/tiny")' in card.text
    assert (card.data.base_model, card.data.license, card.data.datasets) == ("lab/pretrained", "mit", ["refcoco"])
    assert {"visual-grounding", "from the tests"} <= set(card.data.tags)


def test_a_trainer_takes_the_facts_that_transformers_trainer_takes_and_no_others(local_hub, trainer):
    trainer.push_to_hub(language="en", tasks="image-segmentation", dataset_tags="lab/refcoco", dataset="RefCOCO")
    card = card_of(local_hub.repositories["lab/tiny"])
    assert card.data.datasets == ["lab/refcoco"]
    assert card.data.license is None
    assert "Licence" not in card.text
    with pytest.raises(TypeError, match="licence"):
        trainer.push_to_hub(licence="mit")


def test_a_trainer_keeps_the_card_that_somebody_wrote(local_hub, trainer, tmp_path):
    trainer.push_to_hub()
    repository, readme = local_hub.repositories["lab/tiny"], tmp_path / "outputs" / "README.md"
    repository.files["README.md"] = b"Words of the lab.\n"
    trainer.push_to_hub()
    assert repository.files["README.md"] == readme.read_bytes() == b"Words of the lab.\n"
    readme.write_text("Newer words.\n")
    trainer.push_to_hub()
    assert repository.files["README.md"] == b"Newer words.\n"


def test_trainer_and_transformers_trainer_take_the_facts_in_one_order():
    ours, theirs = (inspect.signature(each.create_model_card).parameters for each in (PLVLTrainer, Trainer))
    assert list(ours) == list(theirs)
