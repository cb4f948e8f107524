import numpy as np
import pytest
from PIL import Image, ImageFont

from plvl.processing.answer_drawing import COLOURS, _tags, draw_answers, drawable_answer, fit_text

WIDTH, HEIGHT = 500, 300


def answer(box, label="the red square", score=0.9):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    x1, y1, x2, y2 = (max(side, 0) for side in box)
    mask[y1:y2, x1:x2] = True
    return {"label": label, "score": score, "box": box, "mask": mask}


def colours_in(pixels) -> set:
    return set(map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist()))


@pytest.mark.parametrize("shade", [0, 255])
def test_each_answer_has_its_colour_in_the_image_and_in_the_legend_on_light_and_on_dark(shade):
    image = Image.new("RGB", (WIDTH, HEIGHT), (shade,) * 3)
    answers = [answer((20 + 60 * index, 100, 60 + 60 * index, 200)) for index in range(len(COLOURS))]
    drawn = np.array(draw_answers(image, answers))
    assert set(COLOURS) <= colours_in(drawn[:HEIGHT])
    assert set(COLOURS) <= colours_in(drawn[HEIGHT:])
    assert np.array_equal(np.array(image), np.full((HEIGHT, WIDTH, 3), shade))


def test_the_legend_says_another_expression_and_another_confidence_otherwise():
    image = Image.new("RGB", (WIDTH, HEIGHT))

    def legend(**changes):
        return np.array(draw_answers(image, [answer((20, 100, 60, 200), **changes)]))[HEIGHT:]

    assert not np.array_equal(legend(), legend(label="the blue circle"))
    assert not np.array_equal(legend(), legend(score=0.1))
    without_score = legend(score=None)
    assert (without_score[:, -60:] == 255).all() and not (legend()[:, -60:] == 255).all()


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (470, 0, 500, 20), (0, 280, 20, 300), (0, 0, 500, 300)])
def test_the_tag_at_a_box_stays_in_the_image(box):
    image = Image.new("RGB", (WIDTH, HEIGHT))
    lone = np.array(draw_answers(image, [{"label": "x", "score": 0.5, "box": box}]))[:HEIGHT]
    without_tag = np.array(draw_answers(image, [{"label": "x", "box": box}]))[:HEIGHT]
    rows, columns = np.nonzero((lone != without_tag).any(-1))
    middle = np.array(draw_answers(image, [{"label": "x", "score": 0.5, "box": (200, 100, 300, 200)}]))[:HEIGHT]
    bare = np.array(draw_answers(image, [{"label": "x", "box": (200, 100, 300, 200)}]))[:HEIGHT]
    middle_rows, middle_columns = np.nonzero((middle != bare).any(-1))
    # As large as where there is room all around, but for what falls together with the box's line.
    assert np.ptp(rows) >= np.ptp(middle_rows) - 4
    assert np.ptp(columns) >= np.ptp(middle_columns) - 4


def test_tags_of_answers_at_one_place_do_not_cover_each_other():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    drawn = np.array(draw_answers(image, [answer((200, 100, 300, 200)) | {"mask": None} for _ in range(3)]))
    counts = [(drawn[:HEIGHT] == colour).all(-1).sum() for colour in COLOURS[:3]]
    # The lines of the first two boxes are covered by the third's: what remains of them is their tags.
    assert min(counts[:2]) > 100
    assert counts[0] == pytest.approx(counts[1], rel=0.2)


def test_of_several_answers_each_has_its_number_and_one_alone_its_confidence():
    assert [_tags({"score": 0.5}, 1, index, 2) for index in range(2)] == [["1"], ["2"]]
    assert (_tags({"score": 0.5}, 1, 0, 1), _tags({}, 1, 0, 1)) == (["50%"], [""])


def test_of_several_boxes_each_has_its_expressions_number_or_of_a_lone_expression_its_own_confidence():
    scores = {"scores": [0.75, 0.5]}
    assert _tags(scores, 2, 1, 3) == ["2", "2"]
    assert _tags(scores, 2, 0, 1) == ["75%", "50%"]
    assert _tags({"scores": []}, 0, 0, 1) == []


def test_a_small_image_is_enlarged_until_its_words_can_be_read():
    drawn = draw_answers(Image.new("RGB", (60, 40)), [{"label": "x", "box": (10, 10, 30, 30), "mask": None}])
    assert drawn.width == 480 and drawn.height > 320
    assert draw_answers(Image.new("RGB", (600, 40)), []).width == 600


def test_boxes_on_an_enlarged_image_are_as_much_larger():
    image = Image.new("RGB", (60, 40))
    boxes = [(6, 25, 20, 35), (30, 10, 50, 30)]
    drawn = np.array(draw_answers(image, [{"label": "x", "boxes": boxes}, answer((0, 0, 0, 0)) | {"mask": None}]))
    for x1, y1, x2, y2 in boxes:
        assert (drawn[8 * y2, 8 * x1 : 8 * x2] == COLOURS[0]).all() and (
            drawn[8 * y1 : 8 * y2, 8 * x2] == COLOURS[0]
        ).all()


def test_a_tall_narrow_image_is_not_enlarged_without_end_and_its_legend_is_as_wide_as_any():
    drawn = draw_answers(Image.new("RGB", (2, 3000)), [{"label": "x", "score": 0.5, "box": (0, 10, 2, 2900)}])
    wide = draw_answers(Image.new("RGB", (480, 300)), [{"label": "x", "score": 0.5, "box": (0, 10, 2, 200)}])
    assert drawn.size == (480, 3000 + wide.height - 300)
    assert np.array_equal(np.array(drawn)[3000:], np.array(wide)[300:])
    pixels = np.array(drawn)[:3000]
    assert (pixels[:, 100:] == 255).all()  # but for the tag at the box, white
    assert COLOURS[0] in colours_in(pixels[:, :2])


def test_a_long_expression_is_wrapped_then_shortened_and_fits():
    font = ImageFont.load_default(16)
    for text in ("a small word " * 40, "x" * 3000, "short " + "y" * 400):
        lines = fit_text(text, font, width=200, max_lines=2)
        assert len(lines) == 2 and lines[1].endswith("…")
        assert max(map(font.getlength, lines)) <= 200
    assert fit_text("the  red\nsquare", font, width=200, max_lines=2) == ["the red square"]
    assert fit_text("the red square on the left side", font, 120, 3) == ["the red square", "on the left side"]


def test_a_long_expression_makes_the_legend_two_lines_high_not_more():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    heights = [draw_answers(image, [answer((0, 0, 9, 9), label="word " * count)]).height for count in (1, 30, 300)]
    assert heights[0] < heights[1] == heights[2]


def test_boxes_of_an_expression_have_one_colour_and_are_all_drawn():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    boxes = [(20, 30, 90, 70), (200, 120, 260, 220)]
    both = {"label": "both moons", "boxes": boxes, "scores": [0.9, 0.7]}
    drawn = np.array(draw_answers(image, [both, answer((350, 40, 420, 200))]))[:HEIGHT]
    for x1, y1, x2, y2 in boxes:
        assert (drawn[y2 - 1, x1:x2] == COLOURS[0]).all() and (drawn[y1:y2, x2 - 1] == COLOURS[0]).all()
    assert (drawn[199, 350:420] == COLOURS[1]).all()


def test_what_is_not_found_is_in_the_legend_in_words_and_not_in_the_image():
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 40))
    nothing = {"label": "the zebra", "boxes": [], "scores": [], "mask": np.zeros((HEIGHT, WIDTH), dtype=bool)}
    said = nothing | {"said": "not found (0.93 sure)"}
    without_words, drawn, sure = (
        np.array(draw_answers(image, [each])) for each in (nothing, said, nothing | {"said": "not found (0.51 sure)"})
    )
    assert (drawn[:HEIGHT] == (90, 120, 40)).all()
    assert len(drawn) > len(without_words)
    assert drawn.shape == sure.shape and not np.array_equal(drawn, sure)
    # Words stand below the expression, which stays as it is.
    assert np.array_equal(drawn[HEIGHT : len(without_words) - 12], without_words[HEIGHT:-12])


def test_a_long_expression_leaves_the_words_below_it_whole():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    long = {"label": "word " * 300, "boxes": [], "scores": []}
    heights = [draw_answers(image, [each]).height for each in (long, long | {"said": "not found (0.93 sure)"})]
    short = {"label": "word", "boxes": [], "scores": []}
    one, two = (draw_answers(image, [each]).height for each in (short, short | {"said": "not found (0.93 sure)"}))
    assert heights[1] > heights[0] and two > one


def test_an_answer_of_the_pipeline_is_drawable():
    sides = ("xmin", "ymin", "xmax", "ymax")
    first, second = (dict(zip(sides, box, strict=True)) for box in ((1, 2, 30, 40), (5, 6, 70, 80)))
    one = drawable_answer({"label": "a", "score": 0.7, "box": first}, 0.5)
    assert one == {"label": "a", "score": 0.7, "box": [1, 2, 30, 40]}
    assert drawable_answer({"label": "a", "score": None, "mask": "its"}, 0.5)["box"] is None
    given = {"label": "a", "present": 0.6, "boxes": [first, second], "scores": [0.9, 0.7], "mask": "its"}
    assert drawable_answer(given, 0.5) == given | {
        "boxes": [[1, 2, 30, 40], [5, 6, 70, 80]],
        "said": "2 found (0.60 sure)",
    }
    nothing = given | {"boxes": [], "scores": []}
    assert drawable_answer(nothing, 0.7)["said"] == "not found (0.40 sure)"
    assert drawable_answer(nothing, 0.5)["said"].startswith("not placed, though")
