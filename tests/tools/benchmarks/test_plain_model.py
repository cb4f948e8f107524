"""The plain network that speed and memory are measured against computes what PLVLModel computes."""

import pytest
import torch

from benchmarks.plain_model import PlainModel, draw_heatmap
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.loss_plvl import center_heatmap


def two_models(config):
    """The same weights twice: this project's model and the plain one, whose dropout is off by `config`."""
    torch.manual_seed(0)
    model, twin = PLVLModel(config), PLVLModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # A new model has position tables of zeros and answers everything nearly alike.
            parameter.add_(0.1 * torch.randn_like(parameter))
    twin.load_state_dict(model.state_dict())
    return model, PlainModel(twin)


@pytest.fixture
def make_still_config(make_config):
    """A configuration without dropout: training is the same each time. Its 4 x 4 grid has windows of 3 x 3."""

    def make(**changes):
        config = make_config(cross_attention_dropout=0.0, decoder_dropout=0.0, **changes)
        config.text_config.hidden_dropout_prob = config.text_config.attention_probs_dropout_prob = 0.0
        config.vision_config.drop_path_rate = 0.0
        config.vision_config.window_size = 3
        return config

    return make


def test_linear_layers_of_the_plain_network_are_pytorchs(make_still_config):
    model, plain = two_models(make_still_config())
    assert {type(each) for each in plain.modules() if isinstance(each, torch.nn.Linear)} == {torch.nn.Linear}
    assert torch.nn.Linear not in {type(each) for each in model.modules()}


@pytest.mark.parametrize("change", [{}, {"mask_text_padding_in_vision": True}, {"normalize_image_tokens": True}])
def test_outputs_agree(make_still_config, inputs, change):
    model, plain = two_models(make_still_config(**change))
    with torch.no_grad():
        ours, plain_outputs = model.eval()(**inputs), plain.eval()(**inputs)
    for name, theirs in plain_outputs.items():
        torch.testing.assert_close(ours[name], theirs, atol=1e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("has_mask", [[True, True], [False, True], [False, False]])
@pytest.mark.parametrize("focal_input", ["probability", "logit"])
def test_losses_and_gradients_agree(make_still_config, inputs, labels, focal_input, has_mask):
    model, plain = two_models(make_still_config(mask_focal_input=focal_input))
    labels = labels | {"has_mask": torch.tensor(has_mask)}
    gradients = []
    losses = []
    for network in (model.train(), plain.train()):
        output = network(**inputs, labels=labels)
        output["loss"].backward()
        losses.append(output["loss_dict"])
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)
    ours = {name.removeprefix("vision_encoder."): gradient for name, gradient in gradients[0].items()}
    theirs = {name.replace("vision_layers.", "layers."): gradient for name, gradient in gradients[1].items()}
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_text_encoder_of_the_plain_model_is_eager(config):
    model = PLVLModel(config)
    assert model.text_encoder.config._attn_implementation == "sdpa"
    assert PlainModel(model).text_encoder.config._attn_implementation == "eager"


def test_a_heat_map_drawn_alone_is_that_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(50, 4, generator=generator) * torch.tensor([1.4, 1.4, 0.9, 0.9]) - torch.tensor(
        [0.2, 0.2, 0, 0]
    )
    drawn = torch.stack([torch.from_numpy(draw_heatmap(box, 20, 28)) for box in boxes.tolist()])
    assert (drawn.flatten(1).amax(1) < 1).any(), "some centres are outside"
    torch.testing.assert_close(drawn, center_heatmap(boxes, (20, 28)), atol=1e-5, rtol=1e-5)
