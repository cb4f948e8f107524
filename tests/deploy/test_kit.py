"""A kit's runner, in which no PyTorch and no Transformers can be imported, answers as the model."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from conftest import EXPRESSIONS
from odd_exif import odd_exif
from plvl.deploy import runner
from plvl.deploy.kit import kit_tokenizer, write_kit
from plvl.deploy.runner import Grounder
from shallow_models import shallow_model

RUNTIMES = {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch-export": ()}
ANY = {"targets": "any", "max_targets": 3}
# What is not to be needed; argv as `python runner.py` has it.
WITHOUT = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FOREIGN = {"plvl", "torch", "torchvision", "transformers", "timm", "huggingface_hub", "safetensors"}


def run_without(missing, *arguments):
    """`python runner.py ...` where `missing` are not installed."""
    command = [sys.executable, "-c", WITHOUT.format(missing=set(missing)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def answers_of(model, processor, image) -> list[dict]:
    inputs = processor(images=image, text=EXPRESSIONS, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    return processor.post_process_grounding(outputs, [(image.height, image.width)])


def assert_same_answers(found: list[dict], expected: list[dict], pixels=0.02, probability=1e-4):
    assert len(found) == len(expected)
    for answer, other in zip(found, expected, strict=True):
        assert set(answer) == set(other)
        for name in {"score", "present", "scores"} & set(answer):
            np.testing.assert_allclose(answer[name], other[name], atol=probability)
        for name in {"box", "boxes"} & set(answer):
            np.testing.assert_allclose(answer[name], other[name], atol=pixels)
        if "mask" in answer:
            assert (answer["mask"] != other["mask"].numpy()).mean() < 0.002
        assert answer.get("found") == other.get("found")


def skip_without(format):
    missing = [name for name in RUNTIMES[format] if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(
    ("format", "changes"),
    [
        ("onnx", ANY),
        ("onnx", {"tasks": ["rec"]}),
        ("openvino", {}),
        ("openvino", ANY | {"tasks": ["res"]}),
        ("openvino", ANY),
        ("torch-export", ANY),
    ],
)
def test_the_runner_answers_as_the_model(make_kit, kit_processor, photo, format, changes):
    skip_without(format)
    model = shallow_model(**changes)
    expected = answers_of(model, kit_processor, photo)
    kit = Grounder(make_kit(format, **changes))
    assert_same_answers(kit(photo, EXPRESSIONS), expected)
    # The same image lying on its side, with the orientation in EXIF that cannot be written anew.
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    turned.info["exif"] = odd_exif(6)
    assert_same_answers(kit(turned, EXPRESSIONS), expected)


@pytest.mark.parametrize(
    ("format", "precision", "tolerance"),
    [
        ("onnx", "int8", 0.05),
        ("openvino", "int8", 0.05),
        ("openvino", "float16", 0.01),
        ("torch-export", "float16", 0.01),
    ],
)
def test_smaller_weights_answer_nearly_as_the_model(make_kit, kit_processor, photo, format, precision, tolerance):
    skip_without(format)
    model = shallow_model()
    folder = make_kit(format, precision)
    found, expected = Grounder(folder)(photo, EXPRESSIONS), answers_of(model, kit_processor, photo)
    for answer, other in zip(found, expected, strict=True):
        assert answer["score"] == pytest.approx(other["score"], abs=tolerance)
        assert (answer["mask"] == other["mask"].numpy()).mean() > 0.9
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    if format == "openvino":  # the only one whose weights lie in files of their own
        share = {"int8": 0.45, "float16": 0.6}[precision]
        assert sum(file.stat().st_size for file in folder.glob("*.bin")) < share * weights


@pytest.fixture(scope="module")
def any_model():
    return shallow_model(**ANY)


@pytest.fixture(scope="module")
def folder(make_kit):
    skip_without("onnx")
    return make_kit("onnx", **ANY)


@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize(("images", "expressions", "rows", "columns"), [(3, 4, 5, 2), (1, 1, 2, 7), (2, 3, 3, 3)])
def test_every_runtime_takes_any_number_of_images_and_any_size(make_kit, format, images, expressions, rows, columns):
    skip_without(format)
    model, folder = shallow_model(**ANY), make_kit(format, **ANY)
    kit = Grounder(folder)
    generator = torch.Generator().manual_seed(rows)
    pixel_values = torch.randn(images, 3, 16 * rows, 16 * columns, generator=generator)
    input_ids = torch.randint(5, 99, (expressions, 6), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[-1, 4:] = 0
    image_index = torch.randint(images, (expressions,), generator=generator)
    with torch.no_grad():
        expected = model(pixel_values[image_index], input_ids, attention_mask)
    [embeddings] = kit.graphs["image"]({"pixel_values": pixel_values.numpy()})
    inputs = {"image_index": image_index, "input_ids": input_ids, "attention_mask": attention_mask}
    inputs = {"image_embeddings": embeddings} | {name: tensor.numpy() for name, tensor in inputs.items()}
    names = kit.config["graphs"]["expressions"]["outputs"]
    for name, values in zip(names, kit.graphs["expressions"](inputs), strict=True):
        if name != "pred_boxes":  # of which some have no score
            np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("format", RUNTIMES)
def test_a_kit_has_no_paths_of_the_machine_that_wrote_it(make_kit, format):
    skip_without(format)
    for file in make_kit(format, **ANY).iterdir():
        assert str(Path(torch.__file__).parent).encode() not in file.read_bytes(), file.name
        assert str(Path(__file__).parents[2]).encode() not in file.read_bytes(), file.name
        assert file.suffix != ".onnx" or b"class_hierarchy" not in file.read_bytes()  # which modules a node came from


def test_the_runner_needs_neither_pytorch_nor_transformers(folder, any_model, kit_processor, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    finished = run_without(FOREIGN, folder / "runner.py", tmp_path / "photo.png", *EXPRESSIONS)
    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    for line, other in zip(lines, answers_of(any_model, kit_processor, photo), strict=True):
        assert line["present"] == pytest.approx(other["present"], abs=1e-4)
        np.testing.assert_allclose(line["boxes"], other["boxes"].tolist(), atol=0.02)
        assert line["mask"] == f"{other['mask'].float().mean():.1%} of it"


def test_the_runner_turns_images_as_pillow(folder, photo):
    kit, seen = Grounder(folder), []
    kit.embed = lambda image, embed=kit.embed: seen.append(image) or embed(image)
    for orientation in range(10):
        photo.getexif()[0x0112] = orientation
        kit(photo, EXPRESSIONS[:1])
        assert np.array_equal(np.asarray(seen.pop()), np.asarray(ImageOps.exif_transpose(photo)))


def test_the_runner_has_fewer_than_a_hundred_lines():
    with open(runner.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) < 100


def test_a_missing_runtime_is_told_in_a_line(folder, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    finished = run_without({"onnxruntime"}, folder / "runner.py", tmp_path / "photo.png", "the red square")
    assert finished.returncode == 1
    assert finished.stderr == "runner.py: No module named 'onnxruntime'\n"


def test_an_image_that_is_not_there_is_told_in_a_line_and_without_one_the_usage(folder):
    finished = run_without((), folder / "runner.py", "nowhere.png", "the red square")
    assert finished.stderr == "runner.py: [Errno 2] No such file or directory: 'nowhere.png'\n"
    assert "python runner.py IMAGE EXPRESSION" in run_without((), folder / "runner.py").stderr


@pytest.mark.parametrize(("lower", "read"), [(True, "the red square"), (False, "The Red SQUARE")])
def test_expressions_are_lower_cased_where_the_processor_does_it(folder, photo, lower, read):
    class Recorder:
        def __init__(self, tokenizer):
            self.tokenizer, self.seen = tokenizer, []

        def encode_batch(self, texts):
            self.seen += texts
            return self.tokenizer.encode_batch(texts)

    kit = Grounder(folder)
    kit.config["text"]["do_lower_case"] = lower
    kit.tokenizer = Recorder(kit.tokenizer)
    kit(photo, ["The Red SQUARE"])
    assert kit.tokenizer.seen == [read]


def test_the_configuration_says_how_images_texts_and_answers_are_read(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["image"] | {"resize": ""} == {
        "height": 64,
        "width": 96,
        "patch_size": 16,
        "resize": "",
        "resample": "BILINEAR",
        "rescale_factor": 1 / 255,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
    }
    assert config["answers"]["boxes"] == "center x, center y, width, height as shares of the image"
    assert (config["answers"]["box_threshold"], config["answers"]["presence_threshold"]) == (0.6, 0.4)
    assert config["graphs"]["image"]["file"] == "image.onnx" and config["text"] == {"do_lower_case": True}
    files = {file.name for file in folder.iterdir()}
    assert {"image.onnx", "expressions.onnx", "tokenizer.json", "config.json", "runner.py"} == files


def test_another_image_size_in_the_configuration_is_followed_where_patches_fill_it(folder, photo, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    for size, columns in (((80, 48), 3), ((80, 50), None)):
        config["image"] |= dict(zip(("height", "width"), size, strict=True))
        (tmp_path / "config.json").write_text(json.dumps(config))
        kit = Grounder(tmp_path)
        if columns:
            assert kit.embed(photo).shape == (1, 5, columns, 32)
        else:
            with pytest.raises(ValueError, match=r"^height and width in config\.json must be multiples of 16$"):
                kit(photo, EXPRESSIONS)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("size", [(5, 19), (23, 4), (1, 1)])
def test_the_runner_resizes_as_pytorch(corners, size):
    values = torch.rand(3, 7, 11)
    expected = torch.nn.functional.interpolate(values[None], size=size, mode="bilinear", align_corners=corners)[0]
    np.testing.assert_allclose(runner.resize(values.numpy(), *size, corners=corners), expected.numpy(), atol=1e-5)


def test_the_tokenizer_pads_to_the_models_length_where_its_padding_is_read(kit_processor):
    words = ["the red square", "the blue circle on the left of the red shirt in the middle"]
    model = shallow_model()
    lengths = [len(each.ids) for each in kit_tokenizer(model, kit_processor).encode_batch(words[:1])]
    assert lengths == [5]
    model.config.mask_text_padding_in_vision = False
    assert [len(each.ids) for each in kit_tokenizer(model, kit_processor).encode_batch(words[:1])] == [9]
    for each, ids in zip(
        kit_tokenizer(model, kit_processor).encode_batch(words),
        kit_processor(text=words, return_tensors="pt").input_ids.tolist(),
        strict=True,
    ):
        assert each.ids == ids and len(ids) == 9


@pytest.mark.parametrize("size", [(161, 100), (64, 0), (-16, 64)])
def test_images_that_patches_do_not_fill_are_refused(kit_processor, tmp_path, size):
    with pytest.raises(ValueError, match=rf"multiples of the patches' 16 pixels, got {size[0]} × {size[1]}$"):
        write_kit(shallow_model(), kit_processor, tmp_path, "onnx", image_size=size)


def test_a_step_that_the_processor_leaves_out_is_named(kit_processor, tmp_path, monkeypatch):
    monkeypatch.setattr(kit_processor.image_processor, "do_normalize", False)
    with pytest.raises(ValueError, match="^the processor leaves out do_normalize, and a kit's runner takes every"):
        write_kit(shallow_model(), kit_processor, tmp_path, "onnx")
