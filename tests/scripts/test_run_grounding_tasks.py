"""What one command can do beside a whole run: evaluate, predict, go on, start from others' weights."""

import json
import pickle

import evaluate
import pytest
import torch
import yaml
from transformers import AutoConfig, BertConfig, BertModel

from conftest import small_config
from original_checkpoints import small_config as small_original_config
from original_checkpoints import small_vitdet
from plvl.data import load_grounding_dataset
from plvl.data.refshapes import write_refshapes
from plvl.modeling_plvl import PLVLModel
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.scripts import prepare_data, run_grounding
from plvl.training import grounding_metric


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_refshapes(folder, num_images=40, seed=5)
    return {"image_root": folder / "images", "label_root": folder / "labels"}


def run(shapes, output, **arguments):
    """run_grounding.py with a recipe file of a small model."""
    recipe = {
        "dataset": "refshapes",
        "image_root": str(shapes["image_root"]),
        "label_root": str(shapes["label_root"]),
        "output_dir": str(output),
        "per_device_train_batch_size": 4,
        "gallery_size": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    output.mkdir(parents=True, exist_ok=True)
    file = output / "recipe.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(recipe | arguments))))
    run_grounding.main([str(file)])


@pytest.fixture(scope="module")
def boxes_alone(shapes, tmp_path_factory):
    """The folder of a run of boxes alone, evaluated at each of its three steps, with checkpoints."""
    output = tmp_path_factory.mktemp("boxes")
    config = small_config().to_dict()
    config = {key: config[key] for key in ("vision_config", "text_config") if key in config} | {
        key: value for key, value in config.items() if key.startswith(("cross", "adapter", "decoder", "head_"))
    }
    in_training = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 2}
    run(shapes, output, do_train=True, model_config=config, tasks=["rec"], max_steps=3, **in_training)
    return output


def test_a_run_keeps_the_best_model_and_draws_a_gallery_at_each_evaluation(boxes_alone):
    assert AutoConfig.from_pretrained(boxes_alone / "best_box_accuracy").tasks == ["rec"]
    assert not (boxes_alone / "best_mask_miou").exists()
    assert len(list((boxes_alone / "gallery").iterdir())) == 3


def test_a_run_holds_its_folder_until_it_ends(shapes, boxes_alone, tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(run_grounding, "evaluate", lambda *given: held.append((tmp_path / "_run.json").exists()))
    run(shapes, tmp_path, do_eval=True, model_name_or_path=str(boxes_alone / "best_box_accuracy"))
    assert held == [True] and not (tmp_path / "_run.json").exists()


def test_rows_of_parquet_are_measured_under_the_name_of_their_set(shapes, boxes_alone, tmp_path):
    where = ["--image_root", str(shapes["image_root"]), "--label_root", str(shapes["label_root"])]
    prepare_data.main(["refshapes", "--split", "val", *where, "--output", str(tmp_path / "parquet")])
    start = str(boxes_alone / "best_box_accuracy")
    in_parquet = {"dataset": "parquet", "label_root": str(tmp_path / "parquet"), "eval_splits": ["val"]}
    run(shapes, tmp_path / "out", do_eval=True, model_name_or_path=start, **in_parquet)
    assert list(json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))) == ["refshapes/val"]


def test_predictions_measured_by_evaluate_are_the_runs_own_metrics(shapes, boxes_alone, tmp_path):
    start = str(boxes_alone / "best_box_accuracy")
    run(shapes, tmp_path, do_eval=True, do_predict=True, model_name_or_path=start, eval_splits=["val"])
    [metrics] = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8")).values()
    answers = [
        json.loads(line) for line in (tmp_path / "predictions_val.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows = {row["sent_id"]: row for row in load_grounding_dataset("refshapes", "val", **shapes)}
    assert [answer["sent_id"] for answer in answers] == sorted(rows)
    measured = evaluate.load(grounding_metric.__path__[0], cache_dir=str(tmp_path / "cache")).compute(
        predictions=answers,
        references=[{"box": rows[answer["sent_id"]]["boxes"][0]} for answer in answers],
    )
    assert measured["num_samples"] == metrics["num_samples"]
    assert measured["box_miou"] == pytest.approx(metrics["native_box_miou"], abs=1e-6)


def test_a_model_of_boxes_learns_masks_too(shapes, boxes_alone, tmp_path):
    run(
        shapes,
        tmp_path,
        do_train=True,
        do_predict=True,
        model_name_or_path=str(boxes_alone),
        tasks=["rec", "res"],
        loss_alpha=0.05,
        max_steps=1,
        eval_splits=["testB"],
    )
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.tasks, config.loss_alpha) == (["rec", "res"], 0.05)
    answer = json.loads((tmp_path / "predictions_testB.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert {"box", "mask", "score", "text"} <= set(answer)


def test_the_same_command_goes_on_where_a_run_was_stopped(shapes, boxes_alone, caplog):
    before = (boxes_alone / "model.safetensors").read_bytes()
    run_grounding.main([str(boxes_alone / "recipe.yaml")])
    assert f"the run goes on from {boxes_alone}/checkpoint-3" in caplog.text
    assert (boxes_alone / "model.safetensors").read_bytes() == before


def test_a_new_model_starts_from_vitdets_and_berts_weights(shapes, tmp_path):
    rows = load_grounding_dataset("refshapes", "train", **shapes).remove_columns("image")
    tokenizer = build_word_vocabulary((row["text"] for row in rows), vocab_size=60)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 64}
    text = BertConfig(**small_original_config().text_config.to_dict() | sizes)
    torch.manual_seed(0)
    bert = BertModel(text)
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    (tmp_path / "vitdet.pkl").write_bytes(pickle.dumps(small_vitdet()))
    config = small_original_config().to_dict()
    config = {name: config[name] for name in config if name.startswith(("vision_c", "adapter", "decoder", "head_"))}
    run(
        shapes,
        tmp_path / "run",
        do_train=True,
        model_config=config,
        cross_attention_layers=[2],
        vision_weights=str(tmp_path / "vitdet.pkl"),
        text_weights=str(tmp_path / "bert"),
        freeze_vision_encoder=True,
        freeze_text_encoder=True,
        max_steps=1,
    )
    trained = PLVLModel.from_pretrained(tmp_path / "run")
    first = torch.from_numpy(small_vitdet()["model"]["backbone.net.blocks.0.attn.qkv.weight"])
    assert torch.equal(trained.vision_encoder.layers[0].attention.qkv.weight, first)
    words = trained.text_encoder.embeddings.word_embeddings.weight
    assert torch.equal(words, bert.embeddings.word_embeddings.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "set do_train, do_eval or do_predict"),
        ({"do_eval": True}, "model_name_or_path must name the model to evaluate"),
        ({"do_eval": True, "tasks": ["rec", "res"], "model_name_or_path": ""}, "lacks weights .* head.mask"),
        (
            {"do_train": True, "text_weights": "bert-base-uncased", "model_name_or_path": ""},
            "vision_weights and text_weights are for a new model",
        ),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(shapes, boxes_alone, tmp_path, arguments, message):
    if "model_name_or_path" in arguments:
        arguments = arguments | {"model_name_or_path": str(boxes_alone)}
    with pytest.raises(ValueError, match=message):
        run(shapes, tmp_path, **arguments)
