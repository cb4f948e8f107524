"""The evaluation transform gives the original program's pixels, boxes and masks."""

import pytest

from reference_values import evaluation_transform


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_pixels_boxes_and_masks_agree(backend):
    rows = evaluation_transform(backend)
    assert len(rows) == 3
    assert [row for row in rows if not row.agrees] == []
