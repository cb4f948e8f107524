import numpy as np
import pytest
from pycocotools import mask as coco_mask

from plvl.data.masks import (
    NO_OBJECT,
    decode_segmentation,
    encode_segmentation,
    is_without_pixels,
    unite_segmentations,
)


def rle_of(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def test_a_polygon_fills_its_inside():
    mask = decode_segmentation([[2, 1, 6, 1, 6, 4, 2, 4]], height=5, width=8)
    expected = np.zeros((5, 8), dtype=np.uint8)
    expected[1:4, 2:6] = 1
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected)


def test_the_parts_of_a_polygon_are_united_where_they_overlap_too():
    left, right = [0, 0, 4, 0, 4, 3, 0, 3], [2, 0, 6, 0, 6, 3, 2, 3]
    mask = decode_segmentation([left, right], height=3, width=8)
    assert mask.max() == 1
    np.testing.assert_array_equal(mask.sum(axis=0), [3, 3, 3, 3, 3, 3, 0, 0])


def test_uncompressed_run_lengths_go_down_the_columns():
    mask = decode_segmentation({"size": [2, 3], "counts": [1, 3, 2]}, height=2, width=3)
    np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 1, 0]])


def test_a_compressed_rle_comes_back_as_it_was_drawn():
    drawn = np.random.default_rng(0).random((37, 53)) > 0.5
    np.testing.assert_array_equal(decode_segmentation(rle_of(drawn), 37, 53), drawn)


def test_a_list_of_rles_is_united():
    left, right = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[:, :2], right[1, :] = True, True
    np.testing.assert_array_equal(decode_segmentation([rle_of(left), rle_of(right)], 4, 6), left | right)


@pytest.mark.parametrize(
    "segmentation",
    [[[2, 1, 6, 1, 6, 4, 2, 4]], {"size": [5, 8], "counts": [3, 4, 33]}],
)
def test_the_form_of_a_row_decodes_like_the_source(segmentation):
    row_form = encode_segmentation(segmentation, 5, 8)
    assert sorted(row_form) == ["counts", "polygons", "size"]
    np.testing.assert_array_equal(decode_segmentation(row_form, 5, 8), decode_segmentation(segmentation, 5, 8))


@pytest.mark.parametrize("absent", [None, [], [[]], [[1.0, 2.0, 3.0, 4.0]]])
def test_an_absent_mask_stays_absent_and_never_becomes_an_empty_one(absent):
    assert encode_segmentation(absent, 5, 8) is None
    assert decode_segmentation(absent, 5, 8) is None


@pytest.mark.parametrize(
    "empty",
    [
        {"size": [5, 8], "counts": [40]},
        rle_of(np.zeros((5, 8), bool)),
        [[1, 1, 3, 1, 6, 1]],
        [[20, 20, 30, 20, 30, 30]],
        [[3.1, 3.1, 3.3, 3.1, 3.3, 3.3, 3.1, 3.3]],
    ],
    ids=["run lengths of zeros", "an RLE of zeros", "corners on a line", "outside", "too small"],
)
def test_a_mask_without_a_pixel_is_an_absent_one(empty):
    assert decode_segmentation(empty, 5, 8) is None


def test_a_polygon_of_two_corners_is_left_out_beside_a_whole_one():
    whole = [2, 1, 6, 1, 6, 4, 2, 4]
    assert encode_segmentation([whole, [0, 0, 7, 4]], 5, 8)["polygons"] == [whole]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5, 6, 7]], "x, y pairs"),
        ([[1, 2, 3, float("nan"), 5, 6]], "finite"),
        ("polygon", "got str"),
        ({"counts": [1, 2]}, "'size' and 'counts'"),
        ({"size": [8, 5], "counts": [40]}, "the image"),
        ({"size": [5, 8], "counts": [3, 4]}, "sum to 7"),
    ],
)
def test_what_is_no_mask_is_named(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode_segmentation(segmentation, 5, 8)


def test_a_cut_rle_string_is_refused_and_not_filled_with_chance():
    rle = rle_of(np.random.default_rng(1).random((30, 40)) > 0.5)
    for length in range(len(rle["counts"])):
        with pytest.raises(ValueError, match="RLE string"):
            decode_segmentation({"size": [30, 40], "counts": rle["counts"][:length] or "~"}, 30, 40)


def test_points_in_pairs_are_a_polygon_and_several_lists_of_them_several():
    flat = encode_segmentation([[4, 6, 14, 6, 14, 26, 4, 26]], 30, 40)
    pairs = [[4, 6], [14, 6], [14, 26], [4, 26]]
    assert encode_segmentation(pairs, 30, 40) == encode_segmentation([pairs], 30, 40) == flat
    two = encode_segmentation([pairs, [[20, 2], [30, 2], [30, 9]]], 30, 40)
    assert two["polygons"] == [flat["polygons"][0], [20, 2, 30, 2, 30, 9]]
    assert decode_segmentation([[20, 2], [30, 2], [30, 9]], 30, 40).sum() > 20


def test_a_polygon_without_three_corners_is_no_mask_and_the_log_says_so(caplog):
    assert encode_segmentation([[4, 6, 14, 6]], 30, 40) is None
    assert "has no polygon of three corners" in caplog.text


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[4, 6, 2e9, 6, 14, 26]], "reaches to 2e"),
        ([[4, 6, 14, 6, 14, 1e308]], "reaches to 1e"),
        ({"size": [30, 40], "counts": [600.5, 599.5]}, "must be whole numbers"),
        ({"size": [30, 40], "counts": [-5, 1205]}, "sum to 1200"),
        ({"size": [2**40, 2**40], "counts": [0, 2**80]}, "is of no image"),
        ([{"size": [30, 40], "counts": [1200]}, [4, 6, 14, 6, 14, 26]], "this list has both"),
    ],
)
def test_what_native_code_must_not_see_is_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        encode_segmentation(segmentation, None, None)


def test_the_mask_of_no_object_is_known_and_has_no_pixel():
    assert encode_segmentation(NO_OBJECT, 5, 8) == NO_OBJECT
    mask = decode_segmentation(NO_OBJECT, 5, 8)
    assert mask.shape == (5, 8) and mask.dtype == np.uint8 and not mask.any()


LEFT, RIGHT = [[1, 1, 3, 1, 3, 4, 1, 4]], [[5, 0, 8, 0, 8, 2, 5, 2]]
RUNS = {"size": [5, 8], "counts": [35, 5]}  # the last column


def test_several_objects_have_one_mask():
    assert unite_segmentations([LEFT, RIGHT], 5, 8) == NO_OBJECT | {"polygons": LEFT + RIGHT}
    for parts in ([LEFT, RIGHT, RUNS], [RUNS, LEFT]):
        united = unite_segmentations(parts, 5, 8)
        assert united["polygons"] is None
        expected = np.logical_or.reduce([decode_segmentation(part, 5, 8) for part in parts])
        np.testing.assert_array_equal(decode_segmentation(united, 5, 8), expected)


def test_the_mask_of_one_object_is_its_own_and_that_of_none_is_of_no_object():
    assert unite_segmentations([RUNS], 5, 8) == encode_segmentation(RUNS, 5, 8)
    assert unite_segmentations([LEFT], None, None) == encode_segmentation(LEFT, None, None)
    assert unite_segmentations([], 5, 8) == NO_OBJECT


@pytest.mark.parametrize("unknown", [None, [], [[1.0, 2.0, 3.0, 4.0]]])
def test_where_the_mask_of_one_of_several_objects_is_unknown_that_of_all_is(unknown):
    assert unite_segmentations([LEFT, unknown, RUNS], 5, 8) is None


def test_the_size_of_an_rle_is_the_images_where_no_other_is_known():
    united = unite_segmentations([LEFT, RUNS], None, None)
    np.testing.assert_array_equal(united["size"], [5, 8])
    with pytest.raises(ValueError, match=r"the RLE has size \[8, 5\], the image \[5, 8\]"):
        unite_segmentations([RUNS, LEFT, {"size": [8, 5], "counts": [40]}], None, None)


def test_only_zeros_and_no_object_are_without_pixels():
    zeros = {"size": [5, 8], "counts": [40]}
    given = [NO_OBJECT, zeros, RUNS, LEFT]
    assert [is_without_pixels(encode_segmentation(mask, 5, 8)) for mask in given] == [True, True, False, False]
