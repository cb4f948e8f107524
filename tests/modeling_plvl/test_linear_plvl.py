"""Linear layers: what PyTorch's give, gradients included, whoever multiplies."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN, GELUActivation

from plvl.modeling_plvl import linear_plvl
from plvl.modeling_plvl.linear_plvl import PLVLLinear, linear_of_activation, use_onednn

ONEDNN = linear_plvl.ONEDNN_LINEAR
needs_onednn = pytest.mark.skipif(
    not linear_plvl.HAS_AVX512 or ONEDNN is None, reason="oneDNN computes linear layers on CPUs with AVX-512"
)


@pytest.fixture
def products(monkeypatch):
    """The shapes of what oneDNN has multiplied."""
    shapes = []

    def noted(input, weight, *others):
        shapes.append((tuple(input.shape), tuple(weight.shape)))
        return ONEDNN(input, weight, *others)

    monkeypatch.setattr(linear_plvl, "ONEDNN_LINEAR", noted)
    return shapes


def layer(bias: bool = True) -> PLVLLinear:
    torch.manual_seed(0)
    return PLVLLinear(6, 10, bias=bias)


def gradients(output, *inputs):
    weights = torch.linspace(-1, 2, output.numel()).view_as(output)
    return torch.autograd.grad((output * weights).sum(), inputs, create_graph=True)


@needs_onednn
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 1, 5, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_pytorchs_layer(shape, bias, products):
    linear, input = layer(bias), torch.randn(shape, requires_grad=True)
    parameters = (input, *linear.parameters())
    output, expected = linear(input), F.linear(input, linear.weight, linear.bias)
    assert output.shape == (*shape[:-1], 10)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients(output, *parameters), gradients(expected, *parameters))
    assert len(products) == 3


@needs_onednn
def test_gradients_have_gradients():
    linear, input = layer(), torch.randn(3, 6, requires_grad=True)
    seconds = []
    for output in (linear(input), F.linear(input, linear.weight, linear.bias)):
        first = torch.autograd.grad(output.pow(3).sum(), (input, linear.weight), create_graph=True)
        seconds.append(torch.autograd.grad(sum(each.pow(2).sum() for each in first), (input, linear.weight)))
    torch.testing.assert_close(*seconds)


@needs_onednn
def test_a_frozen_layer_and_an_input_without_gradient_cost_no_product(products):
    linear = layer()
    linear(torch.randn(3, 6)).sum().backward()
    assert len(products) == 2
    linear.requires_grad_(False)
    linear(torch.randn(3, 6, requires_grad=True)).sum().backward()
    assert len(products) == 4
    frozen = linear_of_activation(linear, GELUActivation(), torch.randn(3, 6, requires_grad=True))
    frozen.sum().backward()
    assert len(products) == 6


class Unlike(nn.Parameter):
    """A weight that only looks like one, as quantised and sharded ones do."""


def unlike(linear):
    linear.weight = Unlike(linear.weight.detach())
    return linear


@pytest.mark.parametrize(
    ("change", "context", "input"),
    [
        (lambda linear: linear.double(), nullcontext(), torch.randn(3, 6, dtype=torch.float64)),
        (lambda linear: linear.bfloat16(), nullcontext(), torch.randn(3, 6, dtype=torch.bfloat16)),
        (lambda linear: linear.to("meta"), nullcontext(), torch.randn(3, 6, device="meta")),
        (unlike, nullcontext(), torch.randn(3, 6)),
        (lambda linear: linear, torch.autocast("cpu", torch.bfloat16), torch.randn(3, 6)),
        (lambda linear: linear, torch.backends.mkldnn.flags(enabled=False), torch.randn(3, 6)),
        (lambda linear: linear, nullcontext(), torch.randn(0, 6)),
    ],
    ids=["float64", "bfloat16", "meta", "strange weight", "autocast", "switched off", "empty"],
)
def test_elsewhere_it_is_pytorchs_layer(change, context, input, products):
    linear = change(layer())
    with context:
        output = linear_of_activation(linear, GELUActivation(), input)
        assert output.dtype == F.linear(input, linear.weight, linear.bias).dtype
        assert output.shape == (len(input), 10)
    assert not products


def test_a_graph_has_pytorchs_layer(products):
    linear, input = layer(), torch.randn(3, 6)
    exported = torch.export.export(linear, (input,))
    assert "linear" in str(exported.graph)
    compiled = torch.compile(linear, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(input), F.linear(input, linear.weight, linear.bias))
    assert not products


def test_without_avx512_it_is_pytorchs_layer(products, monkeypatch):
    monkeypatch.setattr(linear_plvl, "HAS_AVX512", False)
    layer()(torch.randn(3, 6))
    assert not products


@pytest.mark.parametrize("name", ["gelu", "silu", "relu"])
@pytest.mark.parametrize("of", [PLVLLinear, nn.Linear])
def test_a_layer_of_an_activation_has_its_output_and_gradients(name, of):
    torch.manual_seed(0)
    linear, activation, input = of(6, 10), ACT2FN[name], torch.randn(2, 3, 6, requires_grad=True)
    parameters = (input, *linear.parameters())
    output = linear_of_activation(linear, activation, input)
    expected = F.linear(activation(input), linear.weight, linear.bias)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each.pow(2).sum(), parameters) for each in (output, expected)))


@needs_onednn
def test_what_gelu_gives_is_not_kept():
    linear, kept = layer(), []
    input = torch.randn(5, 6, requires_grad=True) * 1
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        linear_of_activation(linear, GELUActivation(), input)
    assert {tensor.data_ptr() for tensor in kept} == {input.data_ptr(), linear.weight.data_ptr()}


def test_every_linear_layer_of_a_model_becomes_one_and_keeps_its_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Bilinear(2, 2, 2), nn.Linear(4, 5, bias=False)))
    before = model.state_dict()
    use_onednn(model)
    assert [type(each) for each in (model[0], model[1][1])] == [PLVLLinear] * 2
    assert model.state_dict().keys() == before.keys()
    assert all(value.data_ptr() == before[name].data_ptr() for name, value in model.state_dict().items())


def test_both_encoders_and_the_decoder_of_a_model_have_them(model):
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    assert {type(each) for each in layers} == {PLVLLinear}
    assert len(layers) > 20
