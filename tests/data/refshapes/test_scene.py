import math
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from odd_exif import odd_exif
from plvl.data.refshapes.backgrounds import (
    KNOWN,
    NEW,
    PHOTOGRAPH,
    Background,
    choose_background,
    draw_background,
    find_photographs,
)
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.scene import MIN_VISIBLE, RULES, Light, Scene, has_held_out_pair, make_scene
from plvl.data.refshapes.shapes import COLOURS, MAX_TILT, NEW_SHAPES, SHAPES, SIZES, TEXTURES, Shape

DAYLIGHT = Light(direction=(0.0, -1.0), brightness=1.0, warmth=0.0, falloff=0.0, shadow=0.0, blur=0.0, grain=0.0)
WHITE = Background("flat", ((255, 255, 255), (255, 255, 255)), 0)


@pytest.fixture(scope="module")
def scenes():
    return {split: [make_scene(random.Random(seed), rules) for seed in range(80)] for split, rules in RULES.items()}


def test_a_split_shows_the_numbers_of_shapes_and_the_sizes_of_its_rules(scenes):
    for split, rules in RULES.items():
        assert {len(scene.shapes) for scene in scenes[split]} == set(rules.counts)
        assert {(scene.width, scene.height) for scene in scenes[split]} == set(rules.image_sizes)
    assert {count for rules in RULES.values() for count in rules.counts} == set(range(3, 11))


def test_what_test_b_shows_no_other_split_does():
    shown = RULES["train"]
    assert RULES["val"] == shown
    assert not set(RULES["testB"].counts) & set(shown.counts)
    aspects = [{round(width / height, 2) for width, height in RULES[name].image_sizes} for name in ("testB", "train")]
    assert not aspects[0] & aspects[1]
    assert not set(NEW) & set(KNOWN)


def test_backgrounds_of_test_b_are_in_no_other_split(scenes):
    for split in RULES:
        patterns = {scene.background.pattern for scene in scenes[split]}
        assert patterns == set(NEW if split == "testB" else KNOWN)


def test_only_test_a_shows_the_pairs_held_out(scenes):
    def pairs(split):
        return [has_held_out_pair(s.name, s.colour, s.texture) for scene in scenes[split] for s in scene.shapes]

    assert not any(pairs("train") + pairs("val") + pairs("testB"))
    assert 0.4 < np.mean(pairs("testA")) < 0.8
    for scene in scenes["testA"]:
        assert any(has_held_out_pair(s.name, s.colour, s.texture) for s in scene.shapes)


def test_every_shape_colour_and_fill_is_in_training_with_most_others(scenes):
    shapes = [shape for scene in scenes["train"] for shape in scene.shapes]
    assert {shape.name for shape in shapes} == set(SHAPES)
    for values, key in ((COLOURS, "colour"), (TEXTURES, "texture"), (SIZES, "size")):
        assert {getattr(shape, key) for shape in shapes} == set(values)
    for name in SHAPES:
        assert sum(has_held_out_pair(name, colour, "plain") for colour in COLOURS) == 1
        assert sum(has_held_out_pair(name, "none", texture) for texture in TEXTURES) <= 1


def test_of_each_shape_enough_is_seen_and_all_is_in_the_image(scenes):
    covered = 0
    for scene in sum(scenes.values(), []):
        for position, shape in enumerate(scene.shapes):
            x1, y1, x2, y2 = shape.bounds
            assert x1 >= 0 and y1 >= 0 and x2 <= scene.width and y2 <= scene.height
            assert MIN_VISIBLE * shape.area <= scene.visible_areas[position] <= shape.area
            assert max(scene.boxes[position][2:]) >= 22 and min(scene.boxes[position][2:]) >= 9
            assert scene.visible_areas[position] >= 180
            covered += scene.visible_areas[position] < shape.area
    assert covered > 100


def test_what_is_seen_of_the_shapes_never_overlaps(scenes):
    for scene in scenes["testB"]:
        total = sum(scene.mask(position).astype(int) for position in range(len(scene.shapes)))
        assert total.max() == 1


def test_a_shape_under_another_keeps_the_rest_and_its_box():
    low = Shape("square", "red", "large", "plain", (60.0, 60.0), 40.0, 0.0, COLOURS["red"])
    high = Shape("square", "blue", "large", "plain", (100.0, 60.0), 40.0, 0.0, COLOURS["blue"])
    scene = Scene(160, 120, WHITE, DAYLIGHT, (low, high))
    left, right = scene.mask(0), scene.mask(1)
    assert np.array_equal(right.astype(bool), scene_mask_alone(high))
    assert np.array_equal(left.astype(bool), scene_mask_alone(low) & ~right.astype(bool))
    x, _, width, _ = scene.boxes[0]
    assert abs(x + width - scene.boxes[1][0]) <= 1
    assert scene.middles[0][0] == x + width / 2
    assert scene.covered(0, 1) == low.area - scene.visible_areas[0] > 0
    assert scene.covered(1, 0) == 0


def scene_mask_alone(shape):
    return Scene(160, 120, WHITE, DAYLIGHT, (shape,)).mask(0).astype(bool)


@pytest.mark.parametrize("name", (*SHAPES, *NEW_SHAPES))
def test_a_shape_is_drawn_where_its_mask_is(name):
    tilt = min(MAX_TILT.get(name, 67.0), 67.0)
    shape = Shape(name, "black", "large", "plain", (70.0, 60.0), 40.0, tilt, (0, 0, 0))
    scene = Scene(140, 120, WHITE, DAYLIGHT, (shape,))
    drawn = np.asarray(draw_scene(scene).convert("L")) < 128
    mask = scene.mask(0).astype(bool)
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.97


def test_a_ring_has_a_hole():
    ring = Shape("ring", "red", "large", "plain", (60.0, 60.0), 40.0, 0.0, COLOURS["red"])
    y, x = np.mgrid[:120, :120] + 0.5
    distance = np.hypot(x - 60, y - 60)
    mask = Scene(120, 120, WHITE, DAYLIGHT, (ring,)).mask(0).astype(bool)
    assert mask[(distance > 21) & (distance < 36)].all()
    assert not mask[(distance < 19) | (distance > 39)].any()


def test_shapes_of_one_size_differ_little_in_area():
    areas = [
        Shape(name, "red", "large", "plain", (60.0, 60.0), 40.0, 0.0, (0, 0, 0)).area
        for name in (*SHAPES, *NEW_SHAPES)
    ]
    assert max(areas) / min(areas) < 2.3


def test_a_fill_leaves_most_of_the_colour():
    for texture in TEXTURES:
        shape = Shape("square", "blue", "large", texture, (60.0, 60.0), 40.0, 0.0, COLOURS["blue"])
        scene = Scene(120, 120, WHITE, DAYLIGHT, (shape,))
        pixels = np.asarray(draw_scene(scene))[scene.mask(0).astype(bool)].astype(int)
        bluish = (pixels[:, 2] - pixels[:, 0] > 100).mean()
        assert (bluish > 0.95) if texture == "plain" else (0.45 < bluish < 0.85), texture


def test_shapes_often_share_their_name_or_colour(scenes):
    shared = Counter()
    for scene in scenes["train"]:
        for position, shape in enumerate(scene.shapes):
            others = scene.shapes[:position] + scene.shapes[position + 1 :]
            shared[any(other.name == shape.name or other.colour == shape.colour for other in others)] += 1
    assert shared[True] / shared.total() > 0.6


def test_the_same_scene_gives_the_same_pixels(scenes):
    for split in RULES:
        scene, again = scenes[split][0], make_scene(random.Random(0), RULES[split])
        assert again == scene
        assert draw_scene(again).tobytes() == draw_scene(scene).tobytes()


def test_colours_and_backgrounds_are_well_apart(scenes):
    colours = list(COLOURS.values())
    assert min(math.dist(a, b) for k, a in enumerate(colours) for b in colours[:k]) > 75
    for pattern in (*KNOWN, *NEW):
        drawn = draw_background(Background(pattern, ((200, 180, 160), (120, 130, 150)), 5), 90, 70)
        assert drawn.shape == (3, 70, 90) and drawn.dtype == np.float32
        assert drawn.min() >= 119 and drawn.max() <= 201
        assert pattern == "flat" or drawn.std(axis=(1, 2)).max() > 3, pattern


def a_photograph(path, size=(200, 150), orientation=None):
    gradient = np.linspace(0, 255, size[0], dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(gradient[None, :, None], (size[1], size[0], 3)).copy())
    image.save(path, exif=odd_exif(orientation or 1))


def test_photographs_stand_behind_half_of_the_images_and_every_fifth_is_for_test_b_alone():
    rng = random.Random(0)
    for new in (False, True):
        chosen = [choose_background(rng, new, photographs=10) for _ in range(300)]
        numbers = {background.photograph for background in chosen} - {None}
        assert numbers == ({4, 9} if new else {0, 1, 2, 3, 5, 6, 7, 8})
        assert 0.4 < np.mean([background.pattern == PHOTOGRAPH for background in chosen]) < 0.6


def test_a_part_of_a_photograph_fills_the_image(tmp_path):
    a_photograph(tmp_path / "b.JPG")
    a_photograph(tmp_path / "a.jpg", orientation=6)  # stands on its side
    (tmp_path / "notes.txt").write_text("no image")
    upright, lying = find_photographs(tmp_path)[::-1]
    assert (upright.name, lying.name) == ("b.JPG", "a.jpg")
    background = Background(PHOTOGRAPH, ((0, 0, 0), (0, 0, 0)), 3, photograph=0)
    across = draw_background(background, 80, 60, [upright])
    down = draw_background(background, 80, 60, [lying])
    assert across.shape == down.shape == (3, 60, 80)
    assert across[0, 30, 70] > across[0, 30, 10] + 30
    assert down[0, 50, 40] > down[0, 10, 40] + 30


def test_a_folder_without_photographs_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no image"):
        find_photographs(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        find_photographs(tmp_path / "nowhere")
    (tmp_path / "a_folder.jpg").mkdir()
    with pytest.raises(FileNotFoundError, match="has no image"):
        find_photographs(tmp_path)


@pytest.mark.parametrize("broken", [lambda content: content[: len(content) // 2], lambda content: b"no image"])
def test_a_photograph_that_cannot_be_read_is_named(broken, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        a_photograph(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(broken((tmp_path / "b.jpg").read_bytes()))
    with pytest.raises(ValueError, match=r"b\.jpg cannot be read as a photograph"):
        find_photographs(tmp_path)
