from types import SimpleNamespace

import pytest
import torch

from plvl.training.finetuning import memory as memory_module
from plvl.training.finetuning.memory import (
    Memory,
    batch_size_by_trial,
    batch_size_for_cpu,
    batch_sizes,
    keep_less,
    kept_bytes,
    measure_memory,
    repeated,
    trial_step,
)


@pytest.fixture
def group(inputs, labels):
    return inputs | {"labels": labels}


def autocast():
    return torch.autocast("cpu", torch.bfloat16, enabled=False)


def test_a_batch_is_repeated_with_its_labels(group):
    three = repeated(group, 3)
    assert three["pixel_values"].shape == (6, 3, 64, 96) and three["labels"]["boxes"].shape == (6, 4)
    assert torch.equal(three["labels"]["has_mask"], torch.tensor([True] * 6))


def test_what_is_kept_is_that_of_the_samples_and_not_the_weights():
    linear = torch.nn.Linear(1000, 7)
    network = SimpleNamespace(parameters=linear.parameters, buffers=linear.buffers, training=True)
    network.train = lambda mode=True: lambda x: (linear(x) ** 2).sum()
    # The input, for the weight's gradient, and the 7 numbers that are squared.
    assert kept_bytes(network, {"x": torch.zeros(5, 1000)}) == 4 * (5 * 1000 + 5 * 7)


def test_gradient_checkpointing_keeps_less_and_frozen_encoders_too(model, group):
    all_of_it = kept_bytes(model, group)
    model.text_encoder.requires_grad_(False)
    model.vision_encoder.requires_grad_(False)
    assert kept_bytes(model, group) < 0.8 * all_of_it
    model.requires_grad_(True)
    keep_less(model)
    assert kept_bytes(model, group) < 0.8 * all_of_it


def test_measuring_leaves_the_model_and_the_random_numbers_as_they_are(model, group):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    measure_memory(model, group, False, autocast())
    assert torch.equal(torch.rand(3), expected)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_expected_memory_counts_weights_gradients_optimizer_and_samples(model, group):
    weights = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
    measured = measure_memory(model, group, averages=True, autocast=autocast())
    assert measured.weights == measured.averages == weights
    assert measured.training == 3 * sum(each.nbytes for each in model.parameters())
    four = kept_bytes(model, repeated(group, 4))
    assert measured.beside_weights(4) == pytest.approx(weights + measured.training + four, rel=0.01)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    frozen = measure_memory(model, group, False, autocast())
    assert (frozen.weights, frozen.averages) == (weights, 0)
    assert frozen.training == 3 * sum(each.nbytes for each in model.head.parameters())


def test_a_step_is_divided_evenly_into_whole_images():
    assert batch_sizes(32, 4) == [32, 16, 8, 4]
    assert batch_sizes(30, 3) == [30, 15, 6, 3]


@pytest.mark.parametrize(("free", "expected"), [(2000, 32), (1251, 32), (1249, 16), (10, 4)])
def test_on_a_cpu_the_batch_is_what_free_memory_has_room_for(free, expected):
    # 200 + 8 groups of 100 are 1000, four fifths of 1250. The weights have their place already.
    assert batch_size_for_cpu([32, 16, 8, 4], 4, Memory(5000, 120, 80, 100, 100), free) == expected


def out_of_memory_above(most, tried):
    def try_step(batch_size):
        tried.append(batch_size)
        if batch_size > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return try_step


def test_on_a_gpu_the_batch_is_the_first_that_does_not_run_out_of_memory():
    tried = []
    assert batch_size_by_trial([32, 16, 8, 4], out_of_memory_above(8, tried)) == 8
    assert tried == [32, 16, 8]


def test_what_a_trial_took_of_a_gpu_is_given_back_to_it(monkeypatch):
    done = []
    monkeypatch.setattr(memory_module.gc, "collect", lambda: done.append("collected"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("cleared"))
    batch_size_by_trial([8, 4], done.append)
    assert done[-3:] == [8, "collected", "cleared"]


@pytest.mark.parametrize("averages", [False, True])
def test_a_trial_takes_as_much_beside_as_the_optimizer_and_the_averages(model, group, averages, monkeypatch):
    model.vision_encoder.requires_grad_(False)
    taken, empty_like = [], torch.empty_like

    def noted(tensor):
        taken.append(tensor.nbytes)
        return empty_like(tensor)

    with monkeypatch.context() as patched:
        patched.setattr(memory_module.torch, "empty_like", noted)
        patched.setattr(
            type(model), "forward", lambda self, **inputs: SimpleNamespace(loss=self.head.mask[-1].weight.sum())
        )
        trial_step(model, group, 2, averages, autocast())(2)
    memory = measure_memory(model, group, averages, autocast())
    assert sum(taken) == memory.training * 2 // 3 + memory.averages


def test_where_no_batch_fits_the_error_says_so_and_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="No executable batch size found"):
        batch_size_by_trial([8, 4], out_of_memory_above(2, []))

    def broken(batch_size):
        raise ValueError("broken on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        batch_size_by_trial([8, 4], broken)


def test_a_trial_computes_gradients_and_leaves_none(model, group):
    seen = []
    last = model.head.mask[-1]
    last.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0].shape[0]) or None)
    trial_step(model, group, 2, False, autocast())(6)
    assert seen == [6] and all(parameter.grad is None for parameter in model.parameters())
