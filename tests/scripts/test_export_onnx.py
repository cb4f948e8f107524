"""What export_onnx.py says before it loads anything, and what it leaves of an earlier file."""

import sys

import pytest
import torch

from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.onnx_plvl import export_onnx
from plvl.scripts.export_onnx import main


@pytest.mark.parametrize(
    ("named", "output", "message"),
    [
        ("nowhere/of/all", "plvl.onnx", "--model nowhere/of/all: there is no such folder"),
        ("empty", "plvl.onnx", r"empty is no whole model: it lacks config\.json, weights \(model\.safetensors\)"),
        ("trained", "empty", r"--output empty is a folder; name a file, as plvl\.onnx"),
        ("trained", "file/plvl.onnx", ".*file is a file, and a folder is to be written"),
    ],
)
def test_what_is_missing_is_told_before_the_network_is_imported(model_folder, monkeypatch, named, output, message):
    monkeypatch.chdir(model_folder.parent)
    (model_folder.parent / "empty").mkdir()
    (model_folder.parent / "file").write_text("mine")
    monkeypatch.setitem(sys.modules, "plvl.modeling_plvl.onnx_plvl", None)
    with pytest.raises(SystemExit, match=f"^export_onnx: {message}$"):
        main(["--model", named, "--output", output])


def test_without_onnxscript_the_error_says_what_to_install(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"onnxscript is not installed: pip install 'onnx>=.* 'onnxscript>=[\d.]+'$"):
        main(["--model", str(model_folder), "--output", str(tmp_path / "plvl.onnx")])


def test_weights_that_are_not_whole_are_not_exported(model_folder, model, tmp_path):
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "head.center.1.bias"}
    model.save_pretrained(model_folder, state_dict=weights)
    with pytest.raises(SystemExit, match=r"^export_onnx: .*left over in its weights: head\.center\.1\.bias$"):
        main(["--model", str(model_folder), "--output", str(tmp_path / "plvl.onnx")])


@pytest.mark.parametrize("size", [(60, 64), (64, 0), (-16, 64), (64, 100)])
def test_images_that_patches_do_not_fill_are_refused(config, tmp_path, size):
    with pytest.raises(ValueError, match=rf"multiples of the patches' 16 pixels, got {size[0]} × {size[1]}$"):
        export_onnx(PLVLModel(config), tmp_path / "plvl.onnx", size)


class Program:
    """Stands for what PyTorch exports: a large one, whose weights are in a file of their own."""

    def __init__(self, fails: bool):
        self.fails = fails

    def save(self, path):
        path.write_bytes(b"half of it")
        path.with_name(f"{path.name}.data").write_bytes(b"weights")
        if self.fails:
            raise OSError(28, "No space left on device")


def test_an_earlier_file_gives_way_to_a_whole_one_alone(model_folder, tmp_path, monkeypatch):
    path = tmp_path / "new" / "plvl.onnx"
    command = ["--model", str(model_folder), "--output", str(path)]
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program(fails=False))
    main(command)
    assert {file.name for file in path.parent.iterdir()} == {"plvl.onnx", "plvl.onnx.data"}
    path.write_bytes(b"the earlier one")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program(fails=True))
    with pytest.raises(SystemExit, match=rf"^export_onnx: \[Errno 28\] No space left on device: '{path}'$"):
        main(command)
    assert path.read_bytes() == b"the earlier one"
    assert {file.name for file in path.parent.iterdir()} == {"plvl.onnx", "plvl.onnx.data"}


@pytest.mark.parametrize(
    ("tasks", "outputs"),
    [
        (["rec"], "pred_boxes, center_logits, size, offset, pred_scores, presence_logits"),
        (["res"], "presence_logits, pred_masks"),
    ],
)
def test_a_model_of_any_number_of_targets_and_one_task_has_the_outputs_of_both(
    make_config, tmp_path, monkeypatch, capsys, tasks, outputs
):
    asked = {}
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **options: asked.update(options) or Program(fails=False))
    PLVLModel(make_config(targets="any", tasks=tasks)).save_pretrained(tmp_path / "trained")
    main(["--model", str(tmp_path / "trained"), "--output", str(tmp_path / "plvl.onnx")])
    assert capsys.readouterr().out.endswith(f"plvl.onnx, with the outputs {outputs}\n")
    assert ", ".join(asked["output_names"]) == outputs
