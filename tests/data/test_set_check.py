"""What is there of a set, and whether it is whole."""

import json

import pytest
import torch
from PIL import Image

from fetched_sets import coco_name, jpeg, refer_labels
from local_data_hub import local_data_hub, parquet_of, reference
from plvl.data.set_check import KNOWN_EXPRESSIONS, check_set, leaks


@pytest.fixture
def roots(tmp_path):
    """A small RefCOCO, whole but for its number of expressions; `write_labels` of other sets goes beside it."""
    folder = tmp_path / "images/mscoco/images/train2014"
    folder.mkdir(parents=True)
    for number in range(1, 8):
        (folder / coco_name(number)).write_bytes(jpeg(number))
    write_labels(tmp_path, "refcoco")
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


def write_labels(tmp_path, name, **changes):
    folder = tmp_path / "labels" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in refer_labels(**changes).items():
        (folder / file).write_bytes(content)


@pytest.fixture
def known(monkeypatch):
    """Of each split as many as there are."""
    counts = {"train": 4, "val": 4, "testA": 2, "testB": 2}
    monkeypatch.setitem(KNOWN_EXPRESSIONS, ("refcoco", "unc"), counts)
    return counts


def image_file(roots, number):
    return roots["image_root"] / "mscoco/images/train2014" / coco_name(number)


def by_split(checks):
    return {check.split: check for check in checks}


def test_a_whole_set_has_its_numbers_and_nothing_else_to_say(roots, known):
    checks = check_set("refcoco", **roots)
    assert {check.split: (check.expressions, len(check.images)) for check in checks} == {
        "train": (4, 2),
        "val": (4, 2),
        "testA": (2, 1),
        "testB": (2, 1),
    }
    assert all(check.problems == [] and check.warnings == [] and check.held_back == 0 for check in checks)
    assert leaks(checks) == []


def test_images_that_are_missing_or_empty_are_counted_with_what_speaks_of_them(roots, known):
    image_file(roots, 1).unlink()
    image_file(roots, 5).write_bytes(b"")
    found = by_split(check_set("refcoco", **roots))
    assert found["train"].problems == [
        "1 of 2 images are missing, of which 2 expressions speak: refcoco train, reference 1, expression 2 "
        f"({coco_name(1)})"
    ]
    [problem] = found["val"].problems
    assert problem.startswith("1 of 2 images are empty, of which 2 expressions speak: refcoco val, reference 5,")
    assert found["testA"].problems == []


def test_many_are_named_by_the_first_and_their_number(tmp_path, roots, known):
    write_labels(tmp_path, "refcoco", splits=dict.fromkeys(range(10, 15), "val"))
    [val] = check_set("refcoco", **roots)
    assert val.problems[0].startswith("5 of 5 images are missing, of which 10 expressions speak: ")
    named = [f"({coco_name(number)})" in val.problems[0] for number in range(10, 15)]
    assert named == [True, True, True, False, False] and val.problems[0].endswith("; and 2 more images")


def test_labels_about_no_image_and_two_images_of_one_name_are_problems(tmp_path, roots, known):
    images = [{"id": n, "file_name": coco_name(n), "height": 30 + n, "width": 40} for n in (1, 2, 4, 5, 6)]
    images[1]["file_name"] = coco_name(1)
    write_labels(tmp_path, "refcoco", instances={"images": images})
    found = by_split(check_set("refcoco", **roots))
    assert found["val"].problems == [
        "2 expressions are about no image of the labels: refcoco val, reference 3, expression 6 (None)"
    ]
    assert found["train"].problems == [f"two images of one name: images 1 and 2 are both called {coco_name(1)}"]


def test_another_number_than_is_known_is_a_warning_with_both(roots, known):
    known |= {"val": 5, "train": 6}
    assert by_split(check_set("refcoco", **roots))["val"].warnings == ["4 expressions, and 5 are known"]


def test_a_label_file_of_another_split_is_suspected(roots, known):
    known |= {"val": 4, "testA": 99, "testB": 2}
    assert by_split(check_set("refcoco", **roots))["testA"].warnings == [
        "2 expressions, and 99 are known: as many as testB has. Is it the file of another split?"
    ]


def test_a_split_that_is_not_there_is_a_warning_unless_others_are_asked_for(roots, known):
    known["testC"] = 7
    assert check_set("refcoco", **roots)[-1].warnings == ["there is no split testC of refcoco"]
    [val] = check_set("refcoco", **roots, splits=["val"])
    assert (val.split, val.warnings) == ("val", [])


def test_by_another_split_nothing_is_known(roots, known):
    folder = roots["label_root"] / "refcoco"
    (folder / "refs(google).p").write_bytes((folder / "refs(unc).p").read_bytes())
    known["val"] = 5
    assert all(check.warnings == [] for check in check_set("refcoco", **roots, split_by="google"))
    with pytest.raises(ValueError, match="split_by='unc' is for REFER sets, 'jsonl' is none"):
        check_set("jsonl", **roots, split_by="unc")


def test_leaks_between_sets_are_told_with_their_numbers(tmp_path, roots, known):
    """In RefCOCO+ image 1 is val and 3 and 6 are train."""
    write_labels(tmp_path, "refcoco+", splits={1: "val", 2: "train", 3: "train", 6: "train"})
    checks = check_set("refcoco", **roots) + check_set("refcoco+", **roots)
    assert leaks(checks) == [
        "1 images of refcoco train (2 expressions) are in refcoco+ val, too (2 expressions)",
        "1 images of refcoco+ train (2 expressions) are in refcoco val, too (2 expressions)",
        "1 images of refcoco+ train (2 expressions) are in refcoco testB, too (2 expressions)",
    ]
    held = {check.name: check.held_back for check in checks if check.split == "train"}
    assert held == {"refcoco": 2, "refcoco+": 4}


def test_ones_own_train_and_val_that_share_an_image_leak(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    for split, names in {"train": ["a.png", "b.png", "b.png"], "val": ["b.png", "c.png"]}.items():
        lines = [json.dumps({"file_name": name, "text": "it", "bbox": [1, 2, 3, 4]}) for name in names]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    checks = check_set("jsonl", tmp_path, tmp_path)
    assert {check.split: (check.expressions, len(check.images)) for check in checks} == {
        "train": (3, 2),
        "val": (2, 2),
    }
    assert leaks(checks) == ["1 images of jsonl train (2 expressions) are in jsonl val, too (1 expressions)"]
    assert not any(check.problems for check in checks)


def test_visual_genomes_images_are_known_by_cocos_number(tmp_path, roots, known):
    """Its image 8 is COCO's 3, which is in RefCOCO's val; 9 is none of COCO's."""
    for root in roots.values():
        (root / "visual-genome").mkdir()
    for number in (8, 9):
        Image.new("RGB", (40, 30)).save(roots["image_root"] / "visual-genome" / f"{number}.jpg")
    box = {"x": 1, "y": 2, "width": 3, "height": 4, "phrase": "it"}
    entries = [{"id": n, "regions": [box | {"region_id": n, "image_id": n}]} for n in (8, 9)]
    images = [{"image_id": n, "width": 40, "height": 30, "coco_id": 3 if n == 8 else None} for n in (8, 9)]
    (roots["label_root"] / "visual-genome/region_descriptions.json").write_text(json.dumps(entries))
    (roots["label_root"] / "visual-genome/image_data.json").write_text(json.dumps(images))
    [genome] = check_set("visual_genome", **roots)
    assert (genome.expressions, genome.held_back) == (2, 1)
    assert leaks([genome, *check_set("refcoco", **roots)]) == [
        "1 images of visual_genome train (1 expressions) are in refcoco val, too (2 expressions)"
    ]


def test_the_authors_labels_are_checked_too(roots, monkeypatch):
    (roots["label_root"] / "unc").mkdir()
    entries = [(coco_name(n), "coco", [1, 2, 3, 4], "it", []) for n in (1, 2, 9)]
    torch.save(entries, roots["label_root"] / "unc/unc_val.pth")
    monkeypatch.setitem(KNOWN_EXPRESSIONS, ("unc", None), {"val": 8, "testA": 3})
    [val] = check_set("unc", **roots)
    assert val.problems[0].startswith("1 of 3 images are missing, of which 1 expressions speak: unc val, reference 2,")
    assert val.warnings == [
        "3 expressions, and 8 are known: as many as testA has. Is it the file of another split?",
        "there is no split testA of unc",
    ]


@pytest.mark.parametrize("split", ["validation", "val"])
def test_a_set_of_the_hub_is_checked_where_it_lies(monkeypatch, roots, split):
    """Image 9 is not on disk."""
    rows = [reference(number, ["it", "that"], "validation") for number in (1, 2, 9)]
    with local_data_hub(monkeypatch) as hub:
        hub.repositories["jxu124/refcoco"] = {f"data/{split}-00000-of-00001.parquet": parquet_of(rows)}
        [val] = check_set("jxu124/refcoco", roots["image_root"], None)
    assert val.problems[0].startswith("1 of 3 images are missing, of which 2 expressions speak")
    assert val.warnings[0] == "6 expressions, and 10834 are known"
    assert val.warnings[1] == "there is no split train, test, testB of jxu124/refcoco"


def test_splits_of_the_hub_are_compared_by_whatever_name_they_are_asked_for(monkeypatch, roots):
    known = {"train": 9, "validation": 4, "test": 3, "testB": 2}
    monkeypatch.setitem(KNOWN_EXPRESSIONS, ("jxu124/refcoco", None), known)
    with local_data_hub(monkeypatch) as hub:
        hub.repositories["jxu124/refcoco"] = {
            f"data/{split}-00000-of-00001.parquet": parquet_of([reference(number, ["it", "that"], split)])
            for split, number in (("validation", 1), ("test", 2), ("testB", 3))
        }
        val, test_a, test_b = check_set("jxu124/refcoco", roots["image_root"], None, ["val", "testA", "testB"])
    assert val.warnings == ["2 expressions, and 4 are known: as many as testB has. Is it the file of another split?"]
    assert test_a.warnings == [
        "2 expressions, and 3 are known: as many as testB has. Is it the file of another split?"
    ]
    assert test_b.warnings == [] and (val.split, test_a.split) == ("val", "testA")


def test_what_is_known_adds_up_to_the_sets_sizes():
    totals = {name: sum(counts.values()) for (name, _), counts in KNOWN_EXPRESSIONS.items()}
    assert totals["refcoco"] == totals["unc"] == totals["jxu124/refcoco"] == 142_210
    assert totals["refcoco+"] == 141_564 and totals["refcocog"] == 95_010
