from conftest import EXPRESSIONS
from plvl.data.masks import NO_OBJECT
from plvl.training.finetuning.description import masks_may_get_worse, unreadable


def test_words_that_can_be_spelled_are_read_and_those_of_unknown_characters_are_not(processor):
    known = EXPRESSIONS[0]
    spelled = "".join(known.split())
    assert unreadable([known, spelled, f"{known} 山", known.upper()], processor) == [f"{known} 山"]


def test_rows_that_mean_nothing_teach_no_mask():
    without, nothing = {"segmentation": None}, {"segmentation": dict(NO_OBJECT)}
    polygon = {"segmentation": {"polygons": [[1.0, 2.0, 9.0, 2.0, 5.0, 7.0]], "size": None, "counts": None}}
    assert masks_may_get_worse([without, nothing], ["rec", "res"])
    assert not masks_may_get_worse([without, polygon, nothing], ["rec", "res"])
    assert not masks_may_get_worse([without, nothing], ["rec"])
