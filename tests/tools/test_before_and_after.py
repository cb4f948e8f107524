import json

import pytest

from before_and_after import main


@pytest.fixture
def compare(tmp_path):
    """Writes the metrics of two runs and compares them."""

    def run(before, after):
        for name, metrics in (("before", before), ("after", after)):
            (tmp_path / name).mkdir()
            content = metrics if isinstance(metrics, str) else json.dumps(metrics)
            (tmp_path / name / "metrics.json").write_text(content)
        main([str(tmp_path / "before"), str(tmp_path / "after")])

    return run


def metrics(**of_val):
    return {"refshapes/val": {"num_samples": 20, "box_accuracy": 0.25, "mask_miou": 0.5} | of_val}


def test_what_changed_stands_side_by_side_in_per_cent(compare, capsys):
    other = {"refshapes/testC": {"num_samples": 7, "box_accuracy": 0.1, "mask_miou": 0.0625}}
    compare(metrics() | other, metrics(box_accuracy=0.8, mask_miou=0.4049) | other)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[-1].strip() == "mask mIoU" and "box accuracy" in lines[0]
    assert lines[1].split() == ["before", "after", "before", "after"]
    assert lines[2].split() == ["refshapes/val", "25.0", "%", "80.0", "%", "50.0", "%", "40.5", "%"]
    assert lines[3].split() == ["refshapes/testC", "10.0", "%", "10.0", "%", "6.2", "%", "6.2", "%"]
    assert len({len(line) for line in lines}) == 1


def test_what_a_model_does_not_have_is_a_dash(compare, capsys):
    compare(metrics(mask_miou=None), metrics(mask_miou=None))
    assert capsys.readouterr().out.splitlines()[2].split() == ["refshapes/val", "25.0", "%", "25.0", "%", "–", "–"]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (
            {"refshapes/testA": metrics()["refshapes/val"]},
            "before is about refshapes/val, after about .*testA",
        ),
        (metrics(num_samples=19), "refshapes/val had 20 expressions before and 19 after"),
        ("{", r"after/metrics\.json: Expecting"),
    ],
)
def test_what_cannot_be_compared_is_one_line(compare, after, message):
    with pytest.raises(ValueError, match=message):
        compare(metrics(), after)


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/metrics\.json"):
        main([str(tmp_path / "nowhere"), str(tmp_path)])
