import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel

import bundle_checkpoint
import recorded_slice
import shapes_bundle
from plvl.data.refshapes import make_referred_scene
from plvl.processing.pipeline_plvl import VisualGroundingPipeline
from plvl.scripts.demo_page.examples import read_examples
from plvl.scripts.model_loading import load_whole
from recorded_slice import check_slice
from shapes_bundle import write_examples, wrong_expressions

BY_KIND = {"attribute": {"num_samples": 2, "box_accuracy": 0.875, "mask_miou": 0.5}}
METRICS = {"refshapes/val": {"num_samples": 2, "box_accuracy": 0.75, "mask_miou": 0.25}}


@pytest.fixture
def trained(model_folder, monkeypatch):
    """The folder of a small model, with metrics as evaluation leaves them; its slice will be of two images."""
    monkeypatch.setattr(recorded_slice.record_slice, "__defaults__", (0, (3, 16)))
    kinds = {"refshapes/val": {"all": {}, "by_kind": BY_KIND, "by_difficulty": {"1": {"num_samples": 2}}}}
    (model_folder / "metrics.json").write_text(json.dumps(METRICS))
    (model_folder / "metrics_by_kind.json").write_text(json.dumps(kinds))
    (model_folder / "predictions_val.jsonl").write_text("stays behind")
    return model_folder


@pytest.fixture
def bundle(trained, tmp_path):
    """Bundles the model; gives the folder."""

    def run(*flags):
        output = tmp_path / "checkpoints" / "tiny"
        bundle_checkpoint.main(["shapes", "--model", str(trained), "--output", str(output), *flags])
        return output

    return run


def test_a_bundle_has_model_processor_card_metrics_slice_and_examples(bundle, trained):
    folder = bundle()
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "metrics.json",
        "slice.json",
        "examples",
        "example.jpg",
    }
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["refshapes/val"]
    assert metrics == METRICS["refshapes/val"] | {"by_kind": BY_KIND, "by_difficulty": {"1": {"num_samples": 2}}}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| refshapes/val | 2 | 75.0 | 25.0 |" in card and "| attribute | 87.5 | 50.0 |" in card
    assert "license: apache-2.0" in card and "in single precision" in card
    before, after = (load_file(each / "model.safetensors") for each in (trained, folder))
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())
    check_slice(folder, *load_whole(folder))


def test_the_demo_reads_the_examples_and_the_model_answers_them(bundle):
    folder = bundle()
    examples = read_examples(folder)
    assert len(examples) == 6
    assert {example.image.name.split("_")[0] for example in examples} == {"val", "testA", "testB"}
    assert all(len(example.expressions) >= 3 for example in examples)
    model, processor = load_whole(folder)
    pipe = VisualGroundingPipeline(model=model, processor=processor)
    answers = pipe(Image.open(examples[0].image), examples[0].expressions)
    assert len(answers) == len(examples[0].expressions)


def test_examples_begin_with_what_the_model_answers_right(model, processor, monkeypatch, tmp_path):
    def wrong(_model, _processor, index, referred):
        said = [[each.text for each in about] for _, about in referred.references]
        # Right is of image 3 what is about one object, of 41 about two, of 7 each second expression, and no more.
        right = {3: said[2], 41: said[3] + said[1], 7: [texts[1] for texts in said]}.get(index, [])
        return {text for texts in said for text in texts} - set(right)

    monkeypatch.setattr(shapes_bundle, "wrong_expressions", wrong)
    write_examples(tmp_path / "examples", model, processor)
    examples = read_examples(tmp_path)
    assert [int(example.image.stem[-6:]) - 1 for example in examples] == [7, 41, 3, 31, 71, 61]
    for example in examples[:3]:
        index = int(example.image.stem[-6:]) - 1
        referred = make_referred_scene(shapes_bundle.EXAMPLE_SEED, index, typo_rate=0.0)
        texts_of = [{said.text for said in about} for _, about in referred.references]
        assert all(any(text in texts for text in example.expressions) for texts in texts_of)
        are_wrong = [text in wrong(model, processor, index, referred) for text in example.expressions]
        assert are_wrong == sorted(are_wrong) and not are_wrong[0]


def test_an_answer_is_wrong_by_its_box_or_its_mask(model, processor, monkeypatch):
    referred = make_referred_scene(0, 3, typo_rate=0.0)
    texts = [said.text for _, about in referred.references for said in about]
    right = []
    for position, about in referred.references:
        x, y, width, height = referred.scene.boxes[position]
        mask = torch.from_numpy(np.ascontiguousarray(referred.scene.mask(position))) > 0
        right += [{"box": torch.tensor([x, y, x + width, y + height]), "mask": mask}] * len(about)
    wrong_box = right[0] | {"box": torch.tensor([0, 0, 9, 9])}
    wrong_mask = right[1] | {"mask": torch.zeros_like(right[1]["mask"])}
    answers = [wrong_box, wrong_mask, *right[2:]]
    monkeypatch.setattr(type(processor), "post_process_grounding", lambda *_, **__: answers)
    assert wrong_expressions(model, processor, 3, referred) == set(texts[:2])


def test_half_precision_halves_the_file_and_loads_in_single(bundle, trained, monkeypatch):
    folder = bundle("--half")
    sizes = [(each / "model.safetensors").stat().st_size for each in (trained, folder)]
    assert sizes[1] < 0.6 * sizes[0]
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    model = AutoModel.from_pretrained(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert "stored in half precision" in (folder / "README.md").read_text(encoding="utf-8")
    check_slice(folder, model, load_whole(folder)[1])


def test_half_precision_that_changes_the_answers_is_refused(bundle, tmp_path, monkeypatch):
    def spoil(file):
        tensors = load_file(file)
        bundle_checkpoint.save_file(
            {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, file, {"format": "pt"}
        )

    monkeypatch.setattr(bundle_checkpoint, "store_in_half_precision", spoil)
    with pytest.raises(SystemExit, match="slice.json"):
        bundle("--half")
    assert not (tmp_path / "checkpoints" / "tiny").exists()


def test_a_checkpoint_that_is_too_large_is_refused(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_bundle, "MOST_BYTES", 100_000)
    with pytest.raises(SystemExit, match=r"bytes, [\d,]+ of them in model.safetensors; at most 100,000 are carried"):
        bundle()
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_project_carries_at_most_12_megabytes_of_shapes():
    assert shapes_bundle.MOST_BYTES == 12 * 10**6


def test_an_old_bundle_is_replaced_only_on_request(bundle, trained):
    folder = bundle()
    (folder / "old").write_text("of the old bundle")
    with pytest.raises(SystemExit, match="is not an empty folder"):
        bundle()
    assert (folder / "old").exists()
    bundle("--replace")
    assert not (folder / "old").exists() and (folder / "slice.json").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_bundle_is_bundled_again_with_examples_of_its_own(bundle, trained, tmp_path):
    (trained / "examples").mkdir()
    Image.new("RGB", (8, 6)).save(trained / "examples" / "cup.png")
    entries = [{"image": "cup.png", "expressions": ["the cup"]}]
    (trained / "examples" / "examples.json").write_text(json.dumps(entries))
    assert "cup.png" not in {example.image.name for example in read_examples(bundle())}
    assert not (tmp_path / "checkpoints" / "tiny" / "examples" / "cup.png").exists()


def test_a_failed_replacement_leaves_the_old_bundle(bundle, trained):
    folder = bundle()
    (folder / "old").write_text("of the old bundle")
    (trained / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(SystemExit, match="its weights do not load"):
        bundle("--replace")
    assert (folder / "old").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_model_that_was_not_evaluated_is_refused(bundle, trained):
    (trained / "metrics_by_kind.json").unlink()
    with pytest.raises(SystemExit, match="metrics_by_kind.json missing"):
        bundle()


def test_metrics_of_other_splits_are_refused(bundle, trained):
    (trained / "metrics_by_kind.json").write_text(json.dumps({"refshapes/testA": {}}))
    with pytest.raises(SystemExit, match=r"is about \['refshapes/val'\]"):
        bundle()
