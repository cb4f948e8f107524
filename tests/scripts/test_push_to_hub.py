"""What `push_to_hub` of a model, of a processor and of a trainer sends."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoProcessor

from plvl.training import PLVLTrainer, PLVLTrainingArguments


def card_of(repository):
    return ModelCard(repository.files["README.md"].decode())


@pytest.mark.parametrize("first", ["model", "processor"])
def test_model_and_processor_make_one_repository_with_a_card(local_hub, model, processor, first):
    pushed = {"model": model, "processor": processor}
    pushed.pop(first).push_to_hub("lab/tiny")
    [second] = pushed.values()
    second.push_to_hub("lab/tiny")
    repository = local_hub.repositories["lab/tiny"]
    assert sorted(repository.commits) == ["Upload model", "Upload processor"]
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= set(repository.files)

    card = card_of(repository)
    assert {"visual-grounding", "referring-expression-segmentation"} <= set(card.data.tags)
    assert card.data.pipeline_tag == "image-segmentation"
    assert 'pipeline("visual-grounding", model="lab/tiny")' in card.text
    assert "2504.16145" in card.text


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
    model, processor = AutoModel.from_pretrained("lab/tiny"), AutoProcessor.from_pretrained("lab/tiny")
    assert type(processor) is type(processor)
    for name, tensor in model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_a_trainer_pushes_model_processor_and_a_card_with_its_numbers(local_hub, model, processor, tmp_path):
    output_dir = tmp_path / "outputs"
    arguments = PLVLTrainingArguments(output_dir, hub_model_id="lab/tiny", use_cpu=True, report_to="none")
    trainer = PLVLTrainer(model, arguments, processing_class=processor)
    output_dir.mkdir(exist_ok=True)
    (output_dir / "metrics.json").write_text(json.dumps({"refcoco/val": {"box_accuracy": 0.5, "mask_miou": 0.25}}))
    trainer.push_to_hub(dataset="refcoco", finetuned_from="lab/pretrained", license="mit", tags="from the tests")

    repository = local_hub.repositories["lab/tiny"]
    assert {"config.json", "model.safetensors", "processor_config.json", "metrics.json"} <= set(repository.files)
    card = card_of(repository)
    assert "| refcoco/val | 50.00 | 25.00 |" in card.text
    assert 'pipeline("visual-grounding", model="lab/tiny")' in card.text
    assert (card.data.base_model, card.data.license, card.data.datasets) == ("lab/pretrained", "mit", ["refcoco"])
    assert {"visual-grounding", "from the tests"} <= set(card.data.tags)
