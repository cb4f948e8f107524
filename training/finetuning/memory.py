"""What a fine-tuning takes of memory, and how many expressions go through the network at once."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

import torch
from accelerate.utils import find_executable_batch_size

from plvl.training.resumable_batches import seeded

# Of what is free on a CPU, which may be taken: nothing tells before it is too late.
SHARE_OF_FREE = 0.8


@dataclass(frozen=True)
class Memory:
    """
    In bytes.

    Attributes:
        weights: of the model, which have their place before anything is trained.
        averages: of the weights, where there are any.
        training: gradients and the two numbers that AdamW keeps of each weight.
        first_group, each_group: what the forward pass keeps of the expressions about one image, and about each more.
    """

    weights: int
    averages: int
    training: int
    first_group: int
    each_group: int

    def beside_weights(self, num_groups: int) -> int:
        """What is taken when it is trained, with the expressions about so many images in a batch."""
        return self.averages + self.training + self.first_group + (num_groups - 1) * self.each_group


@dataclass(frozen=True)
class Fit:
    """
    How a step fits a device.

    Attributes:
        memory ([`Memory`]): what is expected.
        batch_size: expressions that go through the network at once.
        free: bytes of the device's memory that were free: on a CPU beside the weights, on a GPU with their place.
        tried: whether a step of this size has been computed there.
    """

    memory: Memory
    batch_size: int
    free: int
    tried: bool = False


def measure_memory(model, group: dict, averages: bool, autocast: AbstractContextManager) -> Memory:
    """
    Args:
        model ([`PLVLModel`]): as it will be trained.
        group: inputs with labels of the expressions about one image.
        averages: whether averages of the weights are kept.
        autocast: the context that training computes in; it can be entered several times.
    """
    weights = sum(each.nbytes for each in chain(model.parameters(), model.buffers()))
    trained = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    with autocast:
        one, two = (kept_bytes(model, repeated(group, times)) for times in (1, 2))
    return Memory(weights, weights * averages, 3 * trained, one, max(two - one, 0))


def keep_less(model):
    """Has activations computed again in the backward pass (gradient checkpointing) rather than kept."""
    # As Transformers calls it from 5.24 on, and before.
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    enable = next(getattr(model, name) for name in names if hasattr(model, name))
    enable({"use_reentrant": False})


def kept_bytes(model, inputs: dict) -> int:
    """What a forward pass in training keeps for the backward pass, without the weights; the model stays as it is."""
    own = {each.untyped_storage().data_ptr() for each in chain(model.parameters(), model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # Running means and what dropout draws must not know of it.
    buffers = [(each, each.clone()) for each in model.buffers()]
    mode = model.training
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), seeded(0):
        outputs = model.train()(**inputs)
    size = sum(kept.values())
    del outputs  # until here its graph held what was kept, and no place in memory was used twice
    model.train(mode)
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    return size


def repeated(inputs: dict, times: int) -> dict:
    """A batch so many times as large."""
    return {
        name: repeated(value, times) if isinstance(value, dict) else value.repeat(times, *[1] * (value.ndim - 1))
        for name, value in inputs.items()
    }


def batch_sizes(total: int, per_image: int) -> list[int]:
    """By how many expressions at a time a step of `total` can be computed, `per_image` about each image; falling."""
    return [size for size in range(total, 0, -1) if total % size == 0 and size % per_image == 0]


def batch_size_for_cpu(sizes: list[int], per_image: int, memory: Memory, free: int) -> int:
    """The first of `sizes` that `free` bytes have room for, beside the weights, or the last."""
    room = SHARE_OF_FREE * free
    return next((size for size in sizes if memory.beside_weights(size // per_image) <= room), sizes[-1])


def batch_size_by_trial(sizes: list[int], try_step: Callable[[int], None]) -> int:
    """
    The first of `sizes` with which a step does not run out of the device's memory.

    Args:
        sizes: falling.
        try_step: computes a step of so many expressions.

    Raises:
        RuntimeError: there is no room for the smallest either.
    """
    smaller = iter([*sizes[1:], 0])

    @find_executable_batch_size(starting_batch_size=sizes[0], reduce_batch_size_fn=lambda: next(smaller))
    def find(batch_size):
        try_step(batch_size)
        return batch_size

    found = find()
    # What the trial took would otherwise stay with this process, in parts of the trial's sizes.
    gc.collect()
    torch.cuda.empty_cache()
    return found


def trial_step(
    model, group: dict, per_image: int, averages: bool, autocast: AbstractContextManager
) -> Callable[[int], None]:
    """For [`batch_size_by_trial`]: forward and backward, beside as much memory as optimizer and averages take."""

    def try_step(batch_size):
        trained = [each for each in model.parameters() if each.requires_grad]
        averaged = chain(model.parameters(), model.buffers()) if averages else ()
        beside = [torch.empty_like(each) for each in chain(trained, trained, averaged)]
        try:
            with seeded(0), autocast:
                loss = model.train()(**repeated(group, batch_size // per_image)).loss
            loss.backward()
        finally:
            del beside
            model.zero_grad(set_to_none=True)

    return try_step
