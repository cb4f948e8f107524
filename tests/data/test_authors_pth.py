import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plvl.data import decode_segmentation, load_grounding_dataset
from plvl.data.loading import unopened_rows
from plvl.data.safe_pickle import UnsafePickleError

COCO = "COCO_train2014_000000000{}.jpg"
BOARD = (COCO.format(101), "coco", [4, 6, 10, 20], "the board", [])
WHOLE = [4, 6, 14, 6, 14, 26, 4, 26]
UPPER, LOWER = [4, 6, 14, 6, 14, 16, 4, 16], [4, 16, 14, 16, 14, 26, 4, 26]


class TouchesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def roots(tmp_path):
    for folder, name in {
        "mscoco/images/train2014": COCO.format(101),
        "flickr30k": "1001.jpg",
        "visual-genome/VG_100K_2": "7.jpg",
        "referit/images": "99.jpg",
    }.items():
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / folder / name)
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


def save(roots, name, split, entries, **how):
    path = roots["label_root"] / name / f"{name}_{split}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(entries, path, **how)
    return path


def load(roots, name, split="train"):
    return list(load_grounding_dataset(name, split, **roots))


@pytest.mark.parametrize(
    "entry",
    [
        (COCO.format(101), "coco", [4, 6, 10, 20, UPPER, LOWER], "the board", []),
        (COCO.format(101), "coco", [4, 6, 10, 20, [UPPER, LOWER]], "the board", []),
        (COCO.format(101), "coco", [4, 6, 10, 20, *WHOLE], "the board", []),
        (COCO.format(101), "coco", [4, 6, 10, 20], [UPPER, LOWER], "the board", []),
    ],
)
@pytest.mark.parametrize("name", ["unc", "unc+", "gref", "gref_umd", "mixed_coco"])
def test_the_refcoco_family_has_box_and_polygons(roots, name, entry):
    save(roots, name, "val", [entry])
    (row,) = load(roots, name, "val")
    assert (row["text"], row["boxes"], row["dataset"], row["split"]) == (
        "the board",
        [[4, 6, 10, 20]],
        name,
        "val",
    )
    assert (row["height"], row["width"], row["image_id"]) == (30, 40, 101)
    mask = decode_segmentation(row["segmentation"], 30, 40)
    assert mask[6:26, 4:14].all() and mask.sum() == 200


def test_flickr_has_three_members_and_corners(roots):
    save(roots, "flickr", "test", [("1001.jpg", [4, 6, 14, 26], "a boy")])
    (row,) = load(roots, "flickr", "test")
    assert (row["text"], row["boxes"], row["segmentation"]) == ("a boy", [[4, 6, 10, 20]], None)


def test_referit_has_corners(roots):
    save(roots, "referit", "train", [("99.jpg", "referit", [4, 6, 14, 26], "sky", ["r1"])])
    (row,) = load(roots, "referit")
    assert (row["boxes"], row["file_name"]) == ([[4, 6, 10, 20]], "referit/images/99.jpg")


@pytest.mark.parametrize(
    ("name", "image", "box"),
    [
        ("unc", COCO.format(101), [4, 6, 10, 20]),
        ("gref_umd", COCO.format(101), [4, 6, 10, 20]),
        ("referit", "99.jpg", [4, 6, 14, 26]),
    ],
)
def test_a_masks_file_name_in_the_sources_place_leads_to_the_sets_own_folder(roots, name, image, box):
    entry = (image, "225429.pth", box, "man on right", [("r1", ["man"])])
    save(roots, name, "val", [entry], _use_new_zipfile_serialization=False)
    (row,) = load(roots, name, "val")
    assert (row["boxes"], row["file_name"].rpartition("/")[2]) == ([[4, 6, 10, 20]], image)


PHOTOS = Path(__file__).parents[2] / "../shared/photos"


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real packs are not here")
@pytest.mark.parametrize(("name", "rows"), [("unc", 10834), ("gref_umd", 4896), ("flickr", 14433), ("referit", 5842)])
def test_packs_as_they_are_in_the_field_are_read_whole(tmp_path, name, rows):
    for folder in ("flickr30k", "referit/images", "mscoco/images/train2014"):
        (tmp_path / folder).mkdir(parents=True)
    stream, sources = unopened_rows(name, "val", tmp_path, PHOTOS / "packs")
    boxes = np.array([row["boxes"][0] for row in stream])
    assert len(boxes) == rows == sources[name].num_rows
    # Corners taken for sizes would reach far beyond such images, or turn inside out.
    assert (boxes[:, 2:] > 0).all() and (boxes[:, :2] + boxes[:, 2:]).max() <= 641


def test_the_source_of_a_mixed_pack_says_where_its_image_is(roots):
    entries = [
        (COCO.format(101), "coco", [4, 6, 10, 20], "the board", []),
        ("1001.jpg", "flickr", [4, 6, 10, 20], "a boy", []),
        ("7.jpg", "vg", [4, 6, 10, 20], "a tree", []),
    ]
    save(roots, "mixed_pretrain", "train", entries)
    assert Counter(row["text"] for row in load(roots, "mixed_pretrain")) == Counter(["the board", "a boy", "a tree"])


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("box", [np.array([4.0, 6.0, 10.0, 20.0]), torch.tensor([4.0, 6.0, 10.0, 20.0])])
def test_packs_of_new_and_old_torch_with_arrays_and_tensors_are_read(roots, how, box):
    save(roots, "unc", "train", [(COCO.format(101), "coco", box, "the board", [])], **how)
    assert load(roots, "unc")[0]["boxes"] == [[4, 6, 10, 20]]


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_pack_that_would_run_code_is_refused_before_it_runs(roots, tmp_path, how):
    trace = tmp_path / "trace"
    save(roots, "unc", "train", [TouchesAFile(trace)], **how)
    with pytest.raises(UnsafePickleError, match=rf"unc_train\.pth: refused.*{os.mkdir.__module__}\.mkdir"):
        load(roots, "unc")
    assert not trace.exists()


def test_a_plain_pickle_in_a_packs_place_is_read_with_the_same_care(roots, tmp_path):
    path = save(roots, "unc", "train", [])
    path.write_bytes(pickle.dumps([TouchesAFile(tmp_path / "trace")]))
    with pytest.raises(UnsafePickleError, match="refused"):
        load(roots, "unc")
    path.write_bytes(pickle.dumps([BOARD]))
    assert len(load(roots, "unc")) == 1


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_pack_cut_in_half_is_named(roots, how):
    path = save(roots, "unc", "train", [(COCO.format(101), "coco", [4, 6, 10, 20], "the board", [])] * 9, **how)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"unc_train\.pth: cut short"):
        load(roots, "unc")


def test_what_is_no_list_of_tuples_is_named(roots):
    save(roots, "unc", "train", {"model": {}})
    with pytest.raises(ValueError, match=r"unc_train\.pth: .pth labels must be a list of tuples, this is dict"):
        load(roots, "unc")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("a.jpg", "coco", [4, 6, 10], "x", []), "four numbers"),
        (("a.jpg", "coco", [4, 6, 10, 20], 5), "no phrase"),
        (("a.jpg", "coco"), "file, box and phrase is expected"),
        ((5, "coco", [4, 6, 10, 20], "x", []), "file, box and phrase is expected"),
        (("a.jpg", "coco", [4, 6, 10, 20], {"size": [30, 40]}, "x", []), "an RLE must have"),
    ],
)
def test_an_entry_of_another_form_is_named_with_file_and_row(roots, entry, message):
    save(roots, "unc", "train", [BOARD, entry])
    with pytest.raises(ValueError, match=rf"unc_train\.pth, entry 1: .*{message}"):
        load(roots, "unc")


def test_an_unknown_split_lists_the_packs_there_are(roots):
    save(roots, "unc+", "train", [])
    save(roots, "unc+", "testA", [])
    with pytest.raises(ValueError, match=r"unc\+ has no split 'val'; it has testA, train"):
        load(roots, "unc+", "val")
