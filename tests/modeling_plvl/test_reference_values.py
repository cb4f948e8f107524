"""The full-size network, with the weights of the reference run, gives the original program's numbers."""

import pytest

from reference_values import ReferenceNetwork, heatmaps


@pytest.fixture(scope="module")
def network():
    return ReferenceNetwork()


def assert_agree(rows):
    assert [row for row in rows if not row.agrees] == []


@pytest.mark.parametrize("attention", [None, "sdpa", "eager"])
def test_outputs_agree(network, attention):
    rows = network.outputs(attention)
    assert len(rows) == 6
    assert_agree(rows)


def test_every_hidden_stage_agrees(network):
    rows = network.hidden_stages()
    assert {row.what.removeprefix("stage ") for row in rows} == {
        name.removeprefix("hidden.") for name in network.reference.files if name.startswith("hidden.")
    }
    assert_agree(rows)


def test_losses_agree(network):
    rows = network.losses()
    assert len(rows) == len(network.trained.loss_dict) == 5
    assert_agree(rows)


def test_gradient_norms_agree(network):
    rows = network.gradient_norms()
    assert len(rows) == 500
    assert_agree(rows)


def test_every_parameter_gets_a_gradient(network):
    assert network.trained.loss is not None
    assert [name for name, parameter in network.model.named_parameters() if parameter.grad is None] == []


def test_what_got_no_gradient_in_the_original_is_what_the_converter_drops(network):
    assert set(network.weights.dropped) == set(network.reference["grad.none"])


def test_heat_maps_agree():
    assert_agree(heatmaps())
