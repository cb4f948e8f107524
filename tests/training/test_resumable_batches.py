import random

import numpy as np
import pytest
import torch
from datasets import IterableDataset

from plvl.data.training_rows import TrainingRows
from plvl.training.resumable_batches import BatchesPosition, ResumableBatches, batches_in_epoch


def batches_of(rows, batch_size=5, num_batches=2, process=0, num_processes=1, start=None):
    return ResumableBatches(rows, as_rows, batch_size, num_batches, process, num_processes, 0, seed=3, start=start)


def as_rows(rows):
    return {"rows": rows, "drawn": torch.rand(1).item() + random.random() + np.random.rand()}


def numbers(batches):
    return [[row["sent_id"] for row in batch["rows"]] for batch in batches]


def rows_with_every_third_defective(count=30):
    groups = [{"rows": [{"sent_id": number}]} for number in range(count)]
    stream = IterableDataset.from_generator(lambda: iter(groups))
    return TrainingRows(stream, lambda row, image: None if row["sent_id"] % 3 == 0 else row, count)


def test_an_epoch_of_two_processes_has_each_row_once_and_the_next_another_order():
    rows = [{"sent_id": number} for number in range(20)]
    seen = []
    for epoch in range(2):
        each_process = [batches_of(rows, process=process, num_processes=2) for process in range(2)]
        for each in each_process:
            each.set_epoch(epoch)
        seen.append([number for each in each_process for batch in numbers(each) for number in batch])
        assert sorted(seen[-1]) == list(range(20))
    assert seen[0] != seen[1]


def test_batches_are_full_although_rows_are_defective():
    batches = list(batches_of(rows_with_every_third_defective(), num_batches=4))
    assert numbers(batches) == [[1, 2, 4, 5, 7], [8, 10, 11, 13, 14], [16, 17, 19, 20, 22], [23, 25, 26, 28, 29]]
    assert [batch["origin"].rows_read for batch in batches] == [8, 15, 23, 30]


def test_rows_about_one_image_come_together():
    groups = [{"rows": [{"sent_id": number}, {"sent_id": number + 1}]} for number in range(0, 12, 2)]
    stream = IterableDataset.from_generator(lambda: iter(groups))
    rows = TrainingRows(stream, lambda row, image: row | {"image": None}, 12, expressions_per_image=2)
    batches = list(batches_of(rows, batch_size=4))
    assert numbers(batches) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [batch["origin"].rows_read for batch in batches] == [2, 4]
    again = list(batches_of(rows, batch_size=4, start=BatchesPosition(0, 1, [2])))
    assert again == [None, batches[1]]
    with pytest.raises(ValueError, match="a batch of 5 expressions in each process .* 2 expressions each"):
        batches_of(rows, batch_size=5)


def test_a_share_that_is_used_up_begins_again():
    assert numbers(batches_of(rows_with_every_third_defective(6), batch_size=3, num_batches=2)) == [
        [1, 2, 4],
        [5, 1, 2],
    ]


def test_they_go_on_after_a_position_with_the_batch_that_comes_next():
    whole = list(batches_of(rows_with_every_third_defective(), num_batches=4))
    rows, opened = rows_with_every_third_defective(), []
    check = rows.check
    rows.check = lambda row, image: opened.append(row["sent_id"]) or check(row, image)
    again = list(batches_of(rows, num_batches=4, start=BatchesPosition(0, 2, [15])))
    assert again[:2] == [None, None]
    assert again[2:] == whole[2:]
    assert min(opened) == 15


def test_a_position_in_another_epoch_says_nothing_about_this_one():
    assert None not in list(batches_of(rows_with_every_third_defective(), start=BatchesPosition(4, 2, [15])))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: TrainingRows(IterableDataset.from_generator(lambda: iter([])), None, 1), "no rows to train on"),
        (lambda: rows_with_every_third_defective(1), "all are defective"),
    ],
    ids=["none at all", "all defective"],
)
def test_a_share_without_a_good_row_is_an_error(rows, message):
    with pytest.raises(ValueError, match=message):
        list(batches_of(rows()))


def test_an_epoch_is_a_whole_number_of_optimizer_steps():
    assert batches_in_epoch(num_rows=198, batch_size=16, num_processes=2, accumulation_steps=2) == 8
    assert batches_in_epoch(num_rows=1, batch_size=16, num_processes=2, accumulation_steps=2) == 2


def test_what_is_drawn_in_a_batch_follows_from_its_place_and_changes_nothing_after_it():
    rows = [{"sent_id": number} for number in range(20)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = [batch["drawn"] for batch in batches_of(rows)]
    assert torch.equal(torch.rand(1), expected)
    assert first == [batch["drawn"] for batch in batches_of(rows)] and len(set(first)) == 2
    assert [batch["origin"].row_names for batch in batches_of(rows)][0][0].startswith("expression ")
