"""Position tables: resized to the image's grid, and in evaluation made once for as long as the weights stay."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from plvl.modeling_plvl import position_plvl, vision_plvl
from plvl.modeling_plvl.position_plvl import TableCache, relative_position_table


def test_a_relative_table_of_another_length_is_resized_linearly():
    table = torch.randn(9, 3)
    resized = F.interpolate(table.T[None], size=5, mode="linear", align_corners=False)[0].T
    assert torch.equal(relative_position_table(table, 3)[0, 2], resized[0])
    assert torch.equal(relative_position_table(table, 5)[4, 0], table[8])


@pytest.fixture
def tables_made(model, monkeypatch):
    """The tables that the model has made, one entry for each making."""
    made = []
    for name in ("relative_position_table", "absolute_position_table"):
        make = getattr(position_plvl, name)
        monkeypatch.setattr(vision_plvl, name, lambda *args, make=make: made.append(make) or make(*args))
    return made


NUMBER_OF_TABLES = 1 + 2 * 3  # one of absolute positions, and two for each block


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_makes_the_tables_once_for_each_size(mode, model, inputs, tables_made):
    with mode():
        small = inputs | {"pixel_values": torch.randn(2, 3, 32, 32)}
        answers = [model(**each).center_logits for each in (inputs, small, inputs, small)]
    # The windows are of one size.
    assert len(tables_made) == NUMBER_OF_TABLES + 3
    assert torch.equal(answers[0], answers[2]) and torch.equal(answers[1], answers[3])


def test_tables_are_made_anew_where_gradients_are_wanted(model, inputs, tables_made):
    with torch.no_grad():
        model(**inputs)
    model(**inputs).center_logits.sum().backward()
    assert len(tables_made) == 2 * NUMBER_OF_TABLES
    for name, parameter in model.named_parameters():
        assert "position_embeddings" not in name and "rel_pos" not in name or parameter.grad is not None


def step_of_an_optimizer(model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.AdamW(model.parameters(), lr=0.1).step()


def other_weights(model):
    return {name: value + 0.1 if value.is_floating_point() else value for name, value in model.state_dict().items()}


def new_data(model):
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1


def data_changed_before_evaluation(model):
    for parameter in model.parameters():
        parameter.data.add_(0.1)
    model.eval()


@pytest.mark.parametrize(
    "change",
    [
        step_of_an_optimizer,
        lambda model: model.load_state_dict(other_weights(model)),
        lambda model: model.load_state_dict(other_weights(model), assign=True),
        lambda model: [parameter.add_(0.1) for parameter in model.parameters()],
        lambda model: model.to(torch.bfloat16).to(torch.float32),
        new_data,
        data_changed_before_evaluation,
    ],
    ids=["optimizer", "load_state_dict", "assigned", "in place", "dtype", "data", "data in place, then eval()"],
)
@torch.no_grad()
def test_tables_follow_the_weights(change, model, inputs):
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    before = model(**inputs).center_logits
    change(model)
    fresh = copy.deepcopy(model)
    assert torch.equal(model(**inputs).center_logits, fresh(**inputs).center_logits)
    assert not torch.equal(model(**inputs).center_logits, before)


@torch.inference_mode()
def test_kept_tables_are_no_part_of_the_model_that_is_stored(model, inputs, tmp_path):
    names, before = list(model.state_dict()), len(pickle.dumps(model))
    model(**inputs)
    assert list(model.state_dict()) == names
    assert len(pickle.dumps(model)) == before
    model.save_pretrained(tmp_path)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(**inputs).center_logits, model(**inputs).center_logits)


@torch.no_grad()
def test_only_the_last_few_sizes_are_kept():
    cache, made = TableCache(), []
    weight = torch.zeros(3)
    for size in (*range(10), 9, 0):
        cache(lambda weight, size: made.append(size) or weight + size, weight, size)
    assert made == [*range(10), 0]
