import pytest

from plvl.training.results import metrics_by_split


@pytest.mark.parametrize("dataset", [["jsonl", "refshapes"], {"jsonl": 3, "refshapes": {"weight": 1}}])
def test_a_mixture_stands_under_the_names_of_its_sets(dataset):
    evaluated = {"val_loss": 0.5, "val_jsonl/loss": 0.25, "val_refshapes/loss": 0.75, "test_loss": 9.0}
    assert metrics_by_split(evaluated, dataset, "val") == {
        "jsonl+refshapes/val": {"loss": 0.5},
        "jsonl/val": {"loss": 0.25},
        "refshapes/val": {"loss": 0.75},
    }


def test_a_set_alone_stands_under_its_name():
    assert metrics_by_split({"testA_loss": 0.5}, "refcoco", "testA") == {"refcoco/testA": {"loss": 0.5}}
