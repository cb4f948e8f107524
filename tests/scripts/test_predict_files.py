"""plvl predict --masks, --cutout, --threshold and --device."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plvl.data.masks import decode_segmentation
from plvl.scripts import model_loading
from plvl.scripts.answer_files import answer_paths, cut_out
from plvl.scripts.cli import main

EXPRESSIONS = ["the red square", "the man in the red shirt"]
NAMES = ["scene_1_the_red_square", "scene_2_the_man_in_the_red_shirt"]


@pytest.fixture
def scene(image, tmp_path, monkeypatch):
    """An image, and an empty folder to run in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    image.save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.fixture
def lively_folder(model, processor, tmp_path):
    """A model of one target whose masks are of a part of the image."""
    folder = tmp_path / "lively"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.head.mask[-1].bias.add_(2.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def predict(*arguments) -> None:
    main(["predict", *map(str, arguments)])


def refused(*arguments) -> str:
    with pytest.raises(SystemExit) as end:
        predict(*arguments)
    return str(end.value.code)


def files_in(folder) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def test_masks_and_cut_outs_are_of_what_is_answered(scene, lively_folder, image, capsys):
    options = ("--model", lively_folder, "--json", "--masks", "both", "--cutout", "both")
    predict(scene, *EXPRESSIONS, *options)
    told = capsys.readouterr()
    assert files_in("both") == sorted(f"{name}_{kind}.png" for name in NAMES for kind in ("mask", "cutout"))
    for name, answer in zip(NAMES, json.loads(told.out)["answers"], strict=True):
        mask = decode_segmentation(answer["mask"], 40, 60)
        written = Image.open(f"both/{name}_mask.png")
        assert written.mode == "L" and 0 < mask.sum() < mask.size
        assert np.array_equal(np.array(written), 255 * mask.astype(np.uint8))
        rows, columns = np.nonzero(mask)
        part = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        cut = np.array(Image.open(f"both/{name}_cutout.png"))
        assert np.array_equal(cut[..., 3], 255 * mask[part].astype(np.uint8))
        assert np.array_equal(cut[..., :3], np.array(image)[part] * mask[part].astype(np.uint8)[..., None])
        assert f"written: both/{name}_mask.png" in told.err
    assert files_in(".") == ["both"]


def test_what_is_not_found_has_no_file_of_an_earlier_call_neither(scene, any_model_folder, capsys):
    options = ("--model", any_model_folder, "--masks", "masks", "--cutout", "new/cut", "--json")
    predict(scene, EXPRESSIONS[0], *options)
    assert files_in("masks") == [f"{NAMES[0]}_mask.png"] and files_in("new/cut") == [f"{NAMES[0]}_cutout.png"]
    predict(scene, EXPRESSIONS[0], *options, "--presence_threshold", "0.95")
    assert files_in("masks") == files_in("new/cut") == []
    assert capsys.readouterr().err.count("written: ") == 2


def test_of_several_images_each_has_its_files_and_one_that_cannot_be_read_none(scene, lively_folder, image):
    image.rotate(180).save(scene.with_name("turned.png"))
    scene.with_name("broken.png").write_bytes(scene.read_bytes()[:60])
    images = [scene.with_name(name) for name in ("broken.png", "scene.png", "turned.png")]
    message = refused(*images, EXPRESSIONS[0], "--model", lively_folder, "--json", "--masks", "masks")
    assert "1 of the images could not be used" in message
    assert files_in("masks") == ["scene_1_the_red_square_mask.png", "turned_1_the_red_square_mask.png"]
    predict(scene, EXPRESSIONS[0], "--model", lively_folder, "--json", "--masks", "alone")
    masks = [Path(folder, f"{NAMES[0]}_mask.png").read_bytes() for folder in ("masks", "alone")]
    assert masks[0] == masks[1]


def test_two_images_of_one_name_are_refused_before_anything_is_loaded(scene, image, monkeypatch):
    monkeypatch.setattr(model_loading, "chosen_folder", None)
    Path("other").mkdir()
    image.save("other/scene.png")
    for option in ("--masks", "--cutout"):
        message = refused(scene, "other/scene.png", "the moon", "--json", option, "out")
        assert message == f"plvl predict: {option} out: two images are called scene.png"
    assert files_in(".") == ["other"]


def test_names_of_files_are_told_apart_or_refused(tmp_path):
    def names(images, expressions):
        return [[path.name for path in paths] for paths in answer_paths(images, expressions, tmp_path, "--masks")]

    assert names(["a/x.jpg", "b/x.png"], ["the moon"]) == [
        ["x.jpg_1_the_moon_mask.png"],
        ["x.png_1_the_moon_mask.png"],
    ]
    moon = "月" if sys.getfilesystemencoding() == "utf-8" else "moon"
    assert names(["x.jpg"], ["A/../B: *", "a b", moon, "?", 30 * "long "]) == [
        [
            "x_1_a_b_mask.png",
            "x_2_a_b_mask.png",
            f"x_3_{moon}_mask.png",
            "x_4_mask.png",
            f"x_5_{8 * 'long_'}mask.png",
        ]
    ]
    with pytest.raises(ValueError, match=r"two files would be called x_1_2_y_mask\.png$"):
        names(["x_1.jpg", "x.jpg"], ["2 y", "y"])


@pytest.mark.parametrize("option", ["--masks", "--cutout"])
def test_files_take_the_place_of_no_image_and_of_no_file(scene, image, option):
    image.save(f"{NAMES[0]}.png")
    kind = option.strip("-").rstrip("s")
    Path(f"{NAMES[0]}.png").rename(f"{NAMES[0]}_{kind}.png")
    message = refused(scene, f"{NAMES[0]}_{kind}.png", EXPRESSIONS[0], "--json", option, ".")
    assert message.startswith(f"plvl predict: {option} .: what is written would take the place of the image ")
    message = refused(scene, EXPRESSIONS[0], "--json", option, scene / "in")
    assert message == f"plvl predict: {scene} is a file, and a folder is to be written"


def test_a_model_of_boxes_alone_has_no_masks_to_write(scene, make_config, processor, tmp_path):
    from plvl.modeling_plvl import PLVLModel

    PLVLModel(make_config(tasks=["rec"])).save_pretrained(tmp_path / "boxes")
    processor.save_pretrained(tmp_path / "boxes")
    message = refused(scene, EXPRESSIONS[0], "--model", tmp_path / "boxes", "--masks", "m", "--cutout", "c")
    assert message == "plvl predict: --masks and --cutout: this model answers with boxes alone, and has no masks"


def test_an_answer_of_one_target_is_left_out_below_the_threshold(scene, lively_folder, capsys):
    predict(scene, *EXPRESSIONS, "--model", lively_folder, "--json")
    answers = json.loads(capsys.readouterr().out)["answers"]
    low, high = sorted(answers, key=lambda answer: answer["score"])
    assert low["score"] < high["score"]
    options = ("--model", lively_folder, "--threshold", str(high["score"]), "--masks", "masks")
    predict(scene, *EXPRESSIONS, *options, "--json")
    kept = {answer["expression"]: answer for answer in json.loads(capsys.readouterr().out)["answers"]}
    assert kept[high["expression"]] == high
    assert kept[low["expression"]] == {"expression": low["expression"], "score": low["score"], "left_out": True}
    assert len(files_in("masks")) == 1
    predict(scene, *EXPRESSIONS, *options)
    told = capsys.readouterr().out
    assert f'"{low["expression"]}": left out, not sure enough (confidence {low["score"]:.2f})\n' in told
    assert f'"{high["expression"]}": confidence {high["score"]:.2f}; box: x ' in told
    assert Image.open("grounded.png").width == 480


def test_the_threshold_of_any_number_of_targets_is_for_boxes_and_presence(scene, any_model_folder, capsys):
    def answer(*options, expression=EXPRESSIONS[0]):
        predict(scene, expression, "--model", any_model_folder, "--json", *options)
        return json.loads(capsys.readouterr().out)["answers"]

    both = answer("--box_threshold", "0.84", "--presence_threshold", "0.84")
    assert answer("--threshold", "0.84") == both and len(both[0]["boxes"]) == 2
    # A box is surer than that there is anything, which is 0.9.
    assert len(answer("--box_threshold", "0.902", expression=EXPRESSIONS[1])[0]["boxes"]) == 1
    assert answer("--threshold", "0.902", expression=EXPRESSIONS[1])[0]["boxes"] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--threshold", "1.5"], "--threshold must be from 0 to 1, got 1.5"),
        (
            ["--threshold", "0.5", "--box_threshold", "0.5"],
            "--threshold stands for --box_threshold and --presence_threshold: give it, or them",
        ),
        (["--device", "cuda:99"], "--device cuda:99: there is no such device here, only cpu"),
        (["--device", "tpu!"], "--device tpu!: there is no such device here, only cpu"),
    ],
)
def test_what_cannot_be_is_told(scene, lively_folder, flags, message):
    assert refused(scene, "the moon", "--model", lively_folder, *flags).startswith(f"plvl predict: {message}")
    assert files_in(".") == []


def test_a_model_of_masks_alone_has_no_score_to_go_by(scene, make_config, processor, tmp_path):
    from plvl.modeling_plvl import PLVLModel

    PLVLModel(make_config(tasks=["res"])).save_pretrained(tmp_path / "masks")
    processor.save_pretrained(tmp_path / "masks")
    message = refused(scene, "the moon", "--model", tmp_path / "masks", "--threshold", "0.5")
    assert message == "plvl predict: --threshold: this model answers with masks alone, and does not say how sure it is"


def test_the_device_is_the_one_that_is_named(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **options: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    chosen = [str(model_loading.chosen_device(name)) for name in (None, "cpu", "cuda", "cuda:1")]
    assert chosen == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(ValueError, match="--device cuda:2: .*, only cpu, cuda, cuda:0, cuda:1$"):
        model_loading.chosen_device("cuda:2")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **options: None)
    assert str(model_loading.chosen_device(None)) == "cpu"


def test_a_cut_out_has_nothing_of_the_ground_in_it():
    image, mask = Image.new("RGB", (6, 4), (9, 8, 7)), Image.new("L", (6, 4))
    mask.putpixel((1, 1), 255)
    mask.putpixel((3, 2), 255)
    cut = np.array(cut_out(image, mask))
    assert cut.shape == (2, 3, 4)
    assert cut[0, 0].tolist() == cut[1, 2].tolist() == [9, 8, 7, 255] and cut.sum() == 2 * (9 + 8 + 7 + 255)
