"""The command `plvl`: what it lists, what it imports, and which words reach whom."""

import subprocess
import sys

import pytest

from plvl.scripts import make_refshapes, run_grounding
from plvl.scripts.cli import COMMANDS, main

HEAVY = ("torch", "transformers", "datasets", "timm")


@pytest.fixture
def words_of_a_run(monkeypatch):
    """A list that gets the words with which training or evaluation is called; nothing is run."""
    runs = []
    monkeypatch.setattr("plvl.training.signals.end_on_sigterm", lambda: None)
    monkeypatch.setattr(run_grounding, "check_and_run", lambda *parsed: runs.append(parsed))
    return runs


def ended(*words) -> str | int:
    with pytest.raises(SystemExit) as end:
        main([*words])
    return end.value.code


def test_the_help_has_each_command_with_what_it_does_and_imports_nothing_heavy():
    program = (
        "import sys; from plvl.scripts.cli import main; main([]); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    told = " ".join(finished.stdout.split())
    for name, module in COMMANDS.items():
        assert f" {name} {module.__doc__.splitlines()[0]} " in told
    assert told.endswith("[]"), finished.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_how_it_is_used(name, capsys):
    assert ended(name, "--help") == 0
    assert f"usage: plvl {name} " in capsys.readouterr().out


def test_a_command_that_there_is_not_is_an_error_of_usage(capsys):
    assert ended("predcit") == 2
    assert "invalid choice: 'predcit' (choose from" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["--image-size", "--image_size"])
def test_flags_may_be_written_with_hyphens(monkeypatch, spelling):
    given = []
    written = {"graphs": {"expressions": {"outputs": ["pred_boxes"]}}}
    monkeypatch.setattr("plvl.scripts.export.export", lambda arguments: given.append(arguments.image_size) or written)
    main(["export", "m", "--format", "onnx", "--output", "kit", spelling, "64", "96"])
    assert given == [[64, 96]]


def test_a_switch_is_turned_off_with_either(monkeypatch):
    given = []
    monkeypatch.setattr("plvl.scripts.visualize_augmentation.run", given.append)
    for word in ("--no_aug_crop", "--no-aug-crop", "--no-aug_crop"):
        main(["data", "show", "refcoco", word])
    assert [arguments.aug_crop for arguments in given] == [False] * 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("convert --from plvl gone.pth --output out", "plvl convert: there is no file gone.pth"),
        (
            "export photos --format onnx --output {file}/in",
            "plvl export: {file} is a file, and a folder is to be written",
        ),
        ("publish --model gone --repo lab/tiny", "plvl publish: gone is no folder"),
        ("data make --output {file}/in", "plvl data make: {file} is a file, and a folder is to be written"),
        (
            "data prepare refcoco --splits val --output {file}/in",
            "plvl data prepare: {file} is a file, and a folder is to be written",
        ),
        ("data show --root here", "plvl data show: name one data set, as refcoco"),
        ("data show refcoco --dataset refcoco+ --root here", "plvl data show: name one data set, as refcoco"),
    ],
)
def test_an_error_is_one_line_that_begins_with_the_command(tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    file = tmp_path / "file"
    assert ended(*line.format(file=file).split()) == message.format(file=file)


def test_a_run_gets_the_words_in_their_order_and_the_recipe_by_its_name(words_of_a_run):
    main(["train", "quickstart", "--max_steps", "3", "--eval_splits", "val", "testA", "--output-dir=there"])
    [(_, data, training)] = words_of_a_run
    assert (data.dataset, data.eval_splits) == ("refshapes", ["val", "testA"])
    assert (training.do_train, training.max_steps, training.output_dir) == (True, 3, "there")


def test_flags_alone_train_or_evaluate_as_the_command_says(words_of_a_run):
    main(["train", "--dataset", "jsonl"])
    main(["evaluate", "--dataset", "jsonl"])
    trained, evaluated = (training for *_, training in words_of_a_run)
    assert (trained.do_train, trained.do_eval) == (True, False)
    assert (evaluated.do_train, evaluated.do_eval) == (False, True)


def test_a_recipe_that_trains_is_evaluated_without_training(words_of_a_run):
    main(["evaluate", "quickstart", "--model_name_or_path", "outputs/quickstart"])
    [(model, _, training)] = words_of_a_run
    assert (training.do_train, training.do_eval, model.model_name_or_path) == (False, True, "outputs/quickstart")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "evaluate_refshapes_tiny"],
            "plvl train: this says not to train (do_train): plvl evaluate does that",
        ),
        (
            ["evaluate", "quickstart", "--do_train", "true"],
            "plvl evaluate: this says to train (do_train): plvl train does that",
        ),
    ],
)
def test_what_the_other_command_does_is_refused(words_of_a_run, words, message):
    assert ended(*words) == message
    assert not words_of_a_run


def test_a_recipe_that_there_is_not_is_told_with_those_there_are(words_of_a_run):
    message = ended("train", "quickstrat", "--max_steps", "3")
    assert message.startswith("plvl train: there is no recipe 'quickstrat' (did you mean quickstart?). Recipes are ")
    assert " refcoco+," in message and message.endswith("one of your own is named by its file, as mine.yaml")


def test_a_flag_that_there_is_not_is_told_with_the_one_that_is_meant(words_of_a_run):
    message = "plvl train: unknown arguments: --max_stps (did you mean --max_steps?) 3"
    assert ended("train", "quickstart", "--max_stps", "3") == message


def test_help_of_train_has_the_recipes_and_how_to_run_more_processes(capsys):
    ended("train", "--help")
    told = capsys.readouterr().out
    assert "quickstart" in told.split() and "refcoco+" in told.split()
    assert "/accelerate/4_gpus.yaml" in told and "-m plvl.scripts.run_grounding refcoco" in told


@pytest.mark.parametrize(
    ("failure", "code", "told"),
    [
        (RuntimeError("out of\n  memory"), "plvl data make: RuntimeError: out of memory (TRANSFORMERS_VERB", ""),
        (KeyboardInterrupt(), 130, "plvl data make: interrupted\n"),
    ],
)
def test_whatever_ends_a_command_is_one_line(monkeypatch, tmp_path, capsys, failure, code, told):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(make_refshapes, "write_refshapes", fail)
    end = ended("data", "make", "--output", str(tmp_path))
    assert end == code if isinstance(code, int) else end.startswith(code)
    assert capsys.readouterr().err == told
