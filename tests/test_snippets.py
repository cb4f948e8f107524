"""What README.md and docs/use.md show can be run as it is written, on the checkpoint that the project carries."""

import json
import re
import shlex
from pathlib import Path

import pytest

from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.refshapes import make_referred_scene
from plvl.scripts.demo_page.examples import read_examples
from shapes_bundle import EXAMPLE_SEED

ROOT = Path(__file__).parents[1]
SHAPES = CARRIED_CHECKPOINTS["shapes"]
# It takes minutes to compile, which tests/modeling_plvl/test_graphs_plvl.py does with a small model.
TOO_SLOW = "torch.compile"


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def run_blocks(monkeypatch):
    """Runs a page's blocks from the project's folder, one after the other; gives the names that they leave."""
    monkeypatch.chdir(ROOT)

    def run(page):
        names = {}
        for number, block in enumerate(python_blocks(page), 1):
            if TOO_SLOW not in block:
                exec(compile(block, f"{page}, block {number}", "exec"), names)
        return names

    return run


def is_the_blue_moon(*found):
    """Whether x1, y1, x2, y2 are within a few pixels of the truth, which comes from the image's seed."""
    referred = make_referred_scene(EXAMPLE_SEED, 3, typo_rate=0.0)
    [position] = [position for position, about in referred.references if about[0].text == "the blue moon"]
    x, y, width, height = referred.scene.boxes[position]
    return max(abs(a - b) for a, b in zip(found, (x, y, x + width, y + height), strict=True)) <= 8


def test_readme_finds_what_it_asks_for(run_blocks):
    assert is_the_blue_moon(*run_blocks("README.md")["answer"]["box"].values())


def test_docs_use_finds_what_it_asks_for_in_every_way_it_shows(run_blocks):
    names = run_blocks("docs/use.md")
    assert is_the_blue_moon(*names["answer"]["box"].tolist())
    assert names["answer"]["mask"].shape == (names["image"].height, names["image"].width)
    # The last block computes in half precision.
    assert names["outputs"].pred_masks.dtype.itemsize == 2 and not names["outputs"].pred_masks.requires_grad
    [answer] = names["processor"].post_process_grounding(names["outputs"], [names["image"].size[::-1]])
    assert is_the_blue_moon(*answer["box"].tolist())


def test_the_commands_of_the_readme_ask_about_examples_of_the_checkpoint_that_they_name():
    lines = re.findall(r"^plvl predict .*", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    asked = [shlex.split(line, comments=True)[2:] for line in lines]
    assert {model for *_, model in asked} >= {"shapes", "photos"}
    of_shapes = {str(each.image.relative_to(ROOT)): each.expressions[0] for each in read_examples(SHAPES)}
    photographs = json.loads((ROOT / "examples/photographs/examples.json").read_text(encoding="utf-8"))
    of_photos = {f"examples/photographs/{each['image']}": each["expressions"] for each in photographs}
    for image, *expressions, flag, model in asked:
        assert flag == "--model"
        if model == "shapes":  # answered right: tests/test_carried_checkpoints.py
            assert expressions == [of_shapes[image]]
        elif model == "photos":
            assert set(expressions) <= set(of_photos[image])
