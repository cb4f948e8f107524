"""Training in float16 under autocast: how many steps the GradScaler passes over because gradients overflow."""

import math
from collections.abc import Iterator

import torch

from benchmarks.benchmark_train import batch
from benchmarks.benchmarked_models import LEARNING_RATE, LOSS_SCALE, WEIGHT_DECAY, BenchmarkedModel
from gpu_check.sizes import Sizes

PYTORCHS_SCALE = 65536.0  # where a GradScaler begins if nobody says otherwise; it halves with each step passed over


def half_precision(device: torch.device, sizes: Sizes) -> Iterator[dict]:
    for name, scale in (("", LOSS_SCALE), ("_from_65536", PYTORCHS_SCALE)):
        skipped, losses = train(scale, device, sizes)
        figures = {f"skipped{name}": skipped, f"not_finite{name}": sum(not math.isfinite(loss) for loss in losses)}
        note = (
            f"float16, {len(losses)} steps on one batch of {sizes.training_batch}, losses scaled by {scale:g} at "
            f"first: {skipped} passed over, loss {losses[0]:.4f} to {losses[-1]:.4f}."
        )
        yield {"figures": figures, "notes": [note]}


def train(scale: float, device: torch.device, sizes: Sizes) -> tuple[int, list[float]]:
    """How many steps were passed over, and the loss of each step."""
    network = BenchmarkedModel(plain=False, dtype=torch.float16, autocast=True).network(sizes.config, device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    scaler = torch.amp.GradScaler(device.type, init_scale=scale)
    inputs = batch(sizes.config, sizes.training_batch, device)
    skipped, losses = 0, []
    for _ in range(sizes.half_precision_steps):
        with torch.autocast(device.type, torch.float16):
            loss = network(**inputs)["loss"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        before = scaler.get_scale()
        scaler.update()
        # It lowers the scale after exactly those steps that it has passed over.
        skipped += scaler.get_scale() < before
        optimizer.zero_grad()
        losses.append(loss.item())
    return skipped, losses
