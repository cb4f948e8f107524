"""Small label files and images in the exact layouts of the real sources."""

import json
import pickle
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw


@pytest.fixture(autouse=True)
def arrow_cache_in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow_cache")


def _reference(ref_id, ann_id, image_id, split, *sentences):
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": image_id,
        "category_id": 7,
        "split": split,
        # As in RefCOCO: the annotation's number at the end, so that no image has this name.
        "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
        "sent_ids": [ref_id * 10 + place for place in range(len(sentences))],
        "sentences": [
            {"sent_id": ref_id * 10 + place, "sent": text, "raw": text.title(), "tokens": text.split()}
            for place, text in enumerate(sentences)
        ],
    }


@pytest.fixture
def refer_set(tmp_path):
    """A small RefCOCO: 6 images of 40 x 30, one rectangle each and a crowd; `write()` puts it on disk."""
    image_folder = tmp_path / "images/mscoco/images/train2014"
    labels = tmp_path / "labels/refcoco"
    image_folder.mkdir(parents=True)
    labels.mkdir(parents=True)
    images, annotations, references = [], [], []
    for number in range(1, 7):
        image = Image.new("RGB", (40, 30), (20 * number, 60, 90))
        ImageDraw.Draw(image).rectangle([4, 6, 13, 25], fill="white")
        name = f"COCO_train2014_{number:012d}.jpg"
        image.save(image_folder / name, quality=95)
        images.append({"id": number, "file_name": name, "height": 30, "width": 40})
        # A rectangle of 10 x 20 in two parts, the upper and the lower half.
        upper, lower = [4, 6, 14, 6, 14, 16, 4, 16], [4, 16, 14, 16, 14, 26, 4, 26]
        annotation = {"id": 100 + number, "image_id": number, "category_id": 7, "iscrowd": 0}
        annotations.append(annotation | {"bbox": [4, 6, 10, 20], "segmentation": [upper, lower]})
        split = "train" if number <= 4 else "val"
        references.append(
            _reference(number, 100 + number, number, split, f"white board {number}", f"the board {number}")
        )
    # Columns 0 and 1 of the image, as the run lengths COCO uses for crowds: zeros first, then ones.
    crowd = {"id": 200, "image_id": 1, "category_id": 9, "iscrowd": 1, "bbox": [0, 0, 2, 30]}
    annotations.append(crowd | {"segmentation": {"size": [30, 40], "counts": [0, 60, 1140]}})
    references.append(_reference(50, 200, 1, "testA", "the crowd") | {"category_id": 9})

    refs_file, instances_file = labels / "refs(unc).p", labels / "instances.json"
    categories = [{"id": 7, "name": "board"}, {"id": 9, "name": "person"}]
    instances = {"images": images, "annotations": annotations, "categories": categories}

    def write():
        refs_file.write_bytes(pickle.dumps(references, protocol=2))
        instances_file.write_text(json.dumps(instances))

    write()
    return SimpleNamespace(
        roots={"image_root": tmp_path / "images", "label_root": tmp_path / "labels"},
        image_folder=image_folder,
        refs_file=refs_file,
        instances_file=instances_file,
        references=references,
        instances=instances,
        write=write,
    )
