"""What export.py says before it loads anything, and what it asks for."""

import pytest

from plvl.scripts import export
from plvl.scripts.export import main


@pytest.mark.parametrize(
    ("named", "options", "message"),
    [
        ("nowhere/of/all", (), "no model 'nowhere/of/all': no such folder"),
        ("trained", ("--image_size", "161", "100"), "the sides of the images must be multiples .* got 161 × 100"),
        ("empty", (), r"empty is no whole model: it lacks config\.json, .*"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_nothing_is_written(model_folder, monkeypatch, named, options, message):
    monkeypatch.chdir(model_folder.parent)
    (model_folder.parent / "empty").mkdir()
    with pytest.raises(SystemExit, match=f"^plvl export: {message}"):
        main([named, "--format", "torch-export", "--output", "kit", *options])
    assert not (model_folder.parent / "kit").exists()


def test_a_folder_that_holds_something_is_left_alone(model_folder):
    with pytest.raises(SystemExit, match="^plvl export: .*trained is not an empty folder$"):
        main([str(model_folder), "--format", "onnx", "--output", str(model_folder)])


@pytest.mark.parametrize(("format", "missing"), [("onnx", "onnx and onnxscript"), ("openvino", "openvino")])
def test_a_missing_package_is_named_with_what_installs_it(model_folder, tmp_path, monkeypatch, format, missing):
    monkeypatch.setattr("plvl.deploy.formats.find_spec", lambda name: None)
    monkeypatch.setattr(export, "pip_install", lambda extra: f"pip install what {extra} needs")
    with pytest.raises(SystemExit, match=f"^plvl export: {missing}: not installed: pip install what deploy needs$"):
        main([str(model_folder), "--format", format, "--output", str(tmp_path / "kit")])


@pytest.mark.parametrize(
    ("options", "precision", "size"),
    [
        ((), "float32", None),
        (("--int8",), "int8", None),
        (("--fp16", "--image_size", "48", "80"), "float16", [48, 80]),
    ],
)
def test_the_kit_is_written_as_asked(model_folder, tmp_path, monkeypatch, capsys, options, precision, size):
    asked = []

    def write_kit(model, processor, folder, *rest):
        asked.extend(rest)
        (folder / "config.json").write_text("{}")
        return {"graphs": {"expressions": {"outputs": ["pred_boxes", "pred_masks"]}}}

    monkeypatch.setattr("plvl.deploy.kit.write_kit", write_kit)
    main([str(model_folder), "--format", "torch-export", "--output", str(tmp_path / "kit"), *options])
    assert asked == ["torch-export", precision, size]
    assert [file.name for file in (tmp_path / "kit").iterdir()] == ["config.json"]
    assert f"written: {tmp_path / 'kit'}, with the outputs pred_boxes, pred_masks" in capsys.readouterr().out


def test_two_precisions_at_once_are_refused(model_folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(model_folder), "--format", "onnx", "--output", str(tmp_path / "kit"), "--int8", "--fp16"])
    assert "not allowed with argument" in capsys.readouterr().err
