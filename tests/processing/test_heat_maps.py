import numpy as np
from PIL import Image

from plvl.processing.heat_maps import HEAT_COLOURS, best_region, draw_heat_map


def brightness(image):
    return np.asarray(image.convert("L"), dtype=float)


def test_heat_glows_where_the_values_are_high_and_nowhere_else():
    heat = np.zeros((3, 4))
    heat[2, 3] = 1.0
    drawn = brightness(draw_heat_map(Image.new("RGB", (80, 60), "black"), heat, highest=1.0))
    assert drawn.shape == (60, 80)
    assert drawn[50:, 70:].mean() > 150
    assert drawn[:30, :50].max() < 30


def test_one_scale_makes_two_maps_comparable():
    image, heat = Image.new("RGB", (40, 40), "black"), np.ones((2, 2))
    bright, faint, beyond = (brightness(draw_heat_map(image, value * heat, 1.0)).mean() for value in (1, 0.2, 9))
    assert bright > 2 * faint
    assert beyond == bright
    assert brightness(draw_heat_map(image, 0 * heat, 0.0)).max() < 30  # no heat at all is no division by zero


def test_the_colours_rise_in_brightness():
    assert (np.diff(HEAT_COLOURS @ (0.299, 0.587, 0.114)) > 0).all()


def test_the_cross_marks_the_best_region():
    heat = np.zeros((4, 4))
    heat[1, 2] = 1.0
    image = Image.new("RGB", (160, 80), "black")
    plain, marked = (
        np.array(draw_heat_map(image, heat, 1.0, crosses=crosses)) for crosses in ((), [best_region(heat)])
    )
    rows, columns = np.nonzero((plain != marked).any(-1))
    assert abs(rows.mean() - 30) < 1.5 and abs(columns.mean() - 100) < 1.5


def test_there_are_as_many_crosses_as_places_and_none_without():
    image, heat = Image.new("RGB", (200, 80), "black"), np.zeros((2, 4))
    marked = np.array(draw_heat_map(image, heat, 1.0, [(0.25, 0.75), (0.8, 0.25)]))
    white = (marked == 255).all(-1)
    for x, y in ((50, 60), (160, 20)):
        around = white[y - 8 : y + 9, x - 8 : x + 9]
        assert around.any() and np.array_equal(around.nonzero()[0].min(), 8 - 4 + 0)
        white[y - 8 : y + 9, x - 8 : x + 9] = False
    assert not white.any()
    assert not (np.array(draw_heat_map(image, heat, 1.0)) == 255).all(-1).any()


def test_the_image_is_seen_beneath():
    image = Image.new("RGB", (40, 40), "black")
    image.paste((255, 255, 255), (0, 0, 20, 40))
    drawn = brightness(draw_heat_map(image, np.zeros((2, 2)), 1.0))
    assert drawn[:, :18].mean() > drawn[:, 22:].mean() + 100


def test_the_cross_is_white_with_black_edges_in_the_best_region():
    heat = np.zeros((2, 4))
    heat[1, 2] = 1.0
    marked = np.array(draw_heat_map(Image.new("RGB", (240, 120), "black"), heat, 1.0, [best_region(heat)])).astype(int)
    row, column = 90, 150  # arms of 4 pixels, a line of 2 whose edges come to 5
    white, black = (marked == 255).all(-1), (marked == 0).all(-1)
    assert white[row, column - 4 : column + 5].all() and white[row - 4 : row + 5, column].all()
    assert white.sum() == 2 * 9 + 2 * 7 and not white[:80].any()
    assert 30 < black[80:100, 140:160].sum() < 60 and black[row - 2, column - 3] and not black[row - 4, column - 4]


def test_the_glow_goes_from_dark_over_red_to_yellow():
    shades = [np.array(draw_heat_map(Image.new("RGB", (9, 6)), np.full((2, 3), heat), 1.0))[3, 4] for heat in (0.5, 1)]
    np.testing.assert_allclose(shades, [[110, 36, 48], [214, 217, 139]])
