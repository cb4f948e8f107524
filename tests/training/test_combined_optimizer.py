"""Two optimizers in the place of one."""

import copy

import pytest
import torch
from torch import nn

from plvl.training.combined_optimizer import CombinedOptimizer


def make(model: nn.Linear) -> CombinedOptimizer:
    return CombinedOptimizer(
        matrices=torch.optim.Muon([model.weight], lr=0.1), others=torch.optim.AdamW([model.bias], lr=0.01)
    )


def train(model: nn.Linear, optimizer, scheduler, steps: int):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.linspace(-1, 1, 12).view(4, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()


def halving(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


def test_each_optimizer_steps_its_own_parameters_at_the_rate_of_the_schedule():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    alone = copy.deepcopy(model)
    joint = make(model)
    train(model, joint, halving(joint), 3)
    parts = [torch.optim.Muon([alone.weight], lr=0.1), torch.optim.AdamW([alone.bias], lr=0.01)]
    schedules = [halving(part) for part in parts]
    for _ in range(3):
        alone.zero_grad()
        alone(torch.linspace(-1, 1, 12).view(4, 3)).square().sum().backward()
        for each in parts + schedules:
            each.step()
    assert torch.equal(model.weight, alone.weight) and torch.equal(model.bias, alone.bias)
    assert [group["lr"] for group in joint.param_groups] == [0.1 / 8, 0.01 / 8]


def test_a_saved_state_goes_on_as_if_it_had_never_stopped(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make(model)
    scheduler = halving(optimizer)
    train(model, optimizer, scheduler, 2)
    torch.save([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()], tmp_path / "saved.pt")
    train(model, optimizer, scheduler, 2)

    again = nn.Linear(3, 2)
    optimizer = make(again)
    scheduler = halving(optimizer)
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    for each, state in zip((again, optimizer, scheduler), saved, strict=True):
        each.load_state_dict(state)
    train(again, optimizer, scheduler, 2)
    assert torch.equal(again.weight, model.weight) and torch.equal(again.bias, model.bias)


def test_the_state_of_another_optimizer_is_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="state, param_groups, not of matrices, others"):
        make(model).load_state_dict(torch.optim.AdamW(model.parameters()).state_dict())


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="closure"):
        make(nn.Linear(3, 2)).step(lambda: 0.0)
