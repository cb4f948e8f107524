"""Steps of a data-parallel network (DDP), set up by accelerate in one process, against the same steps without it."""

import os
import socket
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from benchmarks.benchmark_train import batch
from benchmarks.benchmarked_models import LEARNING_RATE, WEIGHT_DECAY, BenchmarkedModel
from benchmarks.measuring import finish
from gpu_check.sizes import Sizes


def data_parallel(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    losses, seconds = train(None, device, sizes)
    # What a launcher says to its only process; accelerate then sets up NCCL, or gloo on a CPU.
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    accelerator = Accelerator(cpu=device.type == "cpu")
    try:
        parallel_losses, parallel_seconds = train(accelerator, device, sizes)
        backend = torch.distributed.get_backend()
    finally:
        accelerator.end_training()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    differences = [abs(ours - alone) / abs(alone) for ours, alone in zip(parallel_losses, losses, strict=True)]
    figures = {"loss_difference": max(differences), "slowdown": parallel_seconds / seconds}
    note = (
        f"DDP over {backend} in one process: losses of {len(losses)} steps in float32 differ by "
        f"{max(differences):.1e} of themselves at most; its last step took {parallel_seconds / seconds:.2f} × as long."
    )
    yield {"figures": figures, "notes": [note]}


def train(accelerator: Accelerator | None, device: torch.device, sizes: Sizes) -> tuple[list[float], float]:
    """The loss of each step, and the seconds of the last one; dropout is the same in every call."""
    network = BenchmarkedModel(plain=False).network(sizes.config, device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    if accelerator is not None:
        network, optimizer = accelerator.prepare(network, optimizer)
        if not isinstance(network, DistributedDataParallel):
            raise RuntimeError(f"accelerate made a {type(network).__name__} of the network, and no DDP")
    inputs = batch(sizes.config, sizes.training_batch, device)
    losses, seconds = [], 0.0
    for _ in range(sizes.data_parallel_steps):
        finish(device)
        start = time.perf_counter()
        loss = network(**inputs)["loss"]
        loss.backward() if accelerator is None else accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        finish(device)
        seconds = time.perf_counter() - start
        losses.append(loss.item())
    return losses, seconds


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
