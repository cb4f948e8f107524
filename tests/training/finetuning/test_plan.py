import pytest

from conftest import small_config
from plvl.training.finetuning.plan import expressions_per_image, make_plan, what_to_expect


def rows(num_images, about_each):
    return [{"file_name": f"{number}.png"} for number in range(num_images) for _ in range(about_each)]


def plan(num_images, about_each, way="full", width=128, **options):
    return make_plan(rows(num_images, about_each), small_config(decoder_hidden_size=width), way, **options)


@pytest.mark.parametrize(
    ("num_images", "about_each", "num_steps"), [(16, 1, 300), (40, 6, 300), (400, 4, 1000), (1800, 8, 2000)]
)
def test_the_number_of_steps_grows_with_the_rows_within_bounds(num_images, about_each, num_steps):
    made = plan(num_images, about_each)
    assert (made.num_steps, made.eval_steps) == (num_steps, num_steps // 10)
    assert made.epochs == pytest.approx(num_steps * made.batch_size / (num_images * about_each))


def test_what_is_given_goes_before_the_defaults():
    made = plan(40, 2, num_steps=7, learning_rate=0.5)
    assert (made.num_steps, made.eval_steps, made.learning_rate) == (7, 1, 0.5)


@pytest.mark.parametrize(
    ("counts", "size"),
    [([4, 8], 4), ([6, 6], 3), ([5, 5], 1), ([2, 2], 2), ([1, 1], 1), ([8, 8, 8, 7], 4), ([40, 1], 4), ([4, 1], 1)],
)
def test_as_many_expressions_share_an_image_as_hardly_make_any_come_twice(counts, size):
    assert expressions_per_image(counts) == size


def test_a_batch_is_of_whole_images():
    made = plan(10, 6)
    assert (made.expressions_per_image, made.batch_size) == (3, 30)


def test_wider_networks_and_encoders_learn_more_slowly():
    narrow, wide = plan(40, 1), plan(40, 1, width=512)
    assert wide.learning_rate == narrow.learning_rate / 4
    assert wide.vision_learning_rate < wide.text_learning_rate <= wide.learning_rate
    lora = plan(40, 1, "lora")
    assert lora.vision_learning_rate == lora.text_learning_rate == lora.learning_rate > narrow.learning_rate


def test_of_few_images_it_says_what_to_expect():
    validation = rows(2, 2)
    said = what_to_expect(10, validation)
    assert said.startswith("10 images are few: 8 to train on") and "2 for validation" in said and "25 points" in said
    assert what_to_expect(20, validation) is None
