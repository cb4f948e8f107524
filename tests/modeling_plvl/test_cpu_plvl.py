"""The faster ways of a CPU give what the usual ones give, and step aside where they cannot serve."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plvl.modeling_plvl import PLVLModel, cpu_plvl
from plvl.modeling_plvl.cpu_plvl import PLVLLinear, attend_in_pieces


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return PLVLLinear(6, 4)


@pytest.fixture
def onednn_calls(monkeypatch):
    calls = []
    original = cpu_plvl.ONEDNN_LINEAR
    monkeypatch.setattr(cpu_plvl, "ONEDNN_LINEAR", lambda *args: calls.append(args) or original(*args))
    return calls


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_infers_through_onednn_with_the_same_numbers(bias, onednn_calls):
    linear, states = PLVLLinear(6, 4, bias=bias), torch.randn(2, 5, 12)[..., ::2]
    with torch.no_grad():
        output = linear(states)
    assert len(onednn_calls) == 1
    torch.testing.assert_close(output, F.linear(states, linear.weight, linear.bias))


def test_a_linear_layer_has_gradients(linear, onednn_calls):
    linear(torch.randn(2, 6)).sum().backward()
    assert linear.weight.grad is not None
    assert onednn_calls == []


@torch.no_grad()
def test_a_linear_layer_obeys_autocast_and_the_dtype_of_its_weights(linear, onednn_calls):
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(2, 6)).dtype == torch.bfloat16
    assert linear.bfloat16()(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert onednn_calls == []


@torch.no_grad()
def test_weights_of_another_kind_are_left_to_pytorch(linear, onednn_calls):
    class Quantized(torch.Tensor):
        pass

    linear.weight = nn.Parameter(linear.weight.as_subclass(Quantized))
    linear(torch.randn(2, 6))
    assert onednn_calls == []


@pytest.mark.parametrize(("queries_at_once", "pieces"), [(1, 15), (2, 9), (5, 3), (9, 3), (10, 2), (15, 1)])
def test_attention_takes_whole_samples_where_they_fit_and_parts_of_one_where_not(queries_at_once, pieces, monkeypatch):
    monkeypatch.setattr(cpu_plvl, "SCORES_AT_ONCE", queries_at_once * 2 * 7 * 4)
    query, key, value = torch.randn(3, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
    calls = []

    def attend(query, same_query, key, value):
        calls.append(query.shape)
        assert torch.equal(query, same_query)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)

    output = attend_in_pieces(attend, (query, query), key, value)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(query, key, value).transpose(1, 2))
    assert len(calls) == pieces


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_answer_with_losses_nearly_what_float32_does(dtype, model_folder, inputs, labels):
    answers = []
    for each in (torch.float32, dtype):
        model = PLVLModel.from_pretrained(model_folder, dtype=each).eval()
        with torch.no_grad():
            pixel_values = inputs["pixel_values"].to(each)
            answers.append(model(**(inputs | {"pixel_values": pixel_values}), labels=labels))
    full, half = answers
    assert half.pred_masks.dtype == half.last_hidden_state.dtype == dtype
    torch.testing.assert_close(half.pred_boxes, full.pred_boxes, atol=0.05, rtol=0)
    torch.testing.assert_close(half.loss, full.loss, atol=0, rtol=0.05)
