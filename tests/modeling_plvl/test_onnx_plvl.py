"""The exported network, run by onnxruntime, gives the answers of the network."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.box_reading_plvl import read_any_boxes
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


READ_OUT = ("center_logits", "size", "offset", "presence_logits")


@pytest.fixture(scope="module")
def read_answers():
    """The function of docs/generalized.md, as it is written there."""
    page = (Path(__file__).parents[2] / "docs/generalized.md").read_text(encoding="utf-8")
    [block] = [each for each in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "def read_answers" in each]
    names: dict = {}
    exec(compile(block, "docs/generalized.md", "exec"), names)
    return names["read_answers"]


def assert_same_boxes(found: list[dict], expected: list[dict]):
    for answer, other in zip(found, expected, strict=True):
        assert answer["present"] == pytest.approx(other["present"], abs=1e-5)
        np.testing.assert_allclose(answer["scores"], other["scores"].numpy(), atol=1e-5)
        np.testing.assert_allclose(answer["boxes"], other["boxes"].numpy(), atol=1e-5)


def test_a_file_of_any_number_of_targets_has_scores_and_presence_that_are_read_out_without_torch(
    any_model, processor, read_answers, tmp_path
):
    path = tmp_path / "plvl.onnx"
    names = export_onnx(any_model, path, (64, 96))
    assert names == ("pred_boxes", "center_logits", "size", "offset", "pred_scores", "presence_logits", "pred_masks")
    for batch_size, length in ((2, 7), (1, 5), (5, 12)):
        inputs = made_inputs(batch_size, length, 64, 96)
        with torch.no_grad():
            outputs = any_model(**inputs)
        answers = answers_of(path, inputs)
        torch.testing.assert_close(answers["pred_scores"], outputs.pred_scores, atol=1e-5, rtol=1e-4)
        # What has no score is no box.
        is_box = outputs.pred_scores > 0
        assert is_box.any(1).all()
        torch.testing.assert_close(answers["pred_boxes"][is_box], outputs.pred_boxes[is_box], atol=1e-5, rtol=1e-4)
        others = {name: outputs[name] for name in names if name not in ("pred_scores", "pred_boxes")}
        torch.testing.assert_close({name: answers[name] for name in others}, others, atol=1e-4, rtol=1e-4)

        maps = [answers[name].numpy() for name in READ_OUT]
        for thresholds in ({"box_threshold": 0, "presence_threshold": 0}, {}, {"presence_threshold": 0.95}):
            expected = processor.post_process_grounding(outputs, **thresholds)
            assert_same_boxes(read_answers(*maps, max_targets=3, **thresholds), expected)


@pytest.mark.parametrize("max_targets", [2, 4, 30])
def test_the_read_out_of_the_page_is_the_models(processor, read_answers, max_targets):
    generator = torch.Generator().manual_seed(7)
    center_logits = torch.randn(6, 7, 11, generator=generator)
    size, offset = (torch.rand(6, 2, 7, 11, generator=generator) for _ in range(2))
    size[:3] *= 0.2
    size[3:] = 0.9 + 0.1 * size[3:]  # some say the same
    presence_logits = torch.randn(6, generator=generator)
    boxes, scores = read_any_boxes(center_logits, offset, size, max_targets)
    outputs = {
        "pred_boxes": boxes,
        "pred_scores": scores,
        "presence_logits": presence_logits,
        "last_hidden_state": torch.zeros(6, 77, 4),
    }
    maps = [each.numpy() for each in (center_logits, size, offset, presence_logits)]
    for thresholds in ({"box_threshold": 0, "presence_threshold": 0}, {}, {"box_threshold": 0.8}):
        expected = processor.post_process_grounding(outputs, **thresholds)
        assert_same_boxes(read_answers(*maps, max_targets=max_targets, **thresholds), expected)
