"""What is in a run's way is told before its first step, all at once, each with the next thing to do."""

import re
import shutil
import time
from types import SimpleNamespace

import pytest
from transformers import BertConfig

from conftest import small_config
from plvl.data.loading import unopened_rows
from plvl.scripts import run_grounding
from plvl.training.preflight import NotReadyError
from plvl.training.recipe import ModelArguments
from plvl.training.run_data import report_cut_expressions
from plvl.training.starting_model import new_config

SMALL = small_config()


def run(roots, output, *, trains=True, **flags):
    """run_grounding.py on RefShapes, with flags alone."""
    defaults = {"dataset": "refshapes", "output_dir": output, "use_cpu": True, "report_to": "none", "max_steps": 1}
    defaults |= {"do_train": True} if trains else {"do_eval": True}
    line = [f"--{name}={value}" for name, value in (defaults | roots | flags).items()]
    run_grounding.main(line)


def problems(roots, output, **flags) -> list[str]:
    with pytest.raises(NotReadyError) as raised:
        run(roots, output, **flags)
    return str(raised.value).split("\n- ")


@pytest.fixture
def no_hub(monkeypatch):
    """The Hub at an address where nobody listens."""
    nowhere = "http://127.0.0.1:9"
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", nowhere)
    monkeypatch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")


def test_everything_is_told_at_once_with_the_next_step(tmp_path, no_hub):
    roots = {"image_root": tmp_path / "shapes/images", "label_root": tmp_path / "shapes/labels"}
    (tmp_path / "taken").touch()
    start = time.time()
    head, data, vision, text, config, output, hub = problems(
        roots,
        tmp_path / "taken",
        vision_weights="checkpoints/nowhere.pkl",
        text_weights="lab/bert",
        model_config='{"num_attention_hedas": 3}',
        push_to_hub=True,
    )
    assert time.time() - start < 10
    assert head == "the run cannot start:"
    assert "refs(unc).p is missing" in data and f"plvl data make --output {tmp_path / 'shapes'}`" in data
    assert vision.startswith("vision_weights: there is no file checkpoints/nowhere.pkl")
    assert vision.endswith("/f325358525/model_final_435fa9.pkl")
    assert text.startswith("text_weights: there is no folder lab/bert, and the Hub does not give it (")
    assert "hf download google-bert/bert-base-uncased" in text
    assert "no num_attention_hedas" in config and "num_attention_heads?" in config
    assert output.startswith(f"output_dir: {tmp_path / 'taken'} is a file")
    assert hub.startswith("push_to_hub: http://127.0.0.1:9 cannot be reached") and "publish.py" in hub


def test_a_split_that_is_evaluated_last_is_looked_for_first(refshapes, tmp_path):
    [problem] = problems(refshapes, tmp_path, model_config="{}", do_eval=True, eval_splits="tset")
    assert problem == "refshapes split by unc has no split 'tset'; it has testA, testB, train, val"


def test_a_folder_without_any_of_the_images_is_named(refshapes, tmp_path):
    (tmp_path / "mscoco/images/train2014").mkdir(parents=True)
    flags = {"image_root": tmp_path, "model_config": "{}", "do_eval": True}
    train, val = problems(refshapes, tmp_path / "out", **flags)[1:]
    assert re.match(r"(\d+) of the first \1 rows of train have no image, such as ", train) and str(tmp_path) in train
    assert "rows of val have no image" in val


def test_images_that_would_end_the_evaluation_are_missed_before_training(refshapes, tmp_path):
    """One of the images of val, about whose rows the evaluation would stop after the training."""
    images = shutil.copytree(refshapes["image_root"], tmp_path / "images")
    row = next(iter(unopened_rows("refshapes", "val", **refshapes)[0]))
    (images / "mscoco/images/train2014" / row["file_name"]).unlink()
    flags = {"image_root": images, "model_config": "{}", "do_eval": True, "vision_weights": "nowhere.pkl"}
    found = [problem for problem in problems(refshapes, tmp_path / "out", **flags) if "have no image" in problem]
    assert len(found) == 1 and row["file_name"] in found[0] and re.match(r"\d+ of the first \d+ rows of val", found[0])
    others = problems(refshapes, tmp_path / "out", **flags, max_skipped=0.9)
    assert not any("have no image" in problem for problem in others)


def test_a_run_without_any_model_asks_for_one(refshapes, tmp_path):
    [problem] = problems(refshapes, tmp_path)
    assert problem.startswith("no model is named: model_name_or_path")
    [problem] = problems(refshapes, tmp_path, trains=False)
    assert problem.startswith("model_name_or_path must name the model to evaluate")


def test_a_model_that_is_not_there_and_one_without_tokenizer_are_named(refshapes, tmp_path, no_hub):
    [problem] = problems(refshapes, tmp_path, model_name_or_path="outputs/mixed")
    assert problem.startswith("model_name_or_path: there is no folder outputs/mixed")
    BertConfig().save_pretrained(tmp_path / "bert")
    [problem] = problems(refshapes, tmp_path, text_weights=tmp_path / "bert")
    assert problem.startswith(f"the folder {tmp_path / 'bert'} has no tokenizer")


def test_a_folder_that_cannot_be_written_to_is_named(refshapes, tmp_path):
    (tmp_path / "taken").touch()
    [problem] = problems(refshapes, tmp_path / "taken/run", model_config="{}")
    assert problem.startswith(f"output_dir: {tmp_path / 'taken/run'} cannot be written to (")


@pytest.mark.parametrize(("save", "numbers"), [("no", 1), ("steps", 4)])
def test_a_disk_without_room_for_a_checkpoint_is_named(refshapes, tmp_path, model_folder, monkeypatch, save, numbers):
    """A checkpoint has the weights and two numbers for each, and the model at the end the weights again."""
    size = (model_folder / "model.safetensors").stat().st_size
    flags = {"model_name_or_path": model_folder, "save_strategy": save}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(0.9 * numbers * size)))
    [problem] = problems(refshapes, tmp_path, **flags)
    assert "MiB are free" in problem and "make room" in problem
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(1.1 * numbers * size)))
    run(refshapes, tmp_path, **flags)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_layer": 1}, r"no decoder_layer \(did you mean decoder_layers\?\)"),
        (
            {"vision_config": {"pach_size": 8}},
            r"no vision_config.pach_size \(did you mean vision_config.patch_size\?\)",
        ),
        ({"text_config": {"hiden_size": 8}}, r"no text_config.hiden_size \(did you mean text_config.hidden_size\?\)"),
        ({"window_size": 7}, r"no window_size \(did you mean vision_config.window_size\?\)"),
        ({"text_config": {"model_type": "brt"}}, r"no model_type 'brt' \(did you mean bert\?\)"),
    ],
)
def test_a_field_that_no_part_of_the_model_has_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        new_config(ModelArguments(model_config=fields))


def test_every_field_that_a_configuration_has_is_taken():
    config = new_config(ModelArguments(model_config=SMALL.to_dict()))
    assert config.to_dict() == SMALL.to_dict()


def test_expressions_that_are_cut_are_counted(processor, caplog):
    report_cut_expressions(processor, ["red " * 38, "red " * 39, "RED " * 60])
    assert "2 of the first 3 training expressions have more than 40 tokens" in caplog.text
    caplog.clear()
    report_cut_expressions(processor, ["the red square", ""])
    assert not caplog.text
