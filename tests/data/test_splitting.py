"""Rows dealt out to processes and DataLoader workers, shuffled anew each epoch, and taken up again."""

import multiprocessing
from collections import Counter

import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from plvl.data import load_grounding_dataset

IMAGES, ROWS = 20, 60


@pytest.fixture
def many(refer_set):
    """A train split of 20 images with three expressions each, instead of the small one."""
    template = refer_set.references[0]
    image, annotation = refer_set.instances["images"][0], refer_set.instances["annotations"][0]
    content = (refer_set.image_folder / image["file_name"]).read_bytes()
    refer_set.references.clear()
    for number in range(1000, 1000 + IMAGES):
        name = f"COCO_train2014_{number:012d}.jpg"
        (refer_set.image_folder / name).write_bytes(content)
        refer_set.instances["images"].append(image | {"id": number, "file_name": name})
        refer_set.instances["annotations"].append(annotation | {"id": number, "image_id": number})
        sentences = [{"sent_id": number * 3 + k, "sent": f"board {number} {k}"} for k in range(3)]
        ids = {"ref_id": number, "ann_id": number, "image_id": number}
        refer_set.references.append(template | ids | {"split": "train", "sentences": sentences})
    refer_set.references.append(template | {"split": "val"})
    refer_set.write()
    return refer_set.roots


def load(roots, **how):
    return load_grounding_dataset("refcoco", "train", **how, **roots)


def read_as_a_process(roots, rank, processes, workers, epoch, queue):
    part = split_dataset_by_node(load(roots, shuffle_buffer=16, seed=3), rank, processes)
    part.set_epoch(epoch)
    loader = DataLoader(part, batch_size=4, num_workers=workers, collate_fn=list)
    queue.put((rank, [(row["sent_id"], row["image_id"]) for batch in loader for row in batch]))


def run_processes(roots, processes, workers, epoch=0):
    """What each of several real processes reads: {rank: [(sent_id, image_id), ...]}."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    started = [
        context.Process(target=read_as_a_process, args=(roots, rank, processes, workers, epoch, queue))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    read = dict(queue.get(timeout=60) for _ in started)
    for process in started:
        process.join(timeout=60)
    return read


def test_two_processes_with_two_workers_see_every_row_once_and_share_no_image(many):
    read = run_processes(many, processes=2, workers=2)
    rows = read[0] + read[1]
    assert len(rows) == len(set(rows)) == ROWS
    assert not {image for _, image in read[0]} & {image for _, image in read[1]}
    assert len(read[0]) == len(read[1]) == ROWS // 2


def test_more_workers_than_shards_and_processes_that_do_not_divide_them_lose_nothing(many):
    for processes, workers in ((3, 0), (1, 22)):
        read = run_processes(many, processes, workers)
        assert Counter(row for part in read.values() for row in part).most_common(1)[0][1] == 1
        assert sum(map(len, read.values())) == ROWS


def ids(dataset):
    return [row["sent_id"] for row in dataset]


def test_each_epoch_has_another_order_and_the_same_rows_and_comes_back_with_its_number(many):
    dataset = load(many, shuffle_buffer=30, seed=1)
    orders = []
    for epoch in (0, 1, 2, 1):
        dataset.set_epoch(epoch)
        orders.append(ids(dataset))
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(ids(load(many))))}
    assert orders[0] != orders[1] != orders[2]
    assert orders[1] == orders[3]
    assert ids(load(many, shuffle_buffer=30, seed=1)) == orders[0]
    assert ids(load(many, shuffle_buffer=30, seed=2)) != orders[0]


def test_a_shuffle_buffer_without_a_stream_is_refused(many):
    with pytest.raises(ValueError, match="shuffle_buffer=16 is for streams"):
        load(many, shuffle_buffer=16, streaming=False)


def test_shuffling_parts_the_rows_of_an_image(many):
    images = [row["image_id"] for row in load(many, shuffle_buffer=60, seed=1)]
    neighbours = sum(one == other for one, other in zip(images[:-1], images[1:], strict=True))
    assert neighbours < ROWS // 3


def taken_up(dataset, fresh, count):
    """`count` rows of `dataset`, and what `fresh` gives after it took up the position."""
    rows = iter(dataset)
    first = [next(rows)["sent_id"] for _ in range(count)]
    fresh.load_state_dict(dataset.state_dict())
    return first, ids(fresh)


@pytest.mark.parametrize("count", [1, 7, 59])
def test_a_stream_is_taken_up_where_it_was_left(many, count):
    first, rest = taken_up(load(many), load(many), count)
    assert first + rest == ids(load(many))


def test_a_shuffled_stream_is_taken_up_without_a_row_seen_twice(many):
    """The rows waiting in the buffer come back in the next epoch, not in this one."""
    datasets = [load(many, shuffle_buffer=10, seed=1) for _ in range(2)]
    for dataset in datasets:
        dataset.set_epoch(1)
    first, rest = taken_up(*datasets, count=23)
    assert len(set(first + rest)) == len(first + rest) >= ROWS - 10


def test_a_stream_of_several_sets_is_taken_up_too(many):
    (many["label_root"] / "refcoco+").symlink_to(many["label_root"] / "refcoco")

    def mixed():
        return load_grounding_dataset(["refcoco", "refcoco+"], "train", seed=5, **many)

    first, rest = taken_up(mixed(), mixed(), count=31)
    assert first + rest == ids(mixed())


@pytest.mark.parametrize("after", [5, 9])
def test_taken_up_again_a_shuffled_stream_gives_no_row_twice(refer_set, after):
    arguments = refer_set.roots | {"shuffle_buffer": 4, "seed": 3}
    stream = load_grounding_dataset("refcoco", "train", **arguments)
    rows = iter(stream)
    before = [next(rows)["sent_id"] for _ in range(after - 2)]
    again = load_grounding_dataset("refcoco", "train", **arguments)
    again.load_state_dict(stream.state_dict())
    after = [row["sent_id"] for row in again]
    assert not set(before) & set(after) and len(set(after)) == len(after)
