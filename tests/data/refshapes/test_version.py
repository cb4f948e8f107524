"""A set of version 2 stays as it is: what was measured on one is measured on the same images and expressions.

A change of what is drawn or said needs another VERSION and other records, which
`python tests/data/refshapes/test_version.py` writes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plvl.data.refshapes import VERSION, make_referred_scene
from plvl.data.refshapes.backgrounds import find_photographs
from plvl.data.refshapes.drawing import draw_scene
from plvl.data.refshapes.refer_set import annotation_of

RECORDS = Path(__file__).with_name(f"version_{VERSION}.json")
IMAGES, DRAWN = 300, 40
SETS = {"plain": {}, "photographs": {"photographs": 3}, "hourglass": {"new_shape": "hourglass"}}


def said_of(options) -> str:
    """A digest of scenes, of what is said about them, and of the first boxes."""
    digest = hashlib.sha256()
    for index in range(IMAGES):
        referred = make_referred_scene(11, index, typo_rate=0.05, **options)
        digest.update(repr(referred).encode("utf-8"))
        if index < DRAWN:
            annotations = [annotation_of(referred.scene, place) for place in range(len(referred.scene.shapes))]
            digest.update(repr([(each["bbox"], each["visible"]) for each in annotations]).encode("ascii"))
    return digest.hexdigest()


def seen_of(options, folder) -> list[list[int]]:
    """Of each image the brightness, 0 to 255, and the contrast of six patches: what no library's version changes."""
    ramp = np.linspace(0, 255, 90 * 70 * 3).reshape(70, 90, 3)
    for number in range(3):
        Image.fromarray(np.roll(ramp, 40 * number, number % 2).astype(np.uint8)).save(folder / f"{number}.png")
    photographs = find_photographs(folder)[: options.get("photographs", 0)]
    seen = []
    for index in range(DRAWN):
        image = draw_scene(make_referred_scene(11, index, **options).scene, photographs).convert("L")
        columns = np.array_split(np.asarray(image, float), 3, axis=1)
        patches = [patch for column in columns for patch in np.array_split(column, 2)]
        seen.append([round(measure(patch)) for patch in patches for measure in (np.mean, np.std)])
    return seen


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_it_has_been_since_its_version(name, tmp_path):
    recorded = json.loads(RECORDS.read_text(encoding="ascii"))[name]
    assert said_of(SETS[name]) == recorded["said"]
    np.testing.assert_allclose(seen_of(SETS[name], tmp_path), recorded["seen"], atol=1)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        records = {name: {"said": said_of(each), "seen": seen_of(each, Path(folder))} for name, each in SETS.items()}
    RECORDS.write_text(json.dumps(records) + "\n", encoding="ascii")
