"""The network as one graph: nothing waits for the device, and batch and expression may change their lengths."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.initialization import no_init_weights

from plvl.modeling_plvl import PLVLModel


class Devices(TorchDispatchMode):
    """The devices of all tensors that are made."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = result if isinstance(result, tuple | list) else [result]
        self.seen |= {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)}
        return result


def made_inputs(batch_size, length, images=None):
    return {
        "pixel_values": torch.randn(images or batch_size, 3, 64, 64),
        "input_ids": torch.randint(5, 99, (batch_size, length)),
        "attention_mask": torch.ones(batch_size, length, dtype=torch.long),
    }


def made_labels(batch_size):
    return {
        "boxes": torch.rand(batch_size, 4),
        "masks": torch.zeros(batch_size, 64, 64),
        "has_mask": torch.ones(batch_size, dtype=torch.bool),
    }


@pytest.fixture
def shallow_model(make_config):
    """Tracing takes seconds for every layer."""
    config = make_config(cross_attention_layers=[1], decoder_layers=1)
    config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers = 2, 1
    return PLVLModel(config).eval()


@pytest.mark.parametrize("is_training", [True, False])
def test_forward_and_losses_stay_on_the_device_and_never_ask_it_for_a_value(is_training, config):
    # A fake GPU: values do not exist, so that asking for one is an error.
    with FakeTensorMode(), torch.device("cuda"), no_init_weights():
        model = PLVLModel(config).train(is_training)
        inputs, labels = made_inputs(2, 7), made_labels(2)
        with Devices() as devices:
            outputs = model(**inputs, labels=labels)
    assert outputs.loss.device.type == "cuda"
    assert devices.seen == {"cuda"}


def compiled_for_any_length(model, graphs):
    """The compiled model, called with batch and length of expression marked as changing."""
    compiled = torch.compile(model, fullgraph=True, backend=graphs)

    def call(inputs, labels=None):
        for name, tensor in (inputs | (labels or {})).items():
            if len(tensor) > 1:
                torch._dynamo.mark_dynamic(tensor, 0)
            if name in ("input_ids", "attention_mask"):
                torch._dynamo.mark_dynamic(tensor, 1)
        return compiled(**inputs, labels=labels)

    return call


@torch.no_grad()
def test_one_graph_serves_every_number_and_length_of_expressions_about_an_image(shallow_model):
    graphs = CompileCounterWithBackend("eager")
    compiled = compiled_for_any_length(shallow_model, graphs)
    for number, length in ((2, 7), (3, 9), (5, 12)):
        inputs = made_inputs(number, length, images=1)
        torch.testing.assert_close(compiled(inputs).to_tuple(), shallow_model(**inputs).to_tuple())
    assert graphs.frame_count == 1


def test_one_graph_serves_every_number_of_images_with_several_expressions_each(shallow_model):
    graphs = CompileCounterWithBackend("eager")
    compiled = compiled_for_any_length(shallow_model, graphs)
    for images, number, length in ((2, 4, 7), (3, 6, 9), (2, 6, 12)):
        inputs = made_inputs(number, length, images=images)
        torch.testing.assert_close(compiled(inputs).to_tuple(), shallow_model(**inputs).to_tuple())
    assert graphs.frame_count == 1


def test_one_graph_trains_on_every_batch_size_and_length_of_expression(shallow_model):
    graphs = CompileCounterWithBackend("eager")
    compiled = compiled_for_any_length(shallow_model.train(), graphs)
    for batch_size, length in ((2, 7), (3, 9), (5, 12)):
        inputs, labels = made_inputs(batch_size, length), made_labels(batch_size)
        torch.manual_seed(0)
        loss = compiled(inputs, labels).loss
        torch.manual_seed(0)
        torch.testing.assert_close(loss, shallow_model(**inputs, labels=labels).loss)
        loss.backward()
    assert graphs.frame_count == 1
