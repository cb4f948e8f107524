"""Rows of RefShapes made on the spot are the rows of a written set."""

import numpy as np

from plvl.data.loading import load_grounding_dataset
from plvl.data.refshapes import split_of, write_refshapes
from plvl.data.refshapes.rows import set_rows

NUMBERS_OF_THE_SET = {"image", "ref_id", "sent_id"}


def test_they_are_what_the_loader_reads_from_the_written_set(tmp_path):
    write_refshapes(tmp_path, num_images=17, seed=6)  # one image is upright, one lies
    roots = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}
    written = list(load_grounding_dataset("refshapes", "val", **roots))
    indices = [index for index in range(17) if split_of(index) == "val"]
    made = set_rows(6, indices)
    assert indices == [3, 16] and len(made) == len(written) > 10
    for row, expected in zip(made, written, strict=True):
        assert row.keys() == expected.keys()
        assert {key: row[key] for key in row.keys() - NUMBERS_OF_THE_SET} == {
            key: expected[key] for key in row.keys() - NUMBERS_OF_THE_SET
        }
        assert np.array_equal(row["image"], expected["image"])
