import json

import datasets
import fsspec
import pyarrow
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from PIL import Image
from pyarrow import parquet

from plvl.data import load_grounding_dataset
from plvl.data.loading import unopened_rows
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import SampleValidator, TooManySkippedError
from plvl.data.schema import ROW_FEATURES
from plvl.scripts import prepare_data

# Smaller than any image: each image becomes a shard.
TINY = 0.0001
SIZES = {"refcoco": 8}


def prepare(refer_set, output, split="train", megabytes=TINY):
    roots = [f"--{key}={value}" for key, value in refer_set.roots.items()]
    size = f"--shard_megabytes={megabytes}"
    prepare_data.main(["refcoco", "--split", split, f"--output={output}", size, *roots])


def shard_files(output):
    return sorted(path.name for path in output.glob("*.parquet"))


def interrupted(rows, behind):
    for number, row in enumerate(rows):
        if number == behind:
            raise KeyboardInterrupt
        yield row


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("split", ["train", "testA"])
def test_rows_come_back_unchanged(refer_set, tmp_path, split, streaming):
    refer_set.instances["annotations"][0]["segmentation"] = []
    refer_set.write()
    prepare(refer_set, tmp_path / "out", split)
    before = load_grounding_dataset("refcoco", split, **refer_set.roots)
    after = load_grounding_dataset("parquet", split, label_root=tmp_path / "out", streaming=streaming)
    for one, other in zip(before, after, strict=True):
        assert one["image"].tobytes() == other["image"].tobytes()
        assert {**one, "image": None} == {**other, "image": None}


def test_shards_have_the_size_asked_for_and_each_is_read_by_one_process(refer_set, tmp_path):
    prepare(refer_set, tmp_path / "small")
    prepare(refer_set, tmp_path / "large", megabytes=1)
    assert len(shard_files(tmp_path / "small")) == 4
    assert shard_files(tmp_path / "large") == ["train-00000.parquet"]
    whole = load_grounding_dataset("parquet", "train", label_root=tmp_path / "small")
    parts = [{row["image_id"] for row in split_dataset_by_node(whole, rank, 2)} for rank in range(2)]
    assert [len(part) for part in parts] == [2, 2] and not parts[0] & parts[1]


def test_an_image_is_stored_once_for_the_rows_that_share_it(refer_set, tmp_path):
    prepare(refer_set, tmp_path / "few", megabytes=1)
    for reference in refer_set.references:
        reference["sentences"] = reference["sentences"] * 10
    refer_set.write()
    prepare(refer_set, tmp_path / "many", megabytes=1)
    few, many = (
        json.loads((tmp_path / name / "train.manifest.json").read_text(encoding="utf-8")) for name in ("few", "many")
    )
    assert (few["shards"][0]["rows"], many["shards"][0]["rows"]) == (8, 80)
    assert many["shards"][0]["bytes"] < few["shards"][0]["bytes"] + 4000


def test_an_interrupted_run_goes_on_behind_the_last_whole_shard(refer_set, tmp_path):
    rows, _ = unopened_rows("refcoco", "train", **refer_set.roots)
    writing = {"folder": tmp_path / "out", "split": "train", "origin": {}, "shard_megabytes": TINY}

    with pytest.raises(KeyboardInterrupt):
        write_parquet(interrupted(rows, behind=5), SampleValidator(SIZES), **writing)
    first = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in shard_files(tmp_path / "out")}
    assert 0 < len(first) < 4
    with pytest.raises(ValueError, match="not all shards are written"):
        load_grounding_dataset("parquet", "train", label_root=tmp_path / "out")

    write_parquet(rows, SampleValidator(SIZES), **writing)
    for name, time in first.items():
        assert (tmp_path / "out" / name).stat().st_mtime_ns == time, "a whole shard was written again"
    after = load_grounding_dataset("parquet", "train", label_root=tmp_path / "out")
    assert [row["sent_id"] for row in after] == [row["sent_id"] for row in rows]


def test_a_damaged_shard_is_named(refer_set, tmp_path):
    prepare(refer_set, tmp_path / "out")
    shard = tmp_path / "out/train-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="train-00001.parquet is missing or not as it was written"):
        prepare(refer_set, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut short", "missing", "of another set"])
def test_a_shard_that_cannot_be_read_is_named(refer_set, tmp_path, damage):
    prepare(refer_set, tmp_path / "out")
    shard = tmp_path / "out/train-00001.parquet"
    whole = shard.read_bytes()
    shard.unlink()
    if damage == "cut short":
        shard.write_bytes(whole[: len(whole) // 2])
    if damage == "of another set":
        parquet.write_table(pyarrow.table({"x": [1]}), shard)
    with pytest.raises(ValueError, match=r"train-00001\.parquet: missing, cut short or not written by"):
        list(load_grounding_dataset("parquet", "train", label_root=tmp_path / "out"))


def test_a_manifest_of_another_form_is_named(refer_set, tmp_path):
    (tmp_path / "train.manifest.json").write_text('{"complete": true}')
    with pytest.raises(ValueError, match=r"train\.manifest\.json: 'origin' is missing"):
        load_grounding_dataset("parquet", "train", label_root=tmp_path)


def test_the_arrow_cache_follows_the_shards(refer_set, tmp_path):
    def cached():
        rows = load_grounding_dataset("parquet", "testA", label_root=tmp_path / "out", streaming=False)
        return [row["text"] for row in rows]

    prepare(refer_set, tmp_path / "out", "testA")
    assert cached() == ["the crowd"]
    refer_set.references[-1]["sentences"][0]["sent"] = "people"
    refer_set.write()
    (tmp_path / "out/testA.manifest.json").unlink()
    prepare(refer_set, tmp_path / "out", "testA")
    assert cached() == ["people"]


def test_a_folder_of_another_set_is_not_written_to(refer_set, tmp_path):
    """Nor of the same set with as many rows whose labels have changed."""
    prepare(refer_set, tmp_path / "out")
    refer_set.references[0]["sentences"][0]["sent"] = "changed"
    refer_set.write()
    with pytest.raises(ValueError, match=r"train\.manifest\.json was written from"):
        prepare(refer_set, tmp_path / "out")


def test_rows_with_a_defect_are_not_written(refer_set, tmp_path):
    sorted(refer_set.image_folder.iterdir())[0].write_bytes(b"no image")
    rows, _ = unopened_rows("refcoco", "train", **refer_set.roots)
    manifest = write_parquet(rows, SampleValidator(SIZES, max_skipped=0.5), tmp_path / "out", "train", {})
    assert sum(shard["rows"] for shard in manifest["shards"]) == 6


def test_rows_about_images_of_one_name_keep_their_own(tmp_path):
    labels = tmp_path / "labels/mixed_pretrain"
    labels.mkdir(parents=True)
    for folder, colour in {"flickr30k": "red", "visual-genome": "blue"}.items():
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "images" / folder / "7.jpg")
    entries = [("7.jpg", source, [1, 2, 3, 4], source, []) for source in ("flickr", "vg", "vg")]
    torch.save(entries, labels / "mixed_pretrain_train.pth")
    roots = [f"--image_root={tmp_path}/images", f"--label_root={tmp_path}/labels", f"--output={tmp_path}/out"]
    prepare_data.main(["mixed_pretrain", "--split", "train", *roots])
    rows = load_grounding_dataset("parquet", "train", label_root=tmp_path / "out")
    reds = {row["text"]: row["image"].getpixel((5, 5))[0] for row in rows}
    assert reds["flickr"] > 200 and reds["vg"] < 50


def test_running_again_does_not_make_more_defects_bearable(refer_set, tmp_path):
    """Two of eight rows are skipped in the first shards, two in the last: more than a third only together."""
    images = sorted(refer_set.image_folder.iterdir())
    images[0].write_bytes(b"no image")
    rows, _ = unopened_rows("refcoco", "train", **refer_set.roots)
    writing = {"folder": tmp_path / "out", "split": "train", "origin": {}, "shard_megabytes": TINY}
    with pytest.raises(KeyboardInterrupt):
        write_parquet(interrupted(rows, behind=5), SampleValidator(SIZES, max_skipped=0.35), **writing)
    images[3].write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(TooManySkippedError, match="3 of 7 rows"):
            write_parquet(rows, SampleValidator(SIZES, max_skipped=0.35), **writing)
    for _ in range(2):
        check = SampleValidator(SIZES, max_skipped=0.5)
        manifest = write_parquet(rows, check, **writing)
        assert (check.seen, check.skipped) == (8, {"image unreadable": 4})
    assert sum(shard["rows"] for shard in manifest["shards"]) == 4


def test_a_url_is_read_like_a_folder_and_a_repository_name_is_one_on_the_hub(refer_set, tmp_path, monkeypatch):
    prepare(refer_set, tmp_path / "out")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "out"), "/grounding", recursive=True)
    rows = list(load_grounding_dataset("parquet", "train", label_root="memory://grounding"))
    assert len(rows) == 8
    memory.rm("/grounding", recursive=True)

    asked = []
    monkeypatch.setattr("plvl.data.parquet._read_manifest", lambda path: asked.append(path) or {"complete": False})
    with pytest.raises(ValueError, match="not all shards"):
        load_grounding_dataset("parquet", "train", label_root="someone/refcoco")
    assert asked == ["hf://datasets/someone/refcoco/train.manifest.json"]


def test_a_mistyped_folder_that_looks_like_a_repository_is_no_folder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="^outputs/refcoco: no such folder, and as a repository on the Hub"):
        load_grounding_dataset("parquet", "train", label_root="outputs/refcoco")


def test_the_shards_are_plain_parquet_for_the_datasets_library_too(refer_set, tmp_path):
    prepare(refer_set, tmp_path / "out")
    plain = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "out/train-*.parquet"), split="train", streaming=True
    )
    row = next(iter(plain))
    assert row["image"].size == (40, 30) and row["text"].startswith(("white", "the"))


def test_a_split_that_was_not_written_is_named(refer_set, tmp_path):
    prepare(refer_set, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"val\.manifest\.json is missing"):
        load_grounding_dataset("parquet", "val", label_root=tmp_path / "out")


@pytest.mark.parametrize("streaming", [True, False])
def test_shards_of_the_version_before_have_rows_of_one_object(tmp_path, streaming):
    """Their rows have a `bbox`, which was a list of four, in place of boxes."""
    box_of_four = datasets.List(datasets.Value("float64"), length=4)
    old = {("bbox" if name == "boxes" else name): value for name, value in ROW_FEATURES.items()}
    old = datasets.Features(old | {"bbox": box_of_four})
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    image = {"path": "a.png", "bytes": (tmp_path / "a.png").read_bytes()}
    row = {"image": image, "height": 30, "width": 40, "image_id": 1, "ref_id": 2, "category": None}
    row |= {"dataset": "refcoco", "split": "train", "file_name": "a.png"}
    masks = [{"polygons": [[4, 6, 14, 6, 14, 26]], "size": None, "counts": None}, None]
    boxes = [[4.0, 6.0, 10.0, 20.0], [20.5, 3.0, 12.0, 5.0]]
    rows = [
        row | {"text": f"the board {n}", "sent_id": n, "bbox": box, "segmentation": mask}
        for n, (box, mask) in enumerate(zip(boxes, masks, strict=True))
    ]
    shard = tmp_path / "train-00000.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=old.arrow_schema), shard)
    entries = [{"file": shard.name, "rows": 2, "bytes": shard.stat().st_size, "sha256": ""}]
    manifest = {"split": "train", "origin": {}, "complete": True, "checked": {}, "shards": entries}
    (tmp_path / "train.manifest.json").write_text(json.dumps(manifest))
    read = list(load_grounding_dataset("parquet", "train", label_root=tmp_path, streaming=streaming))
    assert [row["boxes"] for row in read] == [[box] for box in boxes]
    assert [row["segmentation"] for row in read] == masks
    assert all(list(row) == list(ROW_FEATURES) for row in read)
