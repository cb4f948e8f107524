import pytest

from plvl.training.results import metrics_by_split, print_summary


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


def test_the_table_counts_expressions_and_masks_and_says_the_rest_in_per_cent(capsys):
    shares = {"box_accuracy": 0.87356, "center_box_accuracy": 0.0074, "mask_miou": 0.5, "mask_precision@0.5": 1.0}
    metrics = {
        "a_set_of_a_long_name+jsonl/validation": {"num_samples": 12345, "num_masks": 300} | shares,
        "flickr30k/val": {"num_samples": 7, "num_masks": 0, "box_accuracy": 0.25},
        "refcoco/val": {"num_samples": 7, "box_accuracy": 0.25},
    }
    print_summary([{"step": 1, "loss": 0.5}], metrics)
    head, *rows, note = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert head.split("  ")[-1].strip() == "mask P@0.5" and "with a mask" in head and "centre box" in note
    long, without_masks, boxes_alone = (row.split() for row in rows)
    assert long[1:] == ["12,345", "300", "87.4", "%", "0.7", "%", "50.0", "%", "-", "100.0", "%"]
    assert without_masks[1:] == ["7", "0", "25.0", "%", "-", "no", "masks", "no", "masks", "no", "masks"]
    assert boxes_alone[1:] == ["7", "-", "25.0", "%", "-", "-", "-", "-"]
    assert len({len(line) for line in (head, *rows)}) == 1
