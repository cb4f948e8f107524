import pickle

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from plvl.data import ROW_FEATURES, decode_segmentation, load_grounding_dataset


def texts(dataset):
    return [row["text"] for row in dataset]


def test_one_row_has_the_schema_and_the_values_of_the_labels(refer_set):
    dataset = load_grounding_dataset("refcoco", "val", **refer_set.roots)
    assert isinstance(dataset, IterableDataset)
    assert dataset.features == ROW_FEATURES
    row = next(iter(dataset))
    assert list(row) == list(ROW_FEATURES)
    assert row["image"].size == (40, 30)
    assert row["boxes"] == [[4.0, 6.0, 10.0, 20.0]]
    assert row["segmentation"]["polygons"] == [
        [4, 6, 14, 6, 14, 16, 4, 16],
        [4, 16, 14, 16, 14, 26, 4, 26],
    ]
    plain = {key: row[key] for key in list(ROW_FEATURES)[4:]} | {"text": row["text"]}
    assert plain == {
        "text": "white board 5",
        "height": 30,
        "width": 40,
        "image_id": 5,
        "ref_id": 5,
        "sent_id": 50,
        "category": "board",
        "dataset": "refcoco",
        "split": "val",
        "file_name": "COCO_train2014_000000000005.jpg",
    }


def test_a_split_has_exactly_its_expressions(refer_set):
    assert sorted(texts(load_grounding_dataset("refcoco", "train", **refer_set.roots))) == sorted(
        f"{words} board {number}" for number in range(1, 5) for words in ("white", "the")
    )
    assert texts(load_grounding_dataset("refcoco", "testA", **refer_set.roots)) == ["the crowd"]


def test_streamed_and_cached_rows_are_the_same(refer_set):
    refer_set.instances["annotations"][0]["segmentation"] = []
    refer_set.write()
    streamed = load_grounding_dataset("refcoco", "train", **refer_set.roots)
    cached = load_grounding_dataset("refcoco", "train", streaming=False, **refer_set.roots)
    assert isinstance(cached, Dataset)
    for one, other in zip(streamed, cached, strict=True):
        assert one["image"].tobytes() == other["image"].tobytes()
        assert {**one, "image": None} == {**other, "image": None}
    assert cached[0]["segmentation"] is None


def test_a_crowd_given_as_run_lengths_is_a_mask(refer_set):
    row = next(iter(load_grounding_dataset("refcoco", "testA", **refer_set.roots)))
    assert isinstance(row["segmentation"]["counts"], str)
    mask = decode_segmentation(row["segmentation"], row["height"], row["width"])
    assert mask[:, :2].all() and not mask[:, 2:].any()


def test_images_are_not_read_before_their_row_is(refer_set):
    for image in refer_set.image_folder.glob("*6.jpg"):
        image.write_bytes(b"no image")
    rows = iter(load_grounding_dataset("refcoco", "val", **refer_set.roots))
    assert next(rows)["text"] == "white board 5"


@pytest.mark.parametrize("streaming", [True, False])
def test_changed_labels_are_read_again(refer_set, streaming):
    how = refer_set.roots | {"streaming": streaming}
    assert texts(load_grounding_dataset("refcoco", "testA", **how)) == ["the crowd"]
    refer_set.references[-1]["sentences"][0]["sent"] = "people"
    refer_set.write()
    assert texts(load_grounding_dataset("refcoco", "testA", **how)) == ["people"]


def test_an_unknown_split_lists_the_splits_there_are(refer_set):
    with pytest.raises(ValueError, match="'test'; it has testA, train, val"):
        load_grounding_dataset("refcoco", "test", **refer_set.roots)


def test_an_unknown_name_lists_the_names_there_are(refer_set):
    with pytest.raises(ValueError, match="'refcocoo'; known are .*refcoco, refcoco"):
        load_grounding_dataset("refcocoo", "train", **refer_set.roots)


def test_missing_files_are_named_with_the_layout_expected(refer_set):
    with pytest.raises(FileNotFoundError, match=r"refs\(google\)\.p is missing: refcoco needs .*instances\.json"):
        load_grounding_dataset("refcoco", "train", split_by="google", **refer_set.roots)
    with pytest.raises(FileNotFoundError, match="refcocog.*no such folder"):
        load_grounding_dataset("refcocog", "train", **refer_set.roots)
    refer_set.instances_file.unlink()
    with pytest.raises(FileNotFoundError, match=r"instances\.json is missing"):
        load_grounding_dataset("refcoco", "train", **refer_set.roots)


def test_a_missing_folder_of_images_is_named(refer_set, tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere/mscoco/images/train2014 is missing"):
        load_grounding_dataset("refcoco", "train", tmp_path / "elsewhere", refer_set.roots["label_root"])


def test_label_files_cut_in_half_are_named(refer_set):
    whole = refer_set.instances_file.read_text(encoding="utf-8")
    refer_set.instances_file.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"instances\.json: cut short or no JSON"):
        load_grounding_dataset("refcoco", "train", **refer_set.roots)


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({"ref_id": 1}, "a list is expected, this is dict"),
        ([5], "entry 0: an object with ref_id"),
        ([{"ref_id": 1}], "entry 0: 'ann_id' is missing"),
        ("sentences", "reference 6, sentences, entry 0: 'sent' is missing"),
    ],
)
@pytest.mark.parametrize("name", ["refcoco", "mixed_coco"])
def test_references_of_another_form_are_named(refer_set, references, message, name):
    if references == "sentences":
        del refer_set.references[5]["sentences"][0]["sent"]
        references = refer_set.references
    refer_set.refs_file.write_bytes(pickle.dumps(references))
    with pytest.raises(ValueError, match=rf"refs\(unc\)\.p.*{message}"):
        load_grounding_dataset(name, "train", **refer_set.roots)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda instances: instances.pop("images"), "'images' is missing"),
        (lambda instances: instances["images"][2].pop("height"), "images, entry 2: 'height' is missing"),
        (lambda instances: instances["categories"].append(5), "categories, entry 2: an object"),
        (lambda instances: instances["annotations"][1].pop("bbox"), "annotation 102: 'bbox' is None"),
        (lambda instances: instances["annotations"][1].update(bbox=5), "annotation 102: 'bbox' is 5"),
    ],
)
def test_instances_of_another_form_are_named(refer_set, change, message):
    change(refer_set.instances)
    refer_set.write()
    with pytest.raises(ValueError, match=rf"instances\.json.*{message}"):
        load_grounding_dataset("refcoco", "train", **refer_set.roots)


@pytest.mark.parametrize("segmentation", [5, [5], {"size": 5, "counts": [1]}, {"size": [30, 40], "counts": [None]}])
def test_a_mask_that_is_none_at_all_is_named(refer_set, segmentation):
    refer_set.instances["annotations"][4]["segmentation"] = segmentation
    refer_set.write()
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p, reference 5, annotation 105: "):
        list(load_grounding_dataset("refcoco", "val", **refer_set.roots))


def test_a_mask_that_cannot_be_read_names_file_reference_and_annotation(refer_set):
    refer_set.instances["annotations"][4]["segmentation"] = [[1, 2, 3, 4, 5, 6, 7]]
    refer_set.write()
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p, reference 5, annotation 105: a polygon"):
        list(load_grounding_dataset("refcoco", "val", **refer_set.roots))


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_is_seen_once_whatever_the_processes_and_workers(refer_set, processes, workers):
    whole = load_grounding_dataset("refcoco", "train", **refer_set.roots).select_columns(["text"])
    seen = []
    for rank in range(processes):
        part = split_dataset_by_node(whole, rank, processes)
        seen += [row["text"] for row in DataLoader(part, batch_size=None, num_workers=workers)]
    assert sorted(seen) == sorted(texts(whole))


def test_the_dataset_travels_to_workers_without_its_index(refer_set):
    def pickled_size():
        return len(pickle.dumps(load_grounding_dataset("refcoco", "testA", **refer_set.roots)))

    before = pickled_size()
    refer_set.instances["images"] *= 200
    refer_set.write()
    # A few bytes of bookkeeping may differ; the images would be many thousands.
    assert abs(pickled_size() - before) < 500


def test_the_two_real_photographs_are_read(mini_refer):
    rows = {split: list(load_grounding_dataset("refcoco", split, **mini_refer)) for split in ("train", "val")}
    assert {split: len(part) for split, part in rows.items()} == {"train": 17, "val": 3}
    for split, expected in {"testA": 4, "testB": 4}.items():
        assert len(list(load_grounding_dataset("refcoco", split, **mini_refer))) == expected
    for row in rows["train"] + rows["val"]:
        assert row["image"].size == (row["width"], row["height"])
        ((left, top, width, height),) = row["boxes"]
        mask = decode_segmentation(row["segmentation"], row["height"], row["width"])
        ys, xs = np.nonzero(mask)
        corners = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(corners, [left, top, left + width, top + height], atol=2)
