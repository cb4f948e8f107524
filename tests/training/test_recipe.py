import pytest

from plvl.training import PLVLTrainingArguments
from plvl.training.recipe import DataArguments, ModelArguments, parse_recipe

CLASSES = (ModelArguments, DataArguments, PLVLTrainingArguments)


def test_flags_win_over_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("dataset: refcoco+\nlearning_rate: 1e-3\neval_splits: [val, testA]\noutput_dir: out\n")
    _, data, training = parse_recipe(CLASSES, [str(recipe), "--learning_rate", "0.5", "--output_dir", str(tmp_path)])
    assert data.dataset == "refcoco+"
    assert data.eval_splits == ["val", "testA"]
    assert training.learning_rate == 0.5
    assert training.text_learning_rate == 5e-6


def test_a_number_that_yaml_takes_for_a_word_is_still_a_number(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("learning_rate: 1e-3\n")
    assert parse_recipe(CLASSES, [str(recipe)])[2].learning_rate == 1e-3


@pytest.mark.parametrize(
    ("flags", "recipe", "dataset"),
    [
        (["refcoco"], "refcoco", "refcoco"),
        (["jsonl", "refcoco"], "[jsonl, refcoco]", ["jsonl", "refcoco"]),
        (['{"jsonl": 3, "refcoco": 1}'], "{jsonl: 3, refcoco: 1}", {"jsonl": 3, "refcoco": 1}),
        (
            ['{"jsonl": {"label_root": "mine"}, "refcoco": {}}'],
            "{jsonl: {label_root: mine}, refcoco: {}}",
            {"jsonl": {"label_root": "mine"}, "refcoco": {}},
        ),
    ],
)
def test_flags_and_recipes_name_sets_alike(write, flags, recipe, dataset):
    assert parse_recipe(CLASSES, ["--dataset", *flags])[1].dataset == dataset
    assert parse_recipe(CLASSES, [write("a.yaml", f"dataset: {recipe}\n")])[1].dataset == dataset


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning_rat", "3"], r"unknown arguments: --learning_rat \(did you mean --learning_rate\?\) 3$"),
        (["--max_steps", "many"], r"argument --max_steps.*: invalid int value: 'many'"),
        (["--model_config", "{decoder_layers"], "model_config is no JSON"),
        (["--dataset", '{"jsonl"'], "dataset is no JSON"),
        (["--model_config", "[]"], r"model_config must be a mapping .* got \[\]"),
        (["--max_skipped", "1.5"], "max_skipped is a share from 0 to 1, got 1.5"),
    ],
)
def test_a_wrong_flag_is_named(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(CLASSES, flags)


def test_flags_alone_are_enough():
    model, data, _ = parse_recipe(CLASSES, ["--dataset", "refcocog", "--model_config", '{"decoder_layers": 1}'])
    assert data.dataset == "refcocog"
    assert model.model_config == {"decoder_layers": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datset: refcoco\n", r"recipe.yaml names unknown arguments: datset \(did you mean dataset\?\)"),
        ("- a\n", "must hold a mapping .* got list"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path, text, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_recipe(CLASSES, [str(recipe)])


@pytest.fixture
def write(tmp_path):
    """Writes a recipe and gives its path."""

    def write_recipe(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_recipe


def test_a_recipe_says_only_what_it_changes_in_its_base(write, tmp_path):
    (tmp_path / "common").mkdir()
    write(
        "common/first.yaml",
        "dataset: refcocog\nseed: 3\neval_splits: [val, test]\n"
        "model_config: {decoder_layers: 1, vision_config: {patch_size: 8, num_hidden_layers: 2}}\n",
    )
    write("second.yaml", "base: common/first.yaml\nseed: 4\nmodel_config: {vision_config: {patch_size: 4}}\n")
    recipe = write(
        "third.yaml", "base: second.yaml\neval_splits: [test]\nmodel_config: {cross_attention_layers: []}\n"
    )
    model, data, training = parse_recipe(CLASSES, [recipe])
    assert (data.dataset, data.eval_splits, training.seed) == ("refcocog", ["test"], 4)
    assert model.model_config == {
        "decoder_layers": 1,
        "vision_config": {"patch_size": 4, "num_hidden_layers": 2},
        "cross_attention_layers": [],
    }


def test_another_kind_of_encoder_takes_the_place_of_the_bases(write):
    text = "text_config: {model_type: bert, vocab_size: 30}"
    write("first.yaml", f"model_config: {{vision_config: {{window_size: 4, image_size: 64}}, {text}}}\n")
    above = "vision_config: {architecture: vit_tiny_patch16_224, image_size: 96}, text_config: {hidden_size: 8}"
    write("second.yaml", f"base: first.yaml\nmodel_config: {{{above}}}\n")
    third = write("third.yaml", "base: second.yaml\nmodel_config: {vision_config: {drop_path_rate: 0.5}}\n")
    model, *_ = parse_recipe(CLASSES, [third])
    assert model.model_config == {
        "vision_config": {"architecture": "vit_tiny_patch16_224", "image_size": 96, "drop_path_rate": 0.5},
        "text_config": {"model_type": "bert", "vocab_size": 30, "hidden_size": 8},
    }


def test_a_base_that_is_not_there_is_named_with_the_recipe_that_wants_it(write):
    with pytest.raises(FileNotFoundError, match=r"a\.yaml builds on .*b\.yaml, but there is no such file"):
        parse_recipe(CLASSES, [write("a.yaml", "base: b.yaml\n")])


@pytest.mark.parametrize("base", ["a.yaml", "b.yaml", "./b.yaml"])
def test_recipes_in_a_circle_are_refused(write, base):
    write("b.yaml", "base: a.yaml\n")
    with pytest.raises(ValueError, match=r"in a circle: .*a\.yaml -> .*a\.yaml$"):
        parse_recipe(CLASSES, [write("a.yaml", f"base: {base}\n")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datset: refcoco\n", r"b\.yaml names unknown arguments: datset"),
        ("- a\n", r"b\.yaml must hold a mapping"),
        ("base: [c.yaml]\n", r"b\.yaml: base must be the name of a recipe file, got \['c\.yaml'\]"),
        ("base:\n", r"b\.yaml: base must be the name of a recipe file, got None"),
    ],
)
def test_what_is_wrong_in_a_base_is_told_of_the_base(write, text, message):
    write("b.yaml", text)
    with pytest.raises(ValueError, match=message):
        parse_recipe(CLASSES, [write("a.yaml", "base: b.yaml\n")])


def test_one_value_is_enough_where_several_may_stand(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("eval_splits: testA\n")
    assert parse_recipe(CLASSES, [str(recipe)])[1].eval_splits == ["testA"]
