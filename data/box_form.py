"""Boxes that were written as two corners, x1, y1, x2, y2, where x, y, width, height are read.

Nothing else tells: such a box begins inside its image and is cut at the border like any that is too large.
"""

FEWEST = 8  # boxes from which something can be said
MANY = 0.25  # share of them; of boxes as corners, spread over their images, about three quarters leave it as sizes
ROUNDING = 1  # pixels that a labelled box may be outside


class BoxForm:
    """Counts boxes that fit into their images as x, y, width, height, and as x1, y1, x2, y2.

    Rows about the same objects that follow one another count once. Once a box is none as x1, y1, x2, y2, nothing more
    is counted.

    Attributes:
        boxes: boxes counted.
        leaving: those that leave their image as x, y, width, height.
        corners: those that are boxes inside it as x1, y1, x2, y2.
    """

    def __init__(self) -> None:
        self.boxes = self.leaving = self.corners = 0
        self._last: list = []

    def count(self, boxes: list[list[float]], width: float, height: float) -> None:
        """Count boxes of four numbers, of an image of so many pixels."""
        if boxes == self._last or self.corners < self.boxes:
            return
        self._last = boxes
        right, bottom = width + ROUNDING, height + ROUNDING
        for a, b, c, d in boxes:
            self.boxes += 1
            self.leaving += a + c > right or b + d > bottom
            self.corners += a < c <= right and b < d <= bottom

    @property
    def looks_like_corners(self) -> bool:
        """Whether many boxes leave their images as x, y, width, height and none does as x1, y1, x2, y2."""
        return self.boxes >= FEWEST and self.corners == self.boxes and self.leaving >= MANY * self.boxes

    def warning(self) -> str:
        """What to say where it looks so, with the numbers."""
        return (
            f"of {self.boxes} boxes {self.leaving} leave their image as x, y, width, height, and none does as x1, y1, "
            "x2, y2. Are they given as corners? They are read as x, y, width, height in pixels"
        )
