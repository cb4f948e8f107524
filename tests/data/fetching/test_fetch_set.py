"""A set by its name: labels and images in the layout that the readers read, and nothing half."""

import json
import logging
import os
import re
import shutil

import pytest
from filelock import FileLock

from breaking_server import cut_after, page
from fetched_sets import COCO, REFER, SPLITS, coco_name, jpeg, refer_labels, zip_of
from plvl.data import load_grounding_dataset
from plvl.data.fetching import fetch_set as module
from plvl.data.fetching.download import FetchError
from plvl.data.fetching.fetch_set import fetch_set
from plvl.data.fetching.sources import SETS
from plvl.data.fetching.unpacking import ArchiveError

ARCHIVED = "web.archive.org/web/20220413011718/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcoco.zip"
TRAIN_ZIP = f"{COCO}/zips/train2014.zip"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def roots(root):
    return {"image_root": root / "images", "label_root": root / "labels"}


def images_in(root, folder="mscoco/images/train2014"):
    return sorted(path.name for path in (root / "images" / folder).glob("*"))


def texts(root, name, split):
    return sorted(row["text"] for row in load_grounding_dataset(name, split, **roots(root)))


def test_a_set_is_read_as_it_was_fetched(server, root):
    fetch_set("refcoco", root)
    assert texts(root, "refcoco", "train") == ["board 1 0", "board 1 1", "board 2 0", "board 2 1"]
    assert texts(root, "refcoco", "testB") == ["board 6 0", "board 6 1"]
    assert images_in(root) == [coco_name(number) for number in range(1, 7)], "only what expressions are about"
    assert [path.name for path in (root / "downloads").iterdir()] == [".lock"]


def test_what_is_there_is_not_fetched_again(server, root):
    fetch_set("refcoco", root)
    (root / "images/mscoco/images/train2014" / coco_name(3)).unlink()
    server.asked.clear()
    fetch_set("refcoco", root)
    assert [address for address, _ in server.asked] == [f"{COCO}/train2014/{coco_name(3)}"]


def test_splits_fetch_their_images_alone(server, root):
    fetch_set("refcoco", root, splits=["val", "testA"])
    assert images_in(root) == [coco_name(number) for number in (3, 4, 5)]
    with pytest.raises(ValueError, match="refcoco has no split 'test'; it has testA, testB, train, val"):
        fetch_set("refcoco", root, splits=["test"])


def test_labels_alone_are_fetched_without_images(server, root):
    fetch_set("refcoco", root, labels_only=True)
    assert sorted(path.name for path in (root / "labels/refcoco").iterdir()) == ["instances.json", "refs(unc).p"]
    assert not (root / "images").exists()


def test_a_mirror_gives_what_the_first_server_lost(server, root):
    server.files[ARCHIVED] = server.files.pop(f"{REFER}/refcoco.zip")
    fetch_set("refcoco", root, labels_only=True)
    assert [address for address, _ in server.asked] == [f"{REFER}/refcoco.zip", ARCHIVED]
    assert (root / "labels/refcoco/instances.json").is_file()


def test_where_no_address_gives_the_labels_the_error_says_what_else_there_is(server, root):
    server.files.clear()
    server.breaks[ARCHIVED] = [page]
    with pytest.raises(FetchError) as raised:
        fetch_set("refcoco", root)
    first, *tried = str(raised.value).split("\n")
    assert first == "refcoco.zip could not be fetched:"
    assert [line.rpartition(": ")[2] for line in tried[:2]] == [
        "404 Not Found",
        "what it gives is a web page (503 & moved)",
    ]
    assert f"put it at {root / 'downloads/refcoco.zip'}" in tried[2]
    assert tried[3].endswith("the Hub's copy where it lies, the dataset jxu124/refcoco")
    assert not (root / "labels").exists() and not (root / "images").exists()


def test_a_zip_brought_by_hand_is_unpacked(server, root):
    (root / "downloads").mkdir(parents=True)
    (root / "downloads/refcoco.zip").write_bytes(server.files.pop(f"{REFER}/refcoco.zip"))
    fetch_set("refcoco", root, splits=["val"])
    assert texts(root, "refcoco", "val") == ["board 3 0", "board 3 1", "board 5 0", "board 5 1"]


def test_a_zip_of_another_set_is_no_set(server, root):
    server.files[f"{REFER}/refcoco.zip"] = zip_of({"refcocog/refs(umd).p": b"", "refcocog/instances.json": b"{}"})
    with pytest.raises(ArchiveError, match=r"refcoco\.zip: refs\(unc\)\.p and instances\.json are expected"):
        fetch_set("refcoco", root)
    assert not (root / "labels").exists()


def test_where_most_images_of_the_zip_are_wanted_the_zip_is_fetched(server, root, monkeypatch, caplog):
    """Six images are wanted: one by one they come where the zip has twelve or more."""
    monkeypatch.setattr(module, "COCO_ZIP_IMAGES", 11)
    names = [f"train2014/{coco_name(number)}" for number in range(1, 12)]
    server.files[TRAIN_ZIP] = zip_of({name: jpeg(number) for number, name in enumerate(names, 1)})
    server.breaks[TRAIN_ZIP] = [cut_after(1000)]
    fetch_set("refcoco", root)
    assert len(images_in(root)) == 11 and texts(root, "refcoco", "val")[0] == "board 3 0"
    assert [address for address, _ in server.asked] == [f"{REFER}/refcoco.zip", TRAIN_ZIP, TRAIN_ZIP]
    monkeypatch.setattr(module, "COCO_ZIP_IMAGES", 12)
    shutil.rmtree(root / "images")
    with caplog.at_level(logging.INFO):
        fetch_set("refcoco", root)
    assert "6 images one by one, about 6.8 GB; the zip of all 12 has 13.5 GB" in caplog.text
    assert len(images_in(root)) == 6


def test_a_zip_of_coco_brought_by_hand_is_taken_in_the_place_of_single_images(server, root):
    (root / "downloads").mkdir(parents=True)
    content = {f"train2014/{coco_name(number)}": jpeg(number) for number in SPLITS}
    (root / "downloads/train2014.zip").write_bytes(zip_of(content))
    fetch_set("refcoco", root)
    assert [address for address, _ in server.asked] == [f"{REFER}/refcoco.zip"]
    assert texts(root, "refcoco", "testA") == ["board 4 0", "board 4 1"]


def test_images_of_another_size_than_their_labels_say_are_none_of_the_set(server, root):
    server.files[f"{COCO}/train2014/{coco_name(3)}"] = jpeg(4)
    with pytest.raises(FetchError, match="1 images could not be fetched"):
        fetch_set("refcoco", root)
    assert coco_name(3) not in images_in(root) and coco_name(4) in images_in(root)


def test_the_disk_is_asked_before_single_images_are_fetched(server, root, monkeypatch):
    fetch_set("refcoco", root, labels_only=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, 900_000))
    with pytest.raises(OSError, match=r"6 images of COCO needs 978\.5 kB, and the disk of .* has 900\.0 kB free"):
        fetch_set("refcoco", root)
    assert not (root / "images").exists()


def test_coco_alone_is_the_whole_zip_and_counted(server, root, monkeypatch):
    monkeypatch.setattr(module, "COCO_ZIP_IMAGES", 5)
    server.files[TRAIN_ZIP] = zip_of({f"train2014/{coco_name(number)}": jpeg(number) for number in range(1, 6)})
    fetch_set("coco2014", root)
    assert images_in(root) == [coco_name(number) for number in range(1, 6)] and len(server.asked) == 1
    fetch_set("coco2014", root)
    assert len(server.asked) == 1
    (root / "images/mscoco/images/train2014" / coco_name(2)).unlink()
    fetch_set("coco2014", root)
    assert len(images_in(root)) == 5


def test_grefcoco_is_two_files_and_images(server, root):
    """As files of the Hub."""
    labels = refer_labels()
    base = "huggingface.co/datasets/FudanCVL/gRefCOCO/resolve/main"
    server.files[f"{base}/instances.json"] = labels["instances.json"]
    server.files[f"{base}/grefs(unc).json"] = (
        b'[{"ref_id": 1, "ann_id": [3], "image_id": 3, "category_id": [1], "split": "val", "file_name": "a", '
        b'"sentences": [{"sent_id": 1, "sent": "it"}]}]'
    )
    fetch_set("grefcoco", root)
    assert texts(root, "grefcoco", "val") == ["it"] and images_in(root) == [coco_name(3)]


REFCLEF_ZIP = f"web.archive.org/web/20220515000000/http://{REFER}/images/saiapr_tc-12.zip"


@pytest.fixture
def refclef(server):
    """Gives a function that sets which images the zip has."""
    labels = refer_labels(lambda number: f"{number}.jpg")
    server.files[f"{REFER}/refclef.zip"] = zip_of({f"refclef/{name}": content for name, content in labels.items()})

    def has(*numbers):
        server.files[REFCLEF_ZIP] = zip_of({f"saiapr_tc-12/0{n % 2}/images/{n}.jpg": jpeg(n) for n in numbers})

    has(*SPLITS)
    return has


def test_refclef_has_a_zip_of_images_of_its_own(server, refclef, root):
    fetch_set("refclef", root)
    assert texts(root, "refclef", "testA") == ["board 4 0", "board 4 1"]
    server.asked.clear()
    fetch_set("refclef", root)
    assert server.asked == []


def test_a_zip_that_lacks_images_is_not_fetched_again_for_them(server, refclef, root, caplog):
    refclef(1, 3, 4, 6)
    fetch_set("refclef", root)
    assert "2 images of refclef are not in saiapr_tc-12.zip, such as 2.jpg, 5.jpg" in caplog.text
    server.asked.clear()
    caplog.clear()
    fetch_set("refclef", root)
    assert server.asked == [] and "2 images of refclef are not in saiapr_tc-12.zip" in caplog.text


def test_what_was_removed_since_is_fetched_again_where_the_zip_has_it(server, refclef, root):
    refclef(1, 3, 4, 5, 6)
    fetch_set("refclef", root)
    (root / "images/referit/images/3.jpg").unlink()
    server.asked.clear()
    fetch_set("refclef", root)
    assert server.asked[-1] == (REFCLEF_ZIP, None)
    assert images_in(root, "referit/images") == [f"{number}.jpg" for number in (1, 3, 4, 5, 6)]


def test_another_zip_that_is_brought_by_hand_is_unpacked_for_what_is_missing(server, refclef, root):
    refclef(1, 3, 4, 6)
    fetch_set("refclef", root)
    refclef(*SPLITS)
    (root / "downloads/saiapr_tc-12.zip").write_bytes(server.files[REFCLEF_ZIP])
    server.asked.clear()
    fetch_set("refclef", root)
    assert len(images_in(root, "referit/images")) == 7 and server.asked == []


def test_a_set_is_fetched_into_folders_on_another_disk(server, root, other_disk, monkeypatch):
    monkeypatch.setattr(module, "COCO_ZIP_IMAGES", 7)
    labels = refer_labels()
    base = "huggingface.co/datasets/FudanCVL/gRefCOCO/resolve/main"
    server.files[f"{base}/instances.json"] = labels["instances.json"]
    server.files[f"{base}/grefs(unc).json"] = b"[]"
    server.files[TRAIN_ZIP] = zip_of({f"train2014/{coco_name(number)}": jpeg(number) for number in SPLITS})
    root.mkdir()
    for name in ("images/mscoco/images/train2014", "labels/grefcoco", "labels/refcoco"):
        (other_disk / name).mkdir(parents=True)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(other_disk / name)
    fetch_set("grefcoco", root, labels_only=True)
    assert (other_disk / "labels/grefcoco/grefs(unc).json").read_bytes() == b"[]"
    fetch_set("refcoco", root)
    assert texts(root, "refcoco", "val")[0] == "board 3 0" and len(images_in(root)) == 7
    assert sorted(path.name for path in (root / "downloads").iterdir()) == [".lock", "train2014.zip.unpacked.json"]


@pytest.mark.parametrize(
    ("name", "source"), [("refcoco", "refcoco.zip"), ("grefcoco", "grefs(unc).json"), ("coco2014", "train2014.zip")]
)
def test_the_other_disk_is_asked_for_room_before_anything_comes(server, root, other_disk, free, name, source):
    server.files[TRAIN_ZIP] = zip_of({"1.jpg": jpeg(1)})
    server.files["huggingface.co/datasets/FudanCVL/gRefCOCO/resolve/main/grefs(unc).json"] = b"[]"
    root.mkdir()
    for folder in ("labels", "images"):
        (root / folder).symlink_to(other_disk)
    free(10**12, other_disk, 1)
    with pytest.raises(
        OSError, match=rf"{re.escape(source)}, to be (unpacked|copied), needs .* disk of .*other disk "
    ):
        fetch_set(name, root)
    assert [path.name for path in (root / "downloads").iterdir()] == [".lock"]


def test_single_images_need_room_on_the_disk_that_they_go_to(server, root, other_disk, free):
    fetch_set("refcoco", root, labels_only=True)
    (root / "images").symlink_to(other_disk)
    free(10**12, other_disk, 900_000)
    with pytest.raises(OSError, match=r"6 images of COCO needs 978\.5 kB, and the disk of .*other disk has 900\.0 kB"):
        fetch_set("refcoco", root)
    free(900_000, other_disk, 10**12)
    fetch_set("refcoco", root)
    assert len(images_in(root)) == 6


def test_flickr_is_labels_and_a_word_about_the_images(server, root, caplog):
    base = "raw.githubusercontent.com/BryanPlummer/flickr30k_entities/master"
    xml = (
        "<annotation><size><width>40</width><height>31</height></size><object><name>1</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    content = {"Annotations/7.xml": xml, "Sentences/7.txt": "[/EN#1/people a board] .", "__MACOSX/Sentences/7.txt": ""}
    server.files[f"{base}/annotations.zip"] = zip_of(content)
    server.files |= {f"{base}/{split}.txt": b"7\n" for split in ("train", "val", "test")}
    fetch_set("flickr30k", root)
    assert "not fetched: the images of Flickr30k are given to whoever fills in the form" in caplog.text
    assert f"put them into {root}/images/flickr30k" in caplog.text
    (root / "images/flickr30k").mkdir(parents=True)
    (root / "images/flickr30k/7.jpg").write_bytes(jpeg(1))
    assert texts(root, "flickr30k", "val") == ["a board"]


@pytest.fixture
def genome(server):
    base = "homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
    box = {"x": 1, "y": 1, "width": 3, "height": 4, "phrase": "it"}
    regions = [{"id": n, "regions": [box | {"region_id": n, "image_id": n}]} for n in (1, 2, 3)]
    images = [{"image_id": n, "width": 40, "height": 30 + n, "coco_id": None} for n in (1, 2, 3)]
    for file, content in (("region_descriptions.json", regions), ("image_data.json", images)):
        server.files[f"{base}/{file}.zip"] = zip_of({file: json.dumps(content)})
    stanford = "cs.stanford.edu/people/rak248/VG_100K_2"
    server.files[f"{stanford}/images.zip"] = zip_of({f"VG_100K/{n}.jpg": jpeg(n) for n in (1, 3)})
    server.files[f"{stanford}/images2.zip"] = zip_of({"VG_100K_2/2.jpg": jpeg(2)})
    return stanford


def test_visual_genome_is_two_zips_of_labels_and_two_of_images(server, genome, root):
    second = server.files.pop(f"{genome}/images2.zip")
    with pytest.raises(FetchError, match=r"images2\.zip could not be fetched"):
        fetch_set("visual_genome", root)
    server.files[f"{genome}/images2.zip"] = second
    server.asked.clear()
    fetch_set("visual_genome", root)
    assert [address for address, _ in server.asked] == [f"{genome}/images2.zip"], "the first zip was fetched again"
    assert texts(root, "visual_genome", "train") == ["it"] * 3
    assert images_in(root, "visual-genome/VG_100K") == ["1.jpg", "3.jpg"]


def test_visual_genomes_folder_that_is_linked_and_empty_is_filled(server, genome, root, tmp_path):
    (root / "images/visual-genome").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (root / "images/visual-genome/VG_100K").symlink_to(tmp_path / "elsewhere")
    fetch_set("visual_genome", root)
    assert images_in(root, "visual-genome/VG_100K") == ["1.jpg", "3.jpg"]


def test_visual_genomes_folder_that_was_not_filled_to_its_end_is_filled(server, genome, root):
    """As of a run that was killed when it moved images into a folder that was there."""
    (root / "images/visual-genome/VG_100K").mkdir(parents=True)
    (root / "images/visual-genome/VG_100K/1.jpg").write_bytes(jpeg(1))
    (root / "downloads").mkdir()
    (root / "downloads/images.zip").write_bytes(server.files.pop(f"{genome}/images.zip"))
    fetch_set("visual_genome", root)
    assert images_in(root, "visual-genome/VG_100K") == ["1.jpg", "3.jpg"]


def test_a_folder_of_visual_genome_brought_by_hand_is_taken_as_it_is(server, genome, root):
    (root / "images/visual-genome/VG_100K").mkdir(parents=True)
    (root / "images/visual-genome/VG_100K/1.jpg").write_bytes(jpeg(1))
    fetch_set("visual_genome", root)
    assert f"{genome}/images.zip" not in [address for address, _ in server.asked]


def test_visual_genomes_images_in_one_folder_are_enough(server, genome, root):
    (root / "images/visual-genome").mkdir(parents=True)
    for number in (1, 2, 3):
        (root / "images/visual-genome" / f"{number}.jpg").write_bytes(jpeg(number))
    fetch_set("visual_genome", root)
    assert not [address for address, _ in server.asked if "images" in os.path.basename(address)]


@pytest.mark.parametrize("options", [{"splits": ["val"]}, {"split_by": "unc"}])
def test_splits_are_for_sets_of_refers_layout(server, root, options):
    with pytest.raises(ValueError, match="splits and split_by are for sets in REFER's layout, visual_genome is none"):
        fetch_set("visual_genome", root, **options)
    assert server.asked == []


def test_a_name_that_cannot_be_fetched_is_told_what_can(root):
    with pytest.raises(ValueError, match=r"'coco' cannot be fetched; what can is refcoco, refcoco\+, .*visual_genome"):
        fetch_set("coco", root)


def test_two_processes_do_not_fetch_into_one_root(server, root):
    (root / "downloads").mkdir(parents=True)
    with (
        FileLock(root / "downloads/.lock"),
        pytest.raises(OSError, match="another process fetches into .*: wait for it"),
    ):
        fetch_set("refcoco", root)
    fetch_set("refcoco", root, labels_only=True)


def test_every_set_of_the_table_lies_where_its_reader_looks():
    folders = {name: {source.folder for source in one.labels + one.images} for name, one in SETS.items()}
    for name in ("refcoco", "refcoco+", "refcocog", "grefcoco"):
        assert folders[name] == {f"labels/{name}", "images/mscoco/images/train2014"}
    assert folders["refclef"] == {"labels/refclef", "images/referit/images"}
    assert all(source.addresses for one in SETS.values() for source in one.labels + one.images)
