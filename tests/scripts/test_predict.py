import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plvl
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.masks import decode_segmentation, encode_mask
from plvl.modeling_plvl import PLVLModel
from plvl.processing.drawing import PREDICTED_COLOUR
from plvl.scripts.cli import main

EXPRESSIONS = ["the red square", "the man in the red shirt"]


@pytest.fixture
def predict(model_folder, tmp_path, monkeypatch):
    """Runs `plvl predict` in an empty folder with the small model, unless another is named."""
    working_folder = tmp_path / "here"
    working_folder.mkdir()
    monkeypatch.chdir(working_folder)

    def run(*arguments):
        model = () if "--model" in arguments else ("--model", str(model_folder))
        main(["predict", *map(str, arguments), *model])

    return run


@pytest.fixture
def image_file(image, tmp_path):
    file = tmp_path / "image.png"
    image.save(file)
    return file


@pytest.fixture
def images(image, tmp_path):
    """A folder of two images and something else."""
    folder = tmp_path / "images"
    folder.mkdir()
    image.save(folder / "a.jpg")
    image.resize((30, 50)).save(folder / "b.PNG")
    (folder / "notes.txt").write_text("not an image, and not called one")
    return folder


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def url(tmp_path):
    """Where `tmp_path` is served on the loopback address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def embedded(monkeypatch):
    """A list that gets, each time images are embedded, how many."""
    counts, embed = [], PLVLModel.get_image_embeddings
    monkeypatch.setattr(
        PLVLModel, "get_image_embeddings", lambda model, pixels: counts.append(len(pixels)) or embed(model, pixels)
    )
    return counts


def test_one_image_is_drawn_and_told_with_confidence_box_and_mask(predict, image_file, capsys):
    predict(image_file, "the red square")
    told = capsys.readouterr()
    assert "60 x 40 pixels" in told.out
    assert '"the red square": confidence 0.' in told.out and "box: x " in told.out and "of the image" in told.out
    assert "drawn: grounded.png" in told.out
    assert Image.open("grounded.png").width == 480
    assert "carried" not in told.err


def test_several_expressions_are_drawn_together_and_the_image_is_embedded_once(predict, image_file, embedded):
    predict(image_file, *EXPRESSIONS, "--output", "new/both.jpg")
    assert embedded == [1]
    predict(image_file, EXPRESSIONS[0], "--output", "one.jpg")
    assert Image.open("new/both.jpg").height > Image.open("one.jpg").height


def test_json_has_scores_boxes_and_masks_that_others_read_and_nothing_else_is_printed(predict, image_file, capsys):
    predict(image_file, *EXPRESSIONS, "--json")
    record = json.loads(capsys.readouterr().out)
    assert (record["image"], record["width"], record["height"]) == (str(image_file), 60, 40)
    assert [answer["expression"] for answer in record["answers"]] == EXPRESSIONS
    for answer in record["answers"]:
        x1, y1, x2, y2 = answer["box"]
        assert 0 <= x1 <= x2 <= 60 and 0 <= y1 <= y2 <= 40
        assert 0 < answer["score"] < 1
        assert answer["mask"]["size"] == [40, 60]
        decode_segmentation(answer["mask"], 40, 60)
    assert not list(Path().iterdir())


def test_the_masks_in_json_are_those_of_the_model(predict, image_file, model, processor, image, capsys):
    # Nearly all of the image, so that there is a mask to compare.
    model.head.mask[-1].bias.data += 2.0
    model.save_pretrained("lively")
    processor.save_pretrained("lively")
    predict(image_file, EXPRESSIONS[0], "--json", "--model", "lively", "--output", "drawn.png")
    told = capsys.readouterr()
    [answer] = json.loads(told.out)["answers"]
    outputs = model(**processor(images=image, text=EXPRESSIONS[0], return_tensors="pt"))
    [expected] = processor.post_process_grounding(outputs, target_sizes=[(40, 60)])
    mask = decode_segmentation(answer["mask"], 40, 60)
    assert mask.sum() > 100 and np.mean(mask != expected["mask"].numpy()) < 0.01
    assert answer["box"] == pytest.approx(expected["box"].tolist(), abs=0.51)
    assert "drawn: drawn.png" in told.err and Path("drawn.png").is_file()


def test_several_are_told_with_their_number_and_places(predict, image_file, any_model_folder, capsys):
    told = []
    for expression, threshold in zip(EXPRESSIONS, ("0.84", "0.90"), strict=True):
        options = ("--model", any_model_folder, "--box_threshold", threshold)
        predict(image_file, expression, *options)
        predict(image_file, expression, *options, "--json")
        line, _, record = capsys.readouterr().out.splitlines()[1:]
        [answer] = json.loads(record)["answers"]
        told.append((line, [f"x {x1} to {x2}, y {y1} to {y2}" for x1, y1, x2, y2 in answer["boxes"]]))
    (several, two), (one, single) = told
    assert (len(two), len(single)) == (2, 1)
    assert several.startswith(f'  "the red square": 2 found (0.90 sure); boxes: {two[0]}; {two[1]}; mask: ')
    assert several.endswith("% of the image")
    assert one.startswith(f'  "the man in the red shirt": 1 found (0.90 sure); box: {single[0]}; mask: ')


def test_what_is_not_found_is_told_with_how_sure_it_is(predict, image_file, any_model_folder, capsys):
    predict(image_file, "the zebra", "--model", any_model_folder, "--presence_threshold", "0.95")
    predict(image_file, "the zebra", "--model", any_model_folder, "--box_threshold", "1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == '  "the zebra": not found (0.10 sure)'
    assert lines[4] == '  "the zebra": not placed, though maybe there (probability 0.90)'


def test_json_of_any_number_of_targets_has_presence_boxes_scores_and_the_mask(
    predict, image_file, any_model_folder, any_model, processor, image, capsys
):
    options = ("--model", any_model_folder, "--json", "--box_threshold")
    predict(image_file, EXPRESSIONS[0], *options, "0.84")
    predict(image_file, EXPRESSIONS[0], *options, "0.99")
    [several], [none] = (json.loads(line)["answers"] for line in capsys.readouterr().out.splitlines())
    names = ["expression", "present", "boxes", "scores", "mask"]
    assert list(several) == list(none) == names
    outputs = any_model(**processor(images=image, text=EXPRESSIONS[0], return_tensors="pt"))
    [expected] = processor.post_process_grounding(outputs, [(40, 60)], box_threshold=0.84)
    assert len(several["boxes"]) == len(expected["boxes"]) == 2
    assert sum(several["boxes"], []) == pytest.approx(expected["boxes"].flatten().tolist(), abs=0.51)
    assert several["scores"] == pytest.approx(expected["scores"].tolist(), abs=1e-5)
    mask = decode_segmentation(several["mask"], 40, 60)
    assert mask.sum() > 20 and np.mean(mask != expected["mask"].numpy()) < 0.01
    assert several["present"] == none["present"] == pytest.approx(0.9)
    assert (none["boxes"], none["scores"]) == ([], [])
    assert none["mask"] == encode_mask(np.zeros((40, 60)))


def test_the_drawing_shows_what_is_found_and_says_what_is_not(predict, image_file, any_model_folder):
    for name, threshold in (("found", "0.4"), ("not", "1")):
        predict(
            image_file,
            EXPRESSIONS[0],
            "--model",
            any_model_folder,
            "--box_threshold",
            threshold,
            "--output",
            f"{name}.png",
        )
    found, nothing = (np.array(Image.open(f"{name}.png")) for name in ("found", "not"))
    assert found.shape == nothing.shape and not np.array_equal(found[320:], nothing[320:])
    red = (found[:320] == PREDICTED_COLOUR).all(-1)
    assert red.sum() > 100 and not (nothing[:320] == PREDICTED_COLOUR).all(-1).any()


def test_a_model_of_masks_alone_says_found_or_not_without_a_number(predict, image_file, any_model, processor, capsys):
    any_model.config.tasks = ["res"]
    model = PLVLModel(any_model.config).eval()
    # The presence is told by the centre map, too, where there is one.
    weights = {name: each for name, each in any_model.state_dict().items() if "presence_hidden" not in name}
    model.load_state_dict(weights, strict=False)
    model.save_pretrained("masks")
    processor.save_pretrained("masks")
    predict(image_file, EXPRESSIONS[0], "--model", "masks")
    predict(image_file, EXPRESSIONS[0], "--model", "masks", "--presence_threshold", "0.95")
    predict(image_file, EXPRESSIONS[0], "--model", "masks", "--json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith('  "the red square": found (0.90 sure); mask: ')
    assert lines[4] == '  "the red square": not found (0.10 sure)'
    assert list(json.loads(lines[6])["answers"][0]) == ["expression", "present", "mask"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--box_threshold", "0.3"], "--box_threshold: this model has one target, and no threshold"),
        (
            ["--presence_threshold", "0.3", "--box_threshold", "0"],
            "--box_threshold and --presence_threshold: this model has one target, and no threshold",
        ),
        (["--box_threshold", "7"], "--box_threshold must be from 0 to 1, got 7"),
        (["--presence_threshold", "nan"], "--presence_threshold must be from 0 to 1, got nan"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused_in_one_line(predict, image_file, flags, message):
    with pytest.raises(SystemExit, match=f"^plvl predict: {message}$"):
        predict(image_file, "the zebra", *flags)
    assert not list(Path().iterdir())


def test_a_folder_of_images_gives_a_folder_of_drawings(predict, images, embedded, capsys):
    predict(images, *EXPRESSIONS)
    assert sorted(file.name for file in Path("grounded").iterdir()) == ["a.png", "b.png"]
    assert embedded == [1, 1]
    predict(images, EXPRESSIONS[0], "--json")
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [Path(json.loads(line)["image"]).name for line in lines] == ["a.jpg", "b.PNG"]
    assert embedded == [1, 1, 2]


def test_the_expressions_are_encoded_once_for_all_images(predict, images, image, monkeypatch, capsys):
    for number in range(3):
        image.rotate(90 * number).save(images / f"{number}.png")
    encoded, encode = [], PLVLModel.get_text_features
    monkeypatch.setattr(
        PLVLModel,
        "get_text_features",
        lambda model, ids, mask=None: encoded.append(len(ids)) or encode(model, ids, mask),
    )
    predict(images, *EXPRESSIONS, "--json")
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert encoded == [2]
    for file in sorted(path for path in images.iterdir() if path.suffix != ".txt"):
        predict(file, *EXPRESSIONS, "--json")
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(alone) == len(together) == 5
    for answer in (answer for record in alone for answer in record["answers"]):
        answer["score"] = pytest.approx(answer["score"], abs=1e-5)
    assert together == alone


def test_images_of_one_stem_keep_their_drawings_apart(predict, images, image):
    image.save(images / "a.bmp")
    predict(images, EXPRESSIONS[0], "--output", "drawings")
    assert sorted(file.name for file in Path("drawings").iterdir()) == ["a.bmp.png", "a.jpg.png", "b.PNG.png"]


def test_a_bad_image_in_a_folder_is_named_and_the_others_are_done(predict, images, capsys):
    (images / "aa.jpg").write_bytes((images / "a.jpg").read_bytes()[:200])
    with pytest.raises(SystemExit, match=r"1 of the images could not be used: .*aa\.jpg$"):
        predict(images, EXPRESSIONS[0], "--json", "--output", "drawings")
    told = capsys.readouterr()
    assert sorted(file.name for file in Path("drawings").iterdir()) == ["a.png", "b.png"]
    records = [json.loads(line) for line in told.out.splitlines()]
    assert [("error" in record) for record in records] == [False, True, False]
    assert "cannot be read" in records[1]["error"] and "aa.jpg" in told.err


def test_an_image_on_its_side_is_answered_upright(predict, tmp_path, image, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "side.jpg", exif=exif)
    predict(tmp_path / "side.jpg", EXPRESSIONS[0], "--json")
    record = json.loads(capsys.readouterr().out)
    assert (record["width"], record["height"]) == (40, 60)


def test_an_image_comes_from_a_url(predict, image_file, url, capsys):
    predict(f"{url}/image.png", EXPRESSIONS[0], "--json")
    predict(image_file, EXPRESSIONS[0], "--json")
    from_url, from_file = map(json.loads, capsys.readouterr().out.splitlines())
    assert from_url == from_file | {"image": f"{url}/image.png"}
    with pytest.raises(SystemExit, match=r"^plvl predict: http://.*/gone\.png: HTTP Error 404"):
        predict(f"{url}/gone.png", EXPRESSIONS[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" ", "x"], r"^plvl predict: the image's name is empty$"),
        (["http://127.0.0.1/a b.jpg", "x"], r"^plvl predict: http://127\.0\.0\.1/a b\.jpg: "),
        (["nowhere.jpg", "x"], r"^plvl predict: image missing: nowhere\.jpg$"),
        (["{folder}/notes.txt", "x"], r"^plvl predict: .*notes\.txt is no image that can be read"),
        (["empty", "x"], r"^plvl predict: no images in the folder empty"),
        (["{folder}/a.jpg", "x", " "], r"^plvl predict: expression 2 is empty$"),
        (["{folder}/a.jpg", "x", "--model", "no/such/model"], r"^plvl predict: no model 'no/such/model': no such f"),
        (
            ["{folder}/a.jpg", "x", "--model", "empty"],
            r"^plvl predict: empty is no whole model: it lacks config\.json",
        ),
        (["{folder}/a.jpg", "x", "--output", "drawn.doc"], r"drawn\.doc: drawings cannot be written in this format"),
        (["{folder}/a.jpg", "x", "--output", "empty"], r"--output empty is a folder; for one image name a file"),
        (["{folder}", "x", "--output", "{folder}/notes.txt"], r"notes\.txt is a file; for several images name"),
        (["{folder}/a.jpg", "x", "--output", "{folder}/a.jpg"], r"would take the place of the image .*a\.jpg$"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line_and_nothing_is_written(predict, images, arguments, message):
    Path("empty").mkdir()
    before = {file.name: file.read_bytes() for file in images.iterdir()}
    with pytest.raises(SystemExit, match=message) as ended:
        predict(*(argument.format(folder=images) for argument in arguments))
    assert "\n" not in str(ended.value)
    assert {file.name: file.read_bytes() for file in images.iterdir()} == before
    assert [file.name for file in Path().rglob("*")] == ["empty"]


def test_several_images_and_patterns_come_before_the_expressions(predict, images, capsys):
    predict(images / "a.jpg", images / "b.PNG", *EXPRESSIONS, "--json")
    predict(images / "*.[jP]*", *EXPRESSIONS, "--json")
    predict(images, images / "a.jpg", *EXPRESSIONS, "--json", "--output", "all")
    told = capsys.readouterr()
    records = [json.loads(line) for line in told.out.splitlines()]
    assert [Path(record["image"]).name for record in records] == ["a.jpg", "b.PNG"] * 3
    assert all(len(record["answers"]) == 2 for record in records)
    assert sorted(file.name for file in Path("all").iterdir()) == ["a.png", "b.png"]
    # What a folder's other files are is said where the folder was named.
    assert told.err.count("left out: notes.txt (no image by its suffix)") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{folder}/a.jpg", "{folder}/b.PNG"], "no expression after the images .*a.jpg', .*b.PNG': give one"),
        (
            ["{folder}/a.jpg", "a star", "{folder}/b.PNG"],
            "b.PNG' is an image that comes after the expression",
        ),
        (["{folder}/a.jpg", "gone.jpg", "a star"], "image missing: gone.jpg"),
        (["{folder}/*.tif", "a star"], r"no image matches .*\*.tif"),
        (["{folder}/a.jpg", "\u200b"], "expression 1 is empty"),
        (["{folder}/a.jpg", "the \udcff moon"], r"must be text in this terminal's encoding, got 'the \\udcff moon'"),
        (["{folder}/pipe", "a star"], "pipe is no file that can be read as an image"),
        (["{folder}/a.jpg", "a star", "--output", "{folder}/notes.txt/x.png"], "nothing can be written in .*txt"),
    ],
)
def test_wrong_words_are_told_before_anything_is_imported(images, words, message, monkeypatch):
    os.mkfifo(images / "pipe")
    monkeypatch.setitem(sys.modules, "plvl.processing.pipeline_plvl", None)
    with pytest.raises(SystemExit, match=message):
        main(["predict", *(word.format(folder=images) for word in words)])


def test_a_folder_that_has_an_expressions_name_is_an_expression_at_the_end(predict, images, capsys):
    Path("cup").mkdir()
    predict(images / "a.jpg", "cup", "--json")
    assert json.loads(capsys.readouterr().out)["answers"][0]["expression"] == "cup"


def test_what_a_terminal_cannot_show_is_spelt_out_and_the_others_are_done(model_folder, image, tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    for name in (b"a.png", b"caf\xe9.png", b"z.png"):
        with open(os.path.join(folder, name), "wb") as file:
            image.save(file, "PNG")
    command = [
        sys.executable,
        "-m",
        "plvl.scripts.cli",
        "predict",
        folder,
        "die rote Fläche".encode(),
        "--output",
        folder,
    ]
    command[-1:] = [os.path.join(folder, b"drawn"), "--model", str(model_folder)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(os.path.join(folder, b"drawn"))) == [b"a.png", b"caf\xe9.png", b"z.png"]
    assert b'"die rote Fl\\xe4che": confidence' in done.stdout


def test_a_model_of_refshapes_alone_says_what_it_knows(predict, image_file, model_folder, capsys):
    (model_folder / "metrics.json").write_text('{"refshapes/val": {"num_samples": 3}}', encoding="utf-8")
    predict(image_file, "the red square", "--json")
    assert "this model has learned drawn shapes of the set RefShapes, no photographs" in capsys.readouterr().err
    (model_folder / "metrics.json").write_text('{"refcoco/val": {"num_samples": 3}}', encoding="utf-8")
    predict(image_file, "the red square", "--json")
    assert "RefShapes" not in capsys.readouterr().err


def test_the_version_is_told_and_without_a_command_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"plvl {plvl.__version__}\n"
    main([])
    assert "predict" in capsys.readouterr().out


def test_drawings_do_not_take_the_place_of_the_folders_own_images(predict, image, tmp_path):
    folder = tmp_path / "png"
    folder.mkdir()
    image.save(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    with pytest.raises(SystemExit, match=r"would take the place of the image .*a\.png$"):
        predict(folder, "x", "--output", folder)
    assert (folder / "a.png").read_bytes() == before


def test_without_a_model_the_one_of_photographs_is_used_and_said(image_file, model_folder, monkeypatch, capsys):
    monkeypatch.setitem(CARRIED_CHECKPOINTS, "photos", model_folder)
    main(["predict", str(image_file), "the red square", "--json"])
    told = capsys.readouterr()
    assert f"no --model named: using the carried checkpoint photos ({model_folder})" in told.err
    assert json.loads(told.out)["answers"]


@pytest.mark.parametrize("model", [[], ["--model", "shapes"]])
def test_without_a_carried_checkpoint_the_error_says_what_to_do(image_file, tmp_path, monkeypatch, model):
    monkeypatch.setitem(CARRIED_CHECKPOINTS, "photos", tmp_path / "gone")
    monkeypatch.setitem(CARRIED_CHECKPOINTS, "shapes", tmp_path / "gone too")
    message = r"the carried checkpoint shapes is not there \(.*gone too\): name another model with --model$"
    with pytest.raises(SystemExit, match=message):
        main(["predict", str(image_file), "the red square", *model])


def test_a_model_comes_from_the_hub_by_its_name(predict, image_file, model_folder, local_hub, capsys):
    from plvl.scripts.publish import main as publish

    publish(["--model", str(model_folder), "--repo", "lab/tiny"])
    predict(image_file, "the red square", "--model", "lab/tiny", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["answers"]
    with pytest.raises(SystemExit, match="no model 'lab/other': no such folder, and the Hugging Face Hub"):
        predict(image_file, "the red square", "--model", "lab/other")


def test_it_runs_as_a_file_and_as_the_console_command():
    script = Path(__file__).parents[2] / "scripts" / "predict.py"
    console_command = Path(sys.executable).with_name("plvl")
    for command in ([sys.executable, script], [console_command, "predict"]):
        finished = subprocess.run([*command, "--help"], capture_output=True, text=True)
        assert "--json" in finished.stdout, finished.stderr
