import numpy as np
import pytest
from PIL import Image

from plvl.processing.drawing import PREDICTED_COLOUR, contact_sheet, draw_grounding, draw_mask


def test_box_and_mask_are_drawn_and_the_image_is_left_alone(image):
    before = np.array(image)
    mask = np.zeros((40, 60), dtype=bool)
    mask[30:, 40:] = True
    answer = {"colour": PREDICTED_COLOUR, "box": (10, 5, 30, 25), "mask": mask, "label": "0.9"}
    drawn = draw_grounding(image, "the red square", [answer])
    assert np.array_equal(np.array(image), before)
    assert drawn.width == 60 and drawn.height > 40
    below_caption = np.array(drawn)[drawn.height - 40 :]
    assert tuple(below_caption[25, 20]) == PREDICTED_COLOUR
    assert tuple(below_caption[38, 58]) != tuple(before[38, 58])
    assert tuple(below_caption[38, 5]) == tuple(before[38, 5])


def test_a_mask_of_another_size_is_refused(image):
    with pytest.raises(ValueError, match=r"a mask of \(3, 3\) cannot be drawn on an image of \(40, 60\)"):
        draw_grounding(image, "x", [{"colour": PREDICTED_COLOUR, "mask": np.ones((3, 3))}])


def test_a_sheet_holds_all_tiles(image):
    assert contact_sheet([image] * 5, columns=2, tile_width=30).size == (60, 60)


def test_a_mask_has_its_colour_on_its_border_and_a_tint_inside_and_nothing_around():
    image, mask = Image.new("RGB", (60, 40), (10, 20, 30)), np.zeros((40, 60), bool)
    mask[5:25, 30:60] = True  # up to the edge, where no border is
    pixels = np.asarray(draw_mask(image, mask, (210, 120, 30)))
    assert (pixels[~mask] == (10, 20, 30)).all()
    assert (pixels[5:7, 30:60] == (210, 120, 30)).all() and (pixels[5:25, 30:32] == (210, 120, 30)).all()
    assert (pixels[7:23, 32:60] == (80, 55, 30)).all()
    assert (np.asarray(draw_mask(image, np.zeros_like(mask), (210, 120, 30))) == (10, 20, 30)).all()


@pytest.mark.parametrize("width", [200, 500])
def test_a_caption_fills_its_lines_and_stays_within_the_image(width):
    text = "the small red square on the left of the two blue ones " * 4
    drawn = draw_grounding(Image.new("RGB", (width, 40), "white"), text, [])
    ink = (np.array(drawn.convert("L"))[: drawn.height - 40] < 128).any(0).nonzero()[0]
    assert 0.7 * width < ink.max() <= width - 4 and ink.min() >= 4


def test_each_of_several_boxes_is_drawn_and_of_none_nothing(image):
    plain = np.array(draw_grounding(image, "both", []))
    colour = (12, 200, 90)
    boxes = [(3, 4, 14, 12), (30, 20, 50, 33)]
    both = np.array(draw_grounding(image, "both", [{"colour": colour, "boxes": boxes}]))
    alone = [np.array(draw_grounding(image, "both", [{"colour": colour, "box": box}])) for box in boxes]
    drawn = [(each != plain).any(-1) for each in alone]
    assert np.array_equal((both != plain).any(-1), drawn[0] | drawn[1]) and all(each.any() for each in drawn)
    for nothing in ({"boxes": []}, {"box": None}, {}):
        assert np.array_equal(np.array(draw_grounding(image, "both", [{"colour": colour} | nothing])), plain)
