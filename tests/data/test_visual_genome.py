import json
import tracemalloc

import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image

from plvl.data import load_grounding_dataset, visual_genome


def region(region_id, image_id, phrase, x=2):
    box = {"width": 10, "height": 8, "y": 3, "x": x}
    return {"region_id": region_id, "image_id": image_id, "phrase": phrase, **box}


def write(folder, entries, images):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "region_descriptions.json").write_text(json.dumps(entries))
    (folder / "image_data.json").write_text(json.dumps(images))


@pytest.fixture
def genome(tmp_path):
    """Three images, each in another of the folders they may lie in; the last comes from COCO."""
    image_folder = tmp_path / "images/visual-genome"
    for number, folder in {1: "VG_100K", 2: "VG_100K_2", 3: ""}.items():
        (image_folder / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(image_folder / folder / f"{number}.jpg")
    entries = [
        {"regions": [region(11, 1, "a clock"), region(12, 1, "the wall, {green}], [")], "id": 1},
        {"regions": [], "id": 2},
        {"regions": [region(31, 3, 'café "x", {"image_id": 1}', x=5)], "id": 3},
    ]
    images = [
        {"image_id": number, "width": 40, "height": 30, "coco_id": 77 if number == 3 else None} for number in (1, 2, 3)
    ]
    write(tmp_path / "labels/visual-genome", entries, images)
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


def test_every_region_is_a_row_without_a_mask(genome):
    rows = list(load_grounding_dataset("visual_genome", "train", **genome))
    assert [row["text"] for row in rows] == [
        "a clock",
        "the wall, {green}], [",
        'café "x", {"image_id": 1}',
    ]
    assert {key: rows[2][key] for key in ("boxes", "segmentation", "image_id", "ref_id", "file_name")} == {
        "boxes": [[5.0, 3.0, 10.0, 8.0]],
        "segmentation": None,
        "image_id": 3,
        "ref_id": 31,
        "file_name": "3.jpg",
    }
    assert rows[0]["file_name"] == "VG_100K/1.jpg"
    assert (rows[0]["height"], rows[0]["width"]) == (30, 40)


def test_text_written_as_utf8_is_read_as_that(genome):
    path = genome["label_root"] / "visual-genome/region_descriptions.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False), encoding="utf-8")
    rows = list(load_grounding_dataset("visual_genome", "train", **genome))
    assert rows[-1]["text"].startswith("café")


def test_the_parts_of_the_file_are_dealt_out(genome):
    whole = load_grounding_dataset("visual_genome", "train", **genome)
    parts = [[row["ref_id"] for row in split_dataset_by_node(whole, rank, 2)] for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == [11, 12, 31]
    assert all(parts)


def test_images_that_are_held_out_elsewhere_are_left_out_and_counted(genome):
    source = visual_genome.open_split("visual_genome", "train", **genome, hold_back=frozenset({77, 1}))
    rows = [row for shard in source.shards for row in source.read_rows(shard, **source.where)]
    assert [row["ref_id"] for row in rows] == [11, 12]
    assert (source.num_rows, source.held_back) == (2, 1)


def test_the_set_has_no_other_split_than_train(genome):
    with pytest.raises(ValueError, match="'val'; it has train"):
        load_grounding_dataset("visual_genome", "val", **genome)


def test_a_region_file_cut_in_half_is_named(genome):
    path = genome["label_root"] / "visual-genome/region_descriptions.json"
    path.write_text(path.read_text(encoding="utf-8")[:150])
    with pytest.raises(ValueError, match=r"region_descriptions\.json: cut short"):
        load_grounding_dataset("visual_genome", "train", **genome)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_data.json", {"images": []}, "a list is expected, this is dict"),
        ("image_data.json", [{"image_id": 1}], "entry 0: 'height' is missing"),
        ("region_descriptions.json", [{"id": 1, "regions": [{"phrase": "x"}]}], "image 1, regions, entry 0"),
        ("region_descriptions.json", [{"regions": []}], "image None: 'id' is missing"),
    ],
)
def test_labels_of_another_form_are_named(genome, file, content, message):
    (genome["label_root"] / "visual-genome" / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{file}.*{message}"):
        list(load_grounding_dataset("visual_genome", "train", **genome))


def test_memory_does_not_grow_with_the_number_of_rows(genome):
    folder = genome["label_root"] / "visual-genome"
    images = json.loads((folder / "image_data.json").read_text(encoding="utf-8"))

    def peak_of_reading(num_entries):
        entries = [
            {"regions": [region(100, number, "a word " * 20) for _ in range(50)], "id": number}
            for number in range(num_entries)
        ]
        write(folder, entries, images)
        del entries
        source = visual_genome.open_split("visual_genome", "train", **genome)
        tracemalloc.start()
        rows = sum(1 for shard in source.shards for _ in source.read_rows(shard, **source.where))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return rows, peak

    (few, small), (many, large) = peak_of_reading(150), peak_of_reading(600)
    assert (few, many) == (7_500, 30_000)
    assert large < 1.2 * small + 100_000
