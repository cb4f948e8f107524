"""
Linear layers in float32 on a CPU with AVX-512, by oneDNN's matrix products.

PyTorch's own are MKL's there, which on an AMD Zen 5 reach half of what oneDNN's do: 105 GFLOP/s on one core to 220.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

# What compiled PyTorch calls for a linear layer; builds without oneDNN lack it.
ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
HAS_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


class PLVLLinear(nn.Linear):
    """
    `nn.Linear`, to rounding the same. Outside float32 on such a CPU, in a graph, under autocast and with
    `torch.backends.mkldnn.flags(enabled=False)` it is nothing else.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.is_onednns(input):
            return super().forward(input)
        return _Linear.apply(input.flatten(0, -2), self.weight, self.bias).unflatten(0, input.shape[:-1])

    def is_onednns(self, input: torch.Tensor) -> bool:
        """Whether oneDNN computes this layer of `input`."""
        return (
            HAS_AVX512
            and ONEDNN_LINEAR is not None
            and bool(torch.backends.mkldnn.enabled)
            # Neither a stand-in without values nor a weight that is sharded or quantised.
            and type(input) is torch.Tensor
            and type(self.weight) is nn.Parameter
            and input.device.type == self.weight.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and input.numel() > 0
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
        )


def use_onednn(model: nn.Module):
    """Makes every `nn.Linear` of a model a [`PLVLLinear`]: Transformers' and timm's encoders have them, too."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = PLVLLinear


def linear_of_activation(linear: nn.Module, activation: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    `linear(activation(hidden_states))`. Where oneDNN computes it, a backward pass computes GELU anew, in place of
    keeping what it gave.
    """
    is_recomputed = isinstance(activation, GELUActivation) and torch.is_grad_enabled()
    if is_recomputed and type(linear) is PLVLLinear and linear.is_onednns(hidden_states):
        output = _LinearOfGelu.apply(hidden_states.flatten(0, -2), linear.weight, linear.bias)
        return output.unflatten(0, hidden_states.shape[:-1])
    return linear(activation(hidden_states))


def _onednn_linear(input, weight, bias=None) -> torch.Tensor:
    return ONEDNN_LINEAR(input, weight, bias, "none", [], "")  # type: ignore[misc]


class _Linear(torch.autograd.Function):
    """`F.linear` of a matrix. Its gradients are such products, and have gradients of their own."""

    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return _onednn_linear(input, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _Linear.apply(grad, weight.T, None) if needs_input else None,
            _Linear.apply(grad.T, input.T, None) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )


class _LinearOfGelu(torch.autograd.Function):
    """`F.linear` of GELU of a matrix, of which the matrix alone is kept."""

    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return _onednn_linear(F.gelu(input), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            torch.ops.aten.gelu_backward(_onednn_linear(grad, weight.T), input) if needs_input else None,
            _onednn_linear(grad.T, F.gelu(input).T) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )
