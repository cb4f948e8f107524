"""Who takes turns in the benchmarks: this project's network and the plain one, each in a number format."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import dtype_name
from benchmarks.plain_model import PlainModel
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel
from plvl.processing.processing_plvl import MAX_TEXT_LENGTH

LEARNING_RATE, WEIGHT_DECAY = 2.5e-5, 1e-4
# Low enough that float16 gradients do not overflow: a step that is passed over would be a fast one.
LOSS_SCALE = 256.0


@dataclass(frozen=True)
class BenchmarkedModel:
    """
    Args:
        plain: the plain network, or this project's.
        dtype: what products are computed in.
        autocast: whether the weights stay float32 and autocast gives products their dtype.
        compiled: "" for eager; else the mode of torch.compile, such as "default" or "reduce-overhead".
    """

    plain: bool
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    compiled: str = ""

    @property
    def name(self) -> str:
        parts = ["plain" if self.plain else "plvl", dtype_name(self.dtype) + " autocast" * self.autocast]
        if self.compiled:
            parts.append("compiled" if self.compiled == "default" else f"compiled ({self.compiled})")
        return ", ".join(parts)

    def network(self, config: PLVLConfig, device: torch.device) -> torch.nn.Module:
        """With random weights, the same for every model."""
        torch.manual_seed(0)
        network = PLVLModel(copy.deepcopy(config))
        if self.plain:
            network = PlainModel(network)
        return network.to(device, torch.float32 if self.autocast else self.dtype)

    def forward_pass(self, config: PLVLConfig, device: torch.device) -> Callable:
        """A function of the network's inputs, for inference."""
        network = self.network(config, device).eval()
        run = self._compile(network)
        dtype = next(network.parameters()).dtype

        @torch.inference_mode()
        def forward(pixel_values, **inputs):
            with torch.autocast(device.type, self.dtype, enabled=self.autocast):
                return run(pixel_values=pixel_values.to(dtype), **inputs)

        return forward

    def training_step(self, config: PLVLConfig, device: torch.device) -> Callable:
        """
        A function of the network's inputs and labels: forward, losses, backward, AdamW.

        This project's AdamW is the fused one, as Trainer chooses it; the plain one is PyTorch's default.
        """
        network = self.network(config, device).train()
        run = self._compile(network)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=None if self.plain else True
        )
        needs_scale = self.autocast and self.dtype == torch.float16
        scaler = torch.amp.GradScaler(device.type, init_scale=LOSS_SCALE, enabled=needs_scale)

        def step(**inputs):
            with torch.autocast(device.type, self.dtype, enabled=self.autocast):
                loss = run(**inputs)["loss"]
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

        return step

    def _compile(self, network: torch.nn.Module) -> Callable:
        return torch.compile(network, mode=self.compiled, fullgraph=True) if self.compiled else network


def random_inputs(config: PLVLConfig, batch_size: int, device: torch.device, scale: int = 1) -> dict:
    """
    Images of noise, and expressions of 3 to 12 tokens padded as the processor pads them.

    Args:
        scale: how many times the configuration's side the images' sides are.
    """
    generator = torch.Generator().manual_seed(1)
    vision, text = config.vision_config, config.text_config
    side = vision.image_size * scale
    lengths = torch.randint(3, 13, (batch_size, 1), generator=generator)
    attention_mask = (torch.arange(MAX_TEXT_LENGTH) < lengths).long()
    inputs = {
        "pixel_values": torch.randn(batch_size, vision.num_channels, side, side, generator=generator),
        "input_ids": torch.randint(5, text.vocab_size, attention_mask.shape, generator=generator) * attention_mask,
        "attention_mask": attention_mask,
    }
    return {name: values.to(device) for name, values in inputs.items()}


def plain_flops(config: PLVLConfig, batch_size: int, scale: int = 1, training: bool = False) -> int:
    """
    Floating-point operations of the plain network's matrix products and convolutions, in `training` the backward
    pass's too. They are counted without computing anything.
    """
    device = torch.device("meta")
    with device:
        network = BenchmarkedModel(plain=True).network(config, device).train(training)
    inputs = random_inputs(config, batch_size, device, scale)
    inputs.pop("attention_mask")  # makes no difference to the count, and its values cannot be read here
    with FlopCounterMode(display=False) as counter:
        outputs = network(**inputs)
        if training:
            sum(outputs[name].sum() for name in ("pred_masks", "center_logits", "offset", "size")).backward()
    return counter.get_total_flops()


def random_labels(config: PLVLConfig, batch_size: int, device: torch.device) -> dict:
    """Boxes inside the image and rectangles that fill them as masks."""
    generator = torch.Generator().manual_seed(2)
    side = config.vision_config.image_size
    sizes = 0.1 + 0.4 * torch.rand(batch_size, 2, generator=generator)
    centers = sizes / 2 + (1 - sizes) * torch.rand(batch_size, 2, generator=generator)
    place = (torch.arange(side) + 0.5) / side
    across, down = ((place - centers[:, axis, None]).abs() < sizes[:, axis, None] / 2 for axis in (0, 1))
    labels = {
        "boxes": torch.cat([centers, sizes], 1),
        "masks": (down[:, :, None] & across[:, None]).float(),
        "has_mask": torch.ones(batch_size, dtype=torch.bool),
    }
    return {name: values.to(device) for name, values in labels.items()}
