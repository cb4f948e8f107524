"""Sets of the Hub are read where they lie."""

import io
import logging
from collections import Counter

import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image
from torch.utils.data import DataLoader

from local_data_hub import local_data_hub, name_of, parquet_of, reference
from plvl.data import decode_segmentation, hub_sets, load_grounding_dataset
from plvl.data.mixtures import held_out_images
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import SampleValidator

REFCOCO, INSIDE = "jxu124/refcoco", "lmms-lab/RefCOCO"
SPLITS = {"train": (1, 2, 3, 4, 5), "validation": (6, 7), "test": (8,), "testB": (9, 2)}


def jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (20 * number, 60, 90)).save(file, "JPEG")
    return file.getvalue()


def object_with_image(number, answer, **changes):
    return {
        "question_id": str(number),
        "image": {"bytes": jpeg(number), "path": None},
        "question": "What is there?",
        "answer": answer,
        "segmentation": [4.0, 6.0, 14.0, 6.0, 14.0, 26.0, 4.0, 26.0],
        "bbox": [4.0, 6.0, 10.0, 20.0],
        "iscrowd": 0,
        "file_name": f"COCO_train2014_{number:012d}_{number % 3}.jpg",
    } | changes


@pytest.fixture
def hub(monkeypatch):
    with local_data_hub(monkeypatch) as server:
        rows = {
            split: [reference(n, [f"board {n}", f"the board {n}"], split) for n in numbers]
            for split, numbers in SPLITS.items()
        }
        files = {f"data/{split}-00000-of-00001-0a1b2c.parquet": parquet_of(rows[split]) for split in rows}
        server.repositories[REFCOCO] = {"README.md": b"no rows", **files}
        yield server


@pytest.fixture
def image_root(tmp_path):
    folder = tmp_path / "images/mscoco/images/train2014"
    folder.mkdir(parents=True)
    for number in range(1, 10):
        (folder / name_of(number)).write_bytes(jpeg(number))
    return tmp_path / "images"


@pytest.fixture
def with_images_inside(hub):
    rows = [object_with_image(n, [f"board {n}"] * (n % 2 + 1)) for n in (11, 12, 13)]
    hub.repositories[INSIDE] = {
        "data/val-00000-of-00002.parquet": parquet_of(rows[:2], row_group_size=1),
        "data/val-00001-of-00002.parquet": parquet_of(rows[2:]),
    }
    return rows


def texts(rows):
    return Counter(row["text"] for row in rows)


def boards(*numbers):
    return Counter(text for n in numbers for text in (f"board {n}", f"the board {n}"))


def test_a_reference_is_a_row_for_each_of_its_sentences(hub, image_root):
    rows = list(load_grounding_dataset(REFCOCO, "validation", image_root=image_root))
    assert texts(rows) == boards(6, 7)
    row = rows[1]
    assert row["boxes"] == [[4, 6, 10, 20]]
    assert (row["image_id"], row["ref_id"], row["sent_id"]) == (6, 60, 601)
    assert (row["dataset"], row["split"], row["file_name"]) == (REFCOCO, "validation", name_of(6))
    assert row["image"].size == (40, 30) and (row["height"], row["width"]) == (30, 40)
    assert row["image"].getpixel((30, 20))[0] in range(115, 126), "the image of another row"
    mask = decode_segmentation(row["segmentation"], 30, 40)
    assert mask[6:26, 4:14].all() and mask.sum() == 200


def test_splits_answer_to_the_names_of_the_project(hub, image_root):
    for asked, there in (("val", (6, 7)), ("testA", (8,)), ("test", (8,)), ("testB", (9, 2))):
        assert texts(load_grounding_dataset(REFCOCO, asked, image_root=image_root)) == boards(*there)
    with pytest.raises(ValueError, match="on the Hub has no split 'testC'; it has test, testB, train, validation"):
        load_grounding_dataset(REFCOCO, "testC", image_root=image_root)


def test_a_test_split_is_no_test_a_where_there_is_no_test_b(hub, image_root):
    files = hub.repositories[REFCOCO]
    del files["data/testB-00000-of-00001-0a1b2c.parquet"]
    with pytest.raises(ValueError, match="no split 'testA'"):
        load_grounding_dataset(REFCOCO, "testA", image_root=image_root)


def test_images_may_lie_in_image_root_itself(hub, image_root):
    rows = load_grounding_dataset(REFCOCO, "val", image_root=image_root / "mscoco/images/train2014")
    assert texts(rows) == boards(6, 7)
    with pytest.raises(ValueError, match="jxu124/refcoco needs image_root: its images are not inside"):
        load_grounding_dataset(REFCOCO, "val")


def test_row_groups_are_shards_that_processes_and_workers_divide(hub, image_root):
    rows = load_grounding_dataset(REFCOCO, "train", image_root=image_root)
    assert rows.num_shards == 3  # five references, two in a group
    parts = [texts(split_dataset_by_node(rows, rank, 3)) for rank in range(3)]
    assert sorted(map(len, parts)) == [2, 4, 4] and sum(parts, Counter()) == boards(1, 2, 3, 4, 5)
    loader = DataLoader(rows.remove_columns("image"), batch_size=None, num_workers=2)
    assert texts(loader) == boards(1, 2, 3, 4, 5)


def test_many_row_groups_are_few_shards(hub, image_root, monkeypatch, with_images_inside):
    monkeypatch.setattr(hub_sets, "MAX_SHARDS", 2)
    source = hub_sets.open_split(REFCOCO, "train", image_root)
    assert [shard[1:] for shard in source.shards] == [(0, 2, 0), (2, 3, 4)]
    assert source.num_rows == 10
    source = hub_sets.open_split(INSIDE, "val")
    assert [(shard[0][-22:-8], *shard[1:]) for shard in source.shards] == [
        ("00000-of-00002", 0, 2, 0),
        ("00001-of-00002", 0, 1, 2),
    ]


def test_images_inside_need_no_folder_and_are_not_read_to_count_rows(hub, with_images_inside):
    noise = io.BytesIO()
    Image.effect_noise((600, 500), 90).save(noise, "PNG")
    heavy = [object_with_image(n, ["it", "that"], image={"bytes": noise.getvalue() + bytes([n])}) for n in range(8)]
    hub.repositories[INSIDE]["data/test-00000-of-00001.parquet"] = parquet_of(heavy, row_group_size=1)
    hub.sent.clear()
    source = hub_sets.open_split(INSIDE, "test")
    assert source.num_rows == 16 and source.has_images_inside
    assert sum(size for _, size in hub.sent) < len(noise.getvalue())
    assert not [path for path, _ in hub.sent if "val-" in path], "files of another split were read"

    rows = list(load_grounding_dataset(INSIDE, "val"))
    assert texts(rows) == Counter({"board 11": 2, "board 12": 1, "board 13": 2})
    row = rows[-1]
    assert (row["image_id"], row["ref_id"], row["sent_id"]) == (13, 2, 201)
    assert row["boxes"] == [[4, 6, 10, 20]] and (row["height"], row["width"]) == (30, 40)
    assert row["image"].getpixel((30, 20))[0] >= 235
    assert decode_segmentation(row["segmentation"], 30, 40).sum() == 200


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"segmentation": [4.0, 6.0, 14.0, 6.0, 14.0, 16.0]}, "its other parts are not there"),
        ({"segmentation": [0.0, 60.0, 1140.0, 1.0, 2.0, 3.0], "iscrowd": 1}, "run lengths"),
        ({"segmentation": []}, "nothing"),
        ({"segmentation": None}, "nothing"),
    ],
)
def test_what_is_no_whole_polygon_is_an_unknown_mask(hub, changes, why):
    rows = [object_with_image(1, ["it"]), object_with_image(2, ["that"], **changes)]
    hub.repositories[INSIDE] = {"data/val-00000-of-00001.parquet": parquet_of(rows)}
    known, unknown = load_grounding_dataset(INSIDE, "val")
    assert known["segmentation"] and unknown["segmentation"] is None, why


@pytest.mark.parametrize("box", [[4.0, 6.0, 10.0], [4.0, 6.0, 10.0, 20.0, 1.0], [4.0, 6.0, None, 20.0], []])
def test_a_box_that_is_not_four_numbers_costs_its_row_alone(hub, box):
    rows = [object_with_image(1, ["it"]), object_with_image(2, ["that"], bbox=box)]
    hub.repositories[INSIDE] = {"data/val-00000-of-00001.parquet": parquet_of(rows)}
    assert texts(load_grounding_dataset(INSIDE, "val", max_skipped=0.5)) == Counter(["it"])


def test_numbers_that_are_text_are_read(hub):
    changes = {name: list(map(str, object_with_image(1, [])[name])) for name in ("bbox", "segmentation")}
    hub.repositories[INSIDE] = {
        "data/val-00000-of-00001.parquet": parquet_of([object_with_image(1, ["it"], **changes)])
    }
    [row] = load_grounding_dataset(INSIDE, "val")
    assert row["boxes"] == [[4, 6, 10, 20]]
    assert decode_segmentation(row["segmentation"], 30, 40).sum() == 200


@pytest.mark.parametrize("segmentation", [[[4.0, 6.0, 14.0, 6.0]] * 6, "4 6 14 6 14 26", {"counts": [1], "size": [2]}])
def test_a_mask_of_another_form_is_unknown(hub, segmentation):
    hub.repositories[INSIDE] = {
        "data/val-00000-of-00001.parquet": parquet_of([object_with_image(1, ["it"], segmentation=segmentation)])
    }
    [row] = load_grounding_dataset(INSIDE, "val")
    assert row["segmentation"] is None


def test_a_column_of_images_without_bytes_is_named_with_its_row(hub):
    hub.repositories[INSIDE] = {
        "data/val-00000-of-00001.parquet": parquet_of([object_with_image(1, ["it"], image={"path": "1.jpg"})])
    }
    with pytest.raises(ValueError, match=r"val-00000-of-00001\.parquet, row 0, image: 'bytes' is missing"):
        list(load_grounding_dataset(INSIDE, "val"))


def test_training_on_several_holds_back_the_images_of_their_other_splits(hub, image_root, caplog):
    """Image 2 is in testB, too."""
    other = [reference(n, [f"that {n}"]) for n in (1, 6, 8)]
    hub.repositories["jxu124/refcocoplus"] = {"data/train-00000-of-00001.parquet": parquet_of(other)}
    assert held_out_images(from_hub=[REFCOCO]) == {6, 7, 8, 9, 2}
    with caplog.at_level(logging.INFO):
        mixed = texts(load_grounding_dataset([REFCOCO, "jxu124/refcocoplus"], "train", image_root=image_root))
    assert mixed == boards(1, 3, 4, 5) + Counter(["that 1"])
    assert "held back 4 rows" in caplog.text and "(jxu124/refcoco 2, jxu124/refcocoplus 2)" in caplog.text
    alone = load_grounding_dataset(REFCOCO, "train", image_root=image_root)
    assert texts(alone) == boards(1, 2, 3, 4, 5), "a benchmark alone is used as its protocol says"


def test_one_with_labels_on_disk_holds_back_what_either_holds_out(hub, refer_set):
    """On disk images 5 and 6 are val and 1 is testA, on the Hub 2 and 6 to 9."""
    names = [REFCOCO, "refcoco"]
    folder = refer_set.image_folder
    for number in (3, 4):
        assert (folder / name_of(number)).is_file()
    mixed = texts(load_grounding_dataset(names, "train", **refer_set.roots))
    assert {text.split()[-1] for text in mixed} == {"3", "4"}


def test_a_cache_is_made_anew_when_the_hub_has_another_commit(hub, image_root):
    before = load_grounding_dataset(REFCOCO, "val", image_root=image_root, streaming=False)
    assert len(before) == 4
    file = "data/validation-00000-of-00001-0a1b2c.parquet"
    hub.repositories[REFCOCO][file] = parquet_of([reference(6, ["only this"])])
    after = load_grounding_dataset(REFCOCO, "val", image_root=image_root, streaming=False)
    assert texts(after) == Counter(["only this"])


def test_it_can_be_written_as_parquet_of_the_project(hub, with_images_inside, tmp_path):
    source = hub_sets.open_split(INSIDE, "val")
    rows = (row for shard in source.shards for row in source.read_rows(shard, **source.where))
    write_parquet(rows, SampleValidator({INSIDE: source.num_rows}), tmp_path, "val", {})
    again = list(load_grounding_dataset("parquet", "val", label_root=tmp_path))
    assert texts(again) == Counter({"board 11": 2, "board 12": 1, "board 13": 2})


def test_two_images_of_one_name_are_refused(hub, image_root):
    rows = [reference(1, ["a"]), reference(2, ["b"], image_path=f"coco/val2014/{name_of(1)}")]
    hub.repositories[REFCOCO] = {"data/train-00000-of-00001.parquet": parquet_of(rows)}
    with pytest.raises(
        ValueError, match=rf"refcoco train: two images are called {name_of(1)}: coco/train2014/.* and coco/val2014/"
    ):
        load_grounding_dataset(REFCOCO, "train", image_root=image_root)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"train.csv": b"text"}, "has no files data/<split>-00000-of-00001.parquet"),
        ({"data/train-00000-of-00001.parquet": b"<html>"}, r"train-00000-of-00001.parquet: cut short or no Parquet"),
        (
            {"data/train-00000-of-00001.parquet": parquet_of([{"text": "a", "label": 1}])},
            r"as jxu124/refcoco\) or .* \(as lmms-lab/RefCOCO\) are expected, there are text, label",
        ),
    ],
)
def test_a_repository_of_another_form_is_refused_by_name(hub, image_root, files, complaint):
    hub.repositories["someone/else"] = files
    with pytest.raises(ValueError, match=complaint):
        load_grounding_dataset("someone/else", "train", image_root=image_root)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"raw_anns": "[1, 2"}, "row 1, raw_anns: cut short or no JSON"),
        ({"raw_image_info": "[]"}, "row 1, raw_image_info: an object is expected, this is list"),
        ({"image_path": None}, "row 1: 'image_path' is None, text is expected"),
        ({"sentences": [{"sent": None, "sent_id": 1}]}, "row 1, sentences, entry 0: 'sent' is None"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(hub, image_root, changes, complaint):
    rows = [reference(1, ["a"]), reference(2, ["b"]) | changes]
    hub.repositories[REFCOCO] = {"data/train-00000-of-00001.parquet": parquet_of(rows)}
    with pytest.raises(ValueError, match=rf"train-00000-of-00001\.parquet, {complaint}"):
        list(load_grounding_dataset(REFCOCO, "train", image_root=image_root))


def test_a_hub_that_is_not_there_or_lacks_the_set_is_said(hub, image_root, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"^someone/nothing: the Hub does not give it \(404"):
        load_grounding_dataset("someone/nothing", "train", image_root=image_root)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"refcoco: the Hub does not give it \(.*offline.*prepare_data\.py"):
        load_grounding_dataset(REFCOCO, "train", image_root=image_root)


def test_an_unknown_name_is_told_of_the_hub(image_root):
    with pytest.raises(ValueError, match="unknown dataset 'refcocos'; known are .*, and user/set of the Hub"):
        load_grounding_dataset("refcocos", "train", image_root=image_root, label_root=image_root)
