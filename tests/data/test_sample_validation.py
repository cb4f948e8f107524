"""The rule for each defect of a row; docs/data.md lists them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.utils.data import DataLoader

from odd_exif import odd_exif
from plvl.data import load_grounding_dataset, refer
from plvl.data.image_files import open_image
from plvl.data.row_streams import checked_stream, unopened_stream
from plvl.data.sample_validation import SKIPPED, SampleDefect, SampleValidator, TooManySkippedError, sanitize_sample
from plvl.processing.image_input import read_image


@pytest.fixture
def row(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (40, 30), "red").save(path)
    return {
        "image": {"path": str(path), "bytes": None},
        "text": "the board",
        "boxes": [[4.0, 6.0, 10.0, 20.0]],
        "segmentation": None,
        "height": 30,
        "width": 40,
        "image_id": 1,
        "ref_id": 2,
        "sent_id": 3,
        "category": None,
        "dataset": "refcoco",
        "split": "val",
        "file_name": "image.jpg",
    }


def damage(row, defect, tmp_path):
    """The row with one defect of SKIPPED."""
    path = tmp_path / "damaged.png"
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    if defect == "image unreadable":
        path.write_bytes(path.read_bytes()[:-500])
    damages = {
        "annotation without an image": {"image": None, "height": None, "width": None, "file_name": None},
        "image missing": {"image": {"path": str(tmp_path / "nowhere.jpg"), "bytes": None}},
        "image unreadable": {"image": {"path": str(path), "bytes": None}},
        "image too large": {},
        "image of another size": {"height": 60, "width": 80},
        "expression empty": {"text": "  "},
        "expression unreadable": {"text": "a cup \ud83d"},
        "box missing or not finite": {"boxes": [[4.0, float("nan"), 10.0, 20.0]]},
        "box empty": {"boxes": [[4.0, 6.0, 0.0, 20.0]]},
        "box outside the image": {"boxes": [[50.0, 6.0, 10.0, 20.0]]},
    }
    return row | damages[defect]


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([4.0, 6.0, 10.0, 30.0], [4.0, 6.0, 10.0, 24.0]),
        ([4.0, -3.0, 10.0, 20.0], [4.0, 0.0, 10.0, 17.0]),
        ([35.0, 6.0, 10.0, 20.0], [35.0, 6.0, 5.0, 20.0]),
        ([-4.0, 6.0, 10.0, 20.0], [0.0, 6.0, 6.0, 20.0]),
        ([4.0, 30.0, 10.0, 5.0], None),
        ([4.0, -5.0, 10.0, 5.0], None),
        ([40.0, 6.0, 10.0, 5.0], None),
        ([-10.0, 6.0, 10.0, 5.0], None),
    ],
)
def test_a_box_is_cut_at_each_edge_and_skipped_beyond_it(row, box, inside):
    checked = SampleValidator({"refcoco": 1000})(row | {"boxes": [box]})
    assert (checked and checked["boxes"]) == (inside and [inside])


def test_a_box_that_lies_inside_is_given_back_to_the_last_bit(row):
    box = [1.1, 2.7, 5.3, 0.7]
    assert (1.1 + 5.3) - 1.1 > 5.3
    assert sanitize_sample(row | {"boxes": [box]})["boxes"] == [box]


def test_boxes_as_shares_of_the_image_are_warned_of_once(row, caplog):
    check = SampleValidator({"refcoco": 1000})
    with caplog.at_level(logging.WARNING):
        check(row)
        assert "within one pixel" not in caplog.text
        for box in ([0.1, 0.2, 0.5, 0.25], [0.3, 0.3, 0.4, 1.0]):
            check(row | {"boxes": [box]})
    assert caplog.text.count("lies within one pixel. Are boxes given as shares of the image?") == 1
    assert "the box [0.1, 0.2, 0.5, 0.25]" in caplog.text


@pytest.mark.parametrize("defect", SKIPPED)
def test_each_defect_is_skipped_counted_and_warned_of(row, defect, tmp_path, monkeypatch, caplog):
    if defect == "image too large":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    check = SampleValidator({"refcoco": 1000})
    with caplog.at_level(logging.WARNING):
        assert check(damage(row, defect, tmp_path)) is None
    assert check.skipped == {defect: 1}
    assert defect in caplog.text and "refcoco val, reference 2, expression 3 (" in caplog.text


@pytest.mark.parametrize("defect", SKIPPED)
def test_each_defect_is_listed_in_the_documentation(defect):
    documentation = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    lines = [line for line in documentation.splitlines() if line.startswith(f"| {defect}")]
    assert len(lines) == 1 and lines[0].endswith("| skipped |")


@pytest.mark.parametrize("box", [None, [1.0, 2.0, 3.0], [1.0, None, 3.0, 4.0], [1, 2, "3", 4]])
def test_what_is_no_box_is_a_missing_one(row, box):
    with pytest.raises(SampleDefect, match="box missing"):
        sanitize_sample(row | {"boxes": [box]})


def test_a_decompression_bomb_by_pillows_own_error_is_too_large(row, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(SampleDefect, match="image too large"):
        sanitize_sample(row)


def test_a_truncated_jpeg_is_unreadable(row):
    path = Path(row["image"]["path"])
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SampleDefect, match="image unreadable.*image.jpg"):
        sanitize_sample(row)


def test_a_box_that_leaves_the_image_is_cut_to_it(row):
    sanitized = sanitize_sample(row | {"boxes": [[-5, 10, 20, 100]]})
    assert sanitized["boxes"] == [[0.0, 10.0, 15.0, 20.0]]
    assert sanitize_sample(row)["boxes"] == [[4.0, 6.0, 10.0, 20.0]]


def test_the_size_is_filled_in_where_the_labels_do_not_say(row):
    sanitized = sanitize_sample(row | {"height": None, "width": None})
    assert (sanitized["height"], sanitized["width"]) == (30, 40)


def test_white_space_around_an_expression_goes(row):
    assert sanitize_sample(row | {"text": " the board\n"})["text"] == "the board"


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "1", "LA"])
def test_images_of_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new("RGB", (8, 6), "white").convert(mode).save(path)
    image = open_image({"path": str(path), "bytes": None})
    assert image.mode == "RGB"
    assert np.asarray(image).min() >= 250


def test_sixteen_bits_become_eight_by_their_upper_half(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)).save(path)
    image = open_image({"path": str(path), "bytes": None})
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def rotated_jpeg(path):
    """Stored 40 x 30 with the left half red, to be shown turned by 90 degrees: 30 x 40."""
    image = Image.new("RGB", (40, 30), "blue")
    image.paste("red", (0, 0, 20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif, quality=95)


def test_an_image_with_an_exif_rotation_is_turned_upright(tmp_path):
    path = tmp_path / "image.jpg"
    rotated_jpeg(path)
    for labelled in [(None, None), (40, 30)]:
        image = open_image({"path": str(path), "bytes": None}, *labelled)
        assert image.size == (30, 40)
        red, _, blue = image.getpixel((15, 2))
        assert red > 200 and blue < 60, "the left edge of the stored image is not on top"


def test_an_image_labelled_as_it_is_stored_is_not_turned(tmp_path):
    path = tmp_path / "image.jpg"
    rotated_jpeg(path)
    image = open_image({"path": str(path), "bytes": None}, height=30, width=40)
    assert image.size == read_image(image).size == (40, 30), "turned by who is given it"


@pytest.mark.parametrize("streaming", [True, False])
def test_streamed_and_cached_images_are_sanitized_alike(refer_set, streaming):
    first, second = sorted(refer_set.image_folder.iterdir())[4:]
    rotated_jpeg(first)
    Image.fromarray(np.full((30, 40), 256 * 200, dtype=np.uint16)).save(second, format="PNG")
    dataset = load_grounding_dataset("refcoco", "val", streaming=streaming, **refer_set.roots)
    rows = list(dataset)
    assert [row["image"].size for row in rows] == [(40, 30)] * 4
    assert [row["image"].mode for row in rows] == ["RGB"] * 4
    assert rows[-1]["image"].getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize("streaming", [True, False])
def test_an_image_whose_exif_is_damaged_is_a_row_as_any(refer_set, streaming):
    first, second = sorted(refer_set.image_folder.iterdir())[4:]
    turned, notes = Image.new("RGB", (30, 40), "red"), PngInfo()
    turned.save(first, exif=odd_exif(6))
    notes.add_text("Raw profile type exif", "\nexif\n 10\nno numbers")
    Image.new("RGB", (40, 30), "blue").save(second, format="PNG", pnginfo=notes)
    rows = list(load_grounding_dataset("refcoco", "val", streaming=streaming, **refer_set.roots))
    assert [row["image"].size for row in rows] == [(40, 30)] * 4
    assert rows[0]["image"].getpixel((9, 9))[0] > 200 and rows[-1]["image"].getpixel((9, 9)) == (0, 0, 255)


def many_rows(refer_set, count, empty):
    """A val split of `count` expressions, the last `empty` of which say nothing."""
    reference = refer_set.references[4]
    reference["sentences"] = [
        {"sent_id": number, "sent": "" if number >= count - empty else f"board {number}"} for number in range(count)
    ]
    refer_set.references[:] = [reference]
    refer_set.write()


@pytest.mark.parametrize("streaming", [True, False])
def test_up_to_one_percent_is_skipped(refer_set, streaming):
    many_rows(refer_set, 200, empty=2)
    dataset = load_grounding_dataset("refcoco", "val", streaming=streaming, **refer_set.roots)
    assert len(list(dataset)) == 198
    assert len(list(dataset)) == 198, "the second pass counts on from the first"


@pytest.mark.parametrize("streaming", [True, False])
def test_more_than_one_percent_stops_the_run_unless_told_otherwise(refer_set, streaming):
    many_rows(refer_set, 200, empty=3)
    arguments = refer_set.roots | {"streaming": streaming}
    with pytest.raises(TooManySkippedError, match="more than 1.0%.*'expression empty': 3.*expression 199"):
        list(load_grounding_dataset("refcoco", "val", **arguments))
    assert len(list(load_grounding_dataset("refcoco", "val", max_skipped=0.02, **arguments))) == 197


def test_the_workers_of_one_process_are_counted_together(refer_set):
    for image in sorted(refer_set.image_folder.iterdir())[:2]:
        image.write_bytes(b"no image")
    source = refer.open_split("refcoco", "train", **refer_set.roots)
    check = SampleValidator({"refcoco": source.num_rows}, max_skipped=0.5)
    stream = checked_stream(unopened_stream(source, "train"), check).select_columns(["text"])
    assert len(list(DataLoader(stream, batch_size=None, num_workers=2))) == 4
    # Images 1 and 2, and so these rows, were given to different workers.
    assert check.skipped == {"image unreadable": 4}


def test_a_small_set_is_not_lost_in_a_large_one(row):
    check = SampleValidator({"refcoco": 100, "visual_genome": 100_000})
    empty = row | {"text": ""}
    assert [check(empty | {"dataset": "visual_genome"}) for _ in range(3)] == [None] * 3
    assert check(empty) is None
    with pytest.raises(TooManySkippedError, match="2 of 2 rows read of refcoco were skipped.*of the 100 rows"):
        check(empty)


def test_rows_of_parquet_are_counted_together_whatever_set_they_were_written_from(row):
    check = SampleValidator({"parquet": 100, "refcoco": 10_000})
    empty = row | {"text": ""}
    assert check(empty | {"dataset": "visual_genome"}) is check(empty) is None
    with pytest.raises(TooManySkippedError, match="2 of 2 rows read of parquet"):
        check(empty | {"dataset": "flickr30k"})


def test_counts_are_taken_up_again(row):
    first, second = SampleValidator({"refcoco": 200}), SampleValidator({"refcoco": 200})
    for text in ("x", "", ""):
        first(row | {"text": text})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert (second.seen, second.skipped) == (3, {"expression empty": 2})
    with pytest.raises(TooManySkippedError, match="3 of 4 rows"):
        second(row | {"text": ""})


@pytest.mark.parametrize("processes", [1, 2])
def test_each_of_several_processes_is_judged_on_its_share(row, processes, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    check = SampleValidator({"refcoco": 400})
    empty = row | {"text": ""}
    allowed = 4 // processes
    assert [check(empty) for _ in range(allowed)] == [None] * allowed
    with pytest.raises(TooManySkippedError):
        check(empty)


def test_a_reference_whose_annotation_or_image_is_not_in_the_labels_is_skipped(refer_set):
    refer_set.references[4]["ann_id"] = 999
    refer_set.references[5]["image_id"] = 999
    refer_set.write()
    stream = load_grounding_dataset("refcoco", "val", max_skipped=1, **refer_set.roots)
    assert list(stream) == []


def test_a_row_about_nothing_is_as_good_as_any(row, caplog):
    check = SampleValidator({"refcoco": 1000})
    assert check(row | {"boxes": []})["boxes"] == []
    assert not check.skipped and not caplog.text


def test_each_of_several_boxes_is_cut_and_none_is_left_out(row):
    boxes = [[4.0, 6.0, 10.0, 20.0], [-4.0, 6.0, 10.0, 30.0], [38.0, -1.0, 9.0, 4.0]]
    assert sanitize_sample(row | {"boxes": boxes})["boxes"] == [
        [4.0, 6.0, 10.0, 20.0],
        [0.0, 6.0, 6.0, 24.0],
        [38.0, 0.0, 2.0, 3.0],
    ]


@pytest.mark.parametrize(
    ("box", "defect"),
    [
        (None, "box missing or not finite"),
        ([4.0, float("inf"), 10.0, 20.0], "box missing or not finite"),
        ([4.0, 6.0, 10.0, -1.0], "box empty"),
        ([50.0, 6.0, 10.0, 20.0], "box outside the image"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_row_is_skipped_for_any_of_its_boxes(row, box, defect, place):
    boxes = row["boxes"][:]
    boxes.insert(place, box)
    check = SampleValidator({"refcoco": 1000})
    assert check(row | {"boxes": boxes}) is None
    assert check.skipped == {defect: 1}


def test_boxes_that_are_unknown_are_missing(row):
    with pytest.raises(SampleDefect, match="box missing or not finite: the boxes are None"):
        sanitize_sample(row | {"boxes": None})
