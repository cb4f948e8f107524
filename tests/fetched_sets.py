"""A small RefCOCO as its servers have it: labels in a zip, and single images."""

import io
import json
import pickle
import zipfile
from contextlib import contextmanager

from PIL import Image

from breaking_server import breaking_server

REFER = "bvisionweb1.cs.unc.edu/licheng/referit/data"
COCO = "images.cocodataset.org"
# Number of an image: its split. Image 7 is in the labels and no expression is about it.
SPLITS = {1: "train", 2: "train", 3: "val", 4: "testA", 5: "val", 6: "testB", 7: None}


def coco_name(number):
    return f"COCO_train2014_{number:012d}.jpg"


def jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (40, 30 + number), (20 * number, 60, 90)).save(file, "JPEG")
    return file.getvalue()


def zip_of(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def refer_labels(name_of=coco_name, splits=SPLITS, **changes):
    """{file name: content} of a REFER set of two expressions about each image."""
    references = [
        {
            "ref_id": number,
            "ann_id": number,
            "image_id": number,
            "category_id": 1,
            "split": split,
            "file_name": name_of(number),
            "sentences": [{"sent_id": 2 * number + k, "sent": f"board {number} {k}"} for k in range(2)],
        }
        | changes.get(f"reference_{number}", {})
        for number, split in splits.items()
        if split
    ]
    instances = {
        "images": [{"id": n, "file_name": name_of(n), "height": 30 + n, "width": 40} for n in splits],
        "annotations": [{"id": n, "image_id": n, "bbox": [4, 6, 10, 20]} for n in splits],
        "categories": [{"id": 1, "name": "board"}],
    }
    return {
        "refs(unc).p": pickle.dumps(references, protocol=2),
        "instances.json": json.dumps(instances | changes.get("instances", {})).encode(),
    }


@contextmanager
def server_of_refcoco(monkeypatch):
    """Has RefCOCO's labels and each of its images; `write_refcoco` changes the labels."""
    with breaking_server(monkeypatch) as server:

        def write_refcoco(**changes):
            labels = {f"refcoco/{name}": content for name, content in refer_labels(**changes).items()}
            server.files[f"{REFER}/refcoco.zip"] = zip_of(labels)

        server.write_refcoco = write_refcoco
        write_refcoco()
        server.files |= {f"{COCO}/train2014/{coco_name(number)}": jpeg(number) for number in SPLITS}
        yield server
