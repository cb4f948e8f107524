"""Two processes on CPUs that share out the parameters (FSDP), beside the same run without."""

import json

import pytest
import torch
from safetensors.torch import load_file

from plvl.modeling_plvl import PLVLModel
from plvl.training import PLVLTrainingArguments
from plvl.training.sharding import complete_sharding
from small_runs import random_model, run_program, shapes_trainer

pytestmark = pytest.mark.several_processes
# Of biases before a normalisation, and of keys, over which softmax is the same: their gradients are rounding alone.
WITHOUT_GRADIENT = ("k_proj.bias", "running_mean", "trunk.0.bias", "0.0.bias", "mask.0.0.bias")


@pytest.fixture(scope="module")
def results(refshapes, tmp_path_factory):
    """Of each process, and the folder."""
    output = tmp_path_factory.mktemp("sharded")
    roots = refshapes["image_root"], refshapes["label_root"]
    run_program("sharded_run.py", *roots, output, processes=2, configuration="fsdp")
    return [json.loads((output / f"results_{rank}.json").read_text(encoding="utf-8")) for rank in range(2)], output


def test_each_process_has_half_of_the_parameters_and_of_the_optimizers_moments(results):
    of_processes, _ = results
    of_all = of_processes[0]["of_all"]
    assert of_all == sum(each.numel() for each in random_model().parameters())
    for name in ("own", "own_moments", "own_before"):
        assert sum(each[name] for each in of_processes) == of_all
        assert all(each[name] == pytest.approx(of_all / 2, rel=0.01) for each in of_processes)
    assert all(each["own_unsharded"] == of_all and each["device"] == "cpu" for each in of_processes)


def test_sharded_training_ends_as_unsharded_training_does(results):
    _, folder = results
    sharded, unsharded, begun = weights(folder / "whole"), weights(folder / "unsharded"), random_model().state_dict()
    compared = [name for name in sharded if not name.endswith(WITHOUT_GRADIENT)]
    assert len(compared) > 0.75 * len(sharded)
    for name in compared:
        torch.testing.assert_close(sharded[name], unsharded[name], atol=2e-4, rtol=0)
    moved = [name for name in compared if (sharded[name] - begun[name]).abs().max() > 1e-3]
    assert len(moved) > 0.75 * len(compared)


def test_a_sharded_run_goes_on_where_it_stopped(results):
    _, folder = results
    whole, again = weights(folder / "whole"), weights(folder / "again")
    assert all(again[name].equal(whole[name]) for name in whole)


@pytest.mark.parametrize("name", ["whole", "bf16"])
def test_what_is_saved_is_a_whole_model_that_measures_the_same(results, refshapes, tmp_path, name):
    of_processes, folder = results
    saved, info = PLVLModel.from_pretrained(folder / name, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and saved.dtype == torch.float32
    alone = shapes_trainer(refshapes, tmp_path, model=saved, bf16=name == "bf16").evaluate()
    for each in of_processes:
        measured = {key: value for key, value in each[name].items() if "iou" in key or key == "eval_loss"}
        assert measured == pytest.approx({key: alone[key] for key in measured}, abs=1e-6 if name == "whole" else 1e-3)


def test_a_sharded_model_is_evaluated_before_it_is_trained(results, refshapes, tmp_path):
    of_processes, _ = results
    alone = shapes_trainer(refshapes, tmp_path).evaluate()
    for each in of_processes:
        measured = {key: value for key, value in each["before"].items() if "iou" in key or key == "eval_loss"}
        assert measured == pytest.approx({key: alone[key] for key in measured}, abs=1e-6)


@pytest.mark.parametrize(
    ("variables", "arguments", "message"),
    [
        ({"FSDP_VERSION": "1"}, {}, "version 1 .* fsdp_version: 2"),
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, "fsdp_cpu_ram_efficient_loading: false"),
        ({"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, {}, "SHARDED_STATE_DICT .* set FULL_STATE_DICT"),
        ({}, {"muon_learning_rate": 1e-3}, "muon_learning_rate=0.001 .* FSDP"),
    ],
)
def test_what_cannot_be_sharded_is_refused_at_the_start(tmp_path, monkeypatch, variables, arguments, message):
    for name, value in ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        PLVLTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


def test_options_of_the_arguments_go_before_those_of_the_launcher(tmp_path, monkeypatch):
    args = PLVLTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert args.fsdp_plugin_args is None
    monkeypatch.setenv("FSDP_VERSION", "1")
    args.fsdp_plugin_args = {"fsdp_version": 2, "min_num_params": 5}
    complete_sharding(args)
    assert args.fsdp_plugin_args["min_num_params"] == 5
    assert args.fsdp_plugin_args["mixed_precision_policy"].param_dtype is None


def weights(folder):
    return load_file(folder / "model.safetensors")
