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


def test_flags_alone_are_enough():
    model, data, _ = parse_recipe(CLASSES, ["--dataset", "refcocog", "--model_config", '{"decoder_layers": 1}'])
    assert data.dataset == "refcocog"
    assert model.model_config == {"decoder_layers": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datset: refcoco\n", "recipe.yaml names unknown arguments: datset"),
        ("- a\n", "must hold a mapping .* got list"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path, text, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_recipe(CLASSES, [str(recipe)])


def test_one_value_is_enough_where_several_may_stand(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("eval_splits: testA\n")
    assert parse_recipe(CLASSES, [str(recipe)])[1].eval_splits == ["testA"]
