"""Position tables: resized to the image's grid, and made of the weights as they are."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from plvl.modeling_plvl.position_plvl import relative_position_table


def test_a_relative_table_of_another_length_is_resized_linearly():
    table = torch.randn(9, 3)
    resized = F.interpolate(table.T[None], size=5, mode="linear", align_corners=False)[0].T
    assert torch.equal(relative_position_table(table, 3)[0, 2], resized[0])
    assert torch.equal(relative_position_table(table, 5)[4, 0], table[8])


def test_the_tables_are_trained(model, inputs):
    model(**inputs).center_logits.sum().backward()
    for name, parameter in model.named_parameters():
        assert "position_embeddings" not in name and "rel_pos" not in name or parameter.grad is not None


def test_threads_that_ask_about_images_of_different_sizes_do_not_disturb_one_another(model, inputs):
    model.eval()
    sizes = [(32, 48), (64, 96), (48, 32), (96, 64), (64, 64), (32, 32)] * 4
    asked = [inputs | {"pixel_values": torch.randn(2, 3, *size)} for size in sizes]

    def answer(each):
        with torch.inference_mode():
            return model(**each).center_logits

    alone = list(map(answer, asked))
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(answer, asked))
    assert all(map(torch.equal, alone, together))


def step_of_an_optimizer(model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.AdamW(model.parameters(), lr=0.1).step()


def other_weights(model):
    return {name: value + 0.1 if value.is_floating_point() else value for name, value in model.state_dict().items()}


def new_data(model):
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1


def data_in_place(model):
    for parameter in model.parameters():
        parameter.data.add_(0.1)


@pytest.mark.parametrize(
    "change",
    [
        step_of_an_optimizer,
        lambda model: model.load_state_dict(other_weights(model)),
        lambda model: model.load_state_dict(other_weights(model), assign=True),
        lambda model: [parameter.add_(0.1) for parameter in model.parameters()],
        lambda model: model.to(torch.bfloat16).to(torch.float32),
        new_data,
        data_in_place,
    ],
    ids=["optimizer", "load_state_dict", "assigned", "in place", "dtype", "data", "data in place"],
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
