"""bfloat16 on a CPU, and how attention is computed, as a recipe asks for them."""

import math

import pytest
import torch
from accelerate.state import AcceleratorState

from conftest import small_config
from plvl.modeling_plvl import PLVLModel
from plvl.training.recipe import ModelArguments
from plvl.training.starting_model import load_or_make_model
from small_runs import random_model, shapes_trainer


@pytest.fixture
def forget_precision(monkeypatch):
    """Has accelerate forget the precision that it keeps for the whole process; so does the test's end."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)

    forget()
    yield forget
    forget()


@pytest.fixture
def linear_outputs():
    """A list that gets the data type of what each linear layer gives."""
    dtypes = []

    def note(layer, inputs, output):
        if isinstance(layer, torch.nn.Linear):
            dtypes.append(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    yield dtypes
    hook.remove()


def test_a_run_on_a_cpu_trains_and_evaluates_in_bfloat16(refshapes, tmp_path, linear_outputs, forget_precision):
    model = random_model()
    model.set_attn_implementation("eager")
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    trainer = shapes_trainer(refshapes, tmp_path, model=model, bf16=True, max_steps=2, gradient_accumulation_steps=2)
    trainer.train()
    assert set(linear_outputs) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert any(not torch.equal(value, before[name]) for name, value in model.head.state_dict().items())
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)

    linear_outputs.clear()
    in_bfloat16 = trainer.evaluate()
    assert set(linear_outputs) == {torch.bfloat16}

    linear_outputs.clear()
    forget_precision()
    unwrapped = random_model()
    unwrapped.load_state_dict(model.state_dict())
    in_float32 = shapes_trainer(refshapes, tmp_path, model=unwrapped).evaluate()
    assert set(linear_outputs) == {torch.float32}
    assert in_bfloat16["eval_num_samples"] == in_float32["eval_num_samples"] > 0
    for name in ("eval_box_miou", "eval_mask_miou"):
        assert in_bfloat16[name] == pytest.approx(in_float32[name], abs=0.05)


def attention_of(model):
    configs = model.config, model.text_encoder.config
    return {config._attn_implementation for config in configs}


def test_a_new_model_computes_attention_as_the_recipe_says():
    fields = small_config().to_dict()
    made = {}
    for attention in (None, "eager"):
        arguments = ModelArguments(model_config=dict(fields), attn_implementation=attention)
        made[attention], _ = load_or_make_model(arguments, lambda: ["the red star"])
    assert attention_of(made[None]) == {"sdpa"}
    assert attention_of(made["eager"]) == {"eager"}


def test_a_given_model_computes_attention_as_the_recipe_says_in_single_precision(model_folder):
    PLVLModel.from_pretrained(model_folder).half().save_pretrained(model_folder)
    arguments = ModelArguments(model_name_or_path=str(model_folder), attn_implementation="eager")
    model, _ = load_or_make_model(arguments, lambda: ["the red star"])
    assert attention_of(model) == {"eager"}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
