"""Rows per second of one core from JPEG files through the training transform to a batch, against the plain way.

Both ways take turns; the time is the process's CPU time, so other programs on the machine count little. What is
measured of this project is all that training does: the loader's stream, opening the images, the rules for bad
rows, augmentation, processor. The plain way (plain_data.py) has its annotations in memory.
"""

import time
from functools import partial
from itertools import cycle, islice

import torch

from benchmarks.comparisons import compare, print_table, speed
from benchmarks.measuring import describe_machine
from benchmarks.plain_data import plain_batch
from plvl.data import load_grounding_dataset
from plvl.data.collator import GroundingCollator
from plvl.data.loading import unopened_rows
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.augmentation import training_augmentation
from plvl.processing.processing_plvl import MAX_TEXT_LENGTH
from plvl.processing.word_vocabulary import build_word_vocabulary

MAX_ROWS = 2000  # of the split; they come again and again


def add_arguments(parser):
    parser.add_argument("--dataset", default="refcoco", help="name of the dataset (default: refcoco)")
    parser.add_argument("--image_root", required=True, help="folder of the images")
    parser.add_argument("--label_root", required=True, help="folder of the labels")
    parser.add_argument("--split", default="train", help="the split (default: train)")
    parser.add_argument("--size", type=int, default=448, help="side of the network's square (default: 448)")
    parser.add_argument("--batch_size", type=int, default=20, help="rows in a batch (default: 20)")
    parser.add_argument("--batches", type=int, default=3, help="batches in a turn (default: 3)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each way (default: 9)")


def measure(arguments) -> dict:
    torch.set_num_threads(1)
    ways = {
        name: partial(take, batches, arguments.batches)
        for name, batches in (("plain", plain_batches(arguments)), ("plvl", plvl_batches(arguments)))
    }
    device = torch.device("cpu")
    rows = arguments.batches * arguments.batch_size
    comparison = compare(
        f"{rows} rows of {arguments.dataset}, batches of {arguments.batch_size}, {arguments.size} × {arguments.size}",
        ways,
        arguments.turns,
        device,
        items=rows,
        clock=time.process_time,
    )
    print_table(comparison)
    figures = {"speed": speed(comparison, "plvl")}
    return {"machine": describe_machine(device), "comparisons": [comparison], "figures": figures, "notes": []}


def take(batches, number: int):
    for _ in range(number):
        next(batches)


def plvl_batches(arguments):
    dataset = load_grounding_dataset(arguments.dataset, arguments.split, arguments.image_root, arguments.label_root)
    size = {"height": arguments.size, "width": arguments.size}
    processor = PLVLProcessor(PLVLImageProcessor(size=size), make_tokenizer(arguments))
    collator = GroundingCollator(processor, training_augmentation(size))
    rows = iter(dataset.take(MAX_ROWS).repeat(None))
    while True:
        yield collator(list(islice(rows, arguments.batch_size)))


def plain_batches(arguments):
    rows, tokenizer = cycle(annotations(arguments)), make_tokenizer(arguments)
    while True:
        yield plain_batch(list(islice(rows, arguments.batch_size)), tokenizer, arguments.size, MAX_TEXT_LENGTH)


def make_tokenizer(arguments):
    return build_word_vocabulary(row["text"] for row in annotations(arguments))


def annotations(arguments) -> list[dict]:
    rows, _ = unopened_rows(arguments.dataset, arguments.split, arguments.image_root, arguments.label_root)
    return list(rows.take(MAX_ROWS))
