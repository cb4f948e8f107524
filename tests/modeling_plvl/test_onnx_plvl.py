"""The exported network, run by onnxruntime, gives the answers of the network."""

import onnxruntime
import pytest
import torch

from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.onnx_plvl import export_onnx
from plvl.scripts.export_onnx import main


@pytest.fixture
def shallow_config(make_config):
    """Every layer is exported alike."""
    config = make_config(cross_attention_layers=[1], decoder_layers=1, mask_text_padding_in_vision=True)
    config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers = 2, 1
    return config


def made_inputs(batch_size, length, height=64, width=64):
    attention_mask = torch.ones(batch_size, length, dtype=torch.long)
    attention_mask[-1, 3:] = 0
    return {
        "pixel_values": torch.randn(batch_size, 3, height, width),
        "input_ids": torch.randint(5, 99, (batch_size, length)),
        "attention_mask": attention_mask,
    }


def answers_of(path, inputs) -> dict[str, torch.Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {name: tensor.numpy() for name, tensor in inputs.items()})
    return dict(zip(names, map(torch.from_numpy, values), strict=True))


def assert_same_answers(model, path, inputs):
    with torch.no_grad():
        expected = model.eval()(**inputs)
    answers = answers_of(path, inputs)
    torch.testing.assert_close(answers, {name: expected[name] for name in answers}, atol=1e-5, rtol=1e-4)


def test_the_file_answers_batches_and_expressions_of_any_length(shallow_config, tmp_path):
    model, path = PLVLModel(shallow_config).train(), tmp_path / "plvl.onnx"
    names = export_onnx(model, path)
    assert names == ("pred_boxes", "center_logits", "size", "offset", "pred_masks")
    assert model.training and all(module.training for module in model.modules())
    for batch_size, length in ((2, 7), (1, 5), (3, 12)):
        assert_same_answers(model, path, made_inputs(batch_size, length))


def test_the_script_exports_a_folder_for_images_of_another_size(shallow_config, tmp_path, capsys):
    shallow_config.tasks = ["res"]
    model = PLVLModel(shallow_config)
    model.save_pretrained(tmp_path / "trained")
    path = tmp_path / "plvl.onnx"
    main(["--model", str(tmp_path / "trained"), "--output", str(path), "--image_size", "48", "80"])
    assert f"written: {path}, with the outputs pred_masks" in capsys.readouterr().out
    assert_same_answers(model, path, made_inputs(2, 9, 48, 80))
