from conftest import EXPRESSIONS
from plvl.training.finetuning.description import unreadable


def test_words_that_can_be_spelled_are_read_and_those_of_unknown_characters_are_not(processor):
    known = EXPRESSIONS[0]
    spelled = "".join(known.split())
    assert unreadable([known, spelled, f"{known} 山", known.upper()], processor) == [f"{known} 山"]
