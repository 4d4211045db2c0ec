"""How much of a whole slide was read: its area, and a sentence for the report.

It sees `ImageResult.coverage` alone; what pages say of it is in `regions`.
"""

from typing import TypedDict

import numpy as np


class Coverage(TypedDict):
    """What `ImageResult.coverage` keeps: a letter for each block, the boxes that were read, and who chose them.

    A block is `s`parse, `d`ense or `u`sable; its edge is in px of the slide, and so are the boxes. Regions that a
    reader drew are `drawn`.
    """

    block_px: int
    kinds: list[str]
    read: list[list[int]]
    drawn: bool


def area_of(coverage: Coverage, um_per_px: float) -> float:
    """Return the square millimetres of film that were read; what drawn regions share counts once."""
    boxes = np.array(coverage["read"], float).reshape(-1, 4)
    xs, ys = np.unique(boxes[:, ::2]), np.unique(boxes[:, 1::2])
    is_read = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), bool)
    for x1, y1, x2, y2 in boxes:
        left, right, top, bottom = *np.searchsorted(xs, (x1, x2)), *np.searchsorted(ys, (y1, y2))
        is_read[top:bottom, left:right] = True
    return float(np.diff(ys) @ is_read @ np.diff(xs)) * (um_per_px / 1000) ** 2


def read_sentence(coverage: Coverage, area_mm2: float) -> str:
    """Say for the report how much of a whole slide was read."""
    if coverage["drawn"]:
        return f"Of the whole slide, {area_mm2:.2f} mm² were read in regions that a reader drew."
    blocks = sum(map(len, coverage["kinds"]))
    return f"Of the whole slide, {len(coverage['read'])} of {blocks} blocks were read ({area_mm2:.2f} mm²)."
