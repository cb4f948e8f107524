"""TensorFlow's "same" padding, which backbones of timm work out from an image's size, for images of any size."""

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torch.fx.experimental.symbolic_shapes import statically_known_true


class SamePaddedConvolution(nn.Module):
    """
    What timm's `Conv2dSame` computes. timm's sums hold a ceiling and a maximum, which PyTorch does not simplify:
    traced for any size, each layer's are twice as long as those of the one before.
    """

    def __init__(self, convolution: Conv2dSame):
        super().__init__()
        self.convolution = convolution

    def forward(self, features):
        layer, padding = self.convolution, []
        for axis in (1, 0):  # F.pad begins with the last
            side, stride = features.shape[2 + axis], layer.stride[axis]
            reach = (layer.kernel_size[axis] - 1) * layer.dilation[axis] + 1
            steps = side // stride if statically_known_true(side % stride == 0) else (side + stride - 1) // stride
            whole = (steps - 1) * stride + reach - side
            if reach < stride:  # else it cannot be below 0
                whole = torch.sym_max(whole, 0)
            padding += [whole // 2, whole - whole // 2]
        features = F.pad(features, padding)
        return F.conv2d(features, layer.weight, layer.bias, layer.stride, dilation=layer.dilation, groups=layer.groups)


def make_padding_traceable(model: nn.Module):
    """Puts a `SamePaddedConvolution` in the place of each `Conv2dSame`. In place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Conv2dSame):
                setattr(module, name, SamePaddedConvolution(child))
