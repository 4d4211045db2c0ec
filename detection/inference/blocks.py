"""Read parts of a whole slide one after the other, each as an image is read, and put their cells together.

Which parts are read, and how pixels are had, is left to those who call; of one part after the other is in memory.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from detection.inference.detector import MARGIN_UM, OVERLAP_UM, Detector, FoundCell
from detection.inference.reading import FieldReading, read_field
from detection.inference.tiling import merge_over_seams

AROUND_UM = OVERLAP_UM / 2 + MARGIN_UM  # read about each part: a cell whose centre is inside is seen whole

Box = tuple[int, int, int, int]


def read_blocks(
    blocks: Sequence[Box],
    size_px: tuple[int, int],
    um_per_px: float,
    times: int,
    read: Callable[[int, int, int, int], np.ndarray],
    detector: Detector,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_cells: Callable[[np.ndarray, Box, Sequence[FoundCell]], None] | None = None,
) -> FieldReading:
    """Read parts of a whole slide.

    Parameters
    ----------
    blocks : sequence of (x1, y1, x2, y2)
        In px of the slide's finest level; they may touch and overlap.
    size_px : tuple of int
        Width and height of the finest level.
    um_per_px : float
        Scale of the finest level.
    times : int
        How many times coarser the pixels are that `read` returns.
    read : callable(x1, y1, x2, y2)
        Returns a part (px of the finest level) as RGB, `times` coarser.
    detector : Detector
    on_progress : callable(done, total), optional
        Called after each block.
    on_cells : callable(pixels, box, cells), optional
        Called after each block with its pixels, the place that they show, and the cells found there.

    Returns
    -------
    FieldReading
        Boxes in px of the finest level. A cell belongs to the part that its centre is in: cells at the seam of two
        parts are counted once, and those outside of all parts not at all. `unlike` holds the median of the parts;
        `is_unreadable` says that no cell was found and most parts could not be read.
    """
    cells: list[FoundCell] = []
    cut: list[bool] = []
    uncovered, nuclei, unreadable = [np.empty((0, 4))], 0, 0
    unlike: dict[str, list[float]] = defaultdict(list)
    around_px = round(AROUND_UM / um_per_px)
    for done, block in enumerate(blocks):
        shown = _widened(block, around_px, size_px)
        pixels = read(*shown)
        reading = read_field(pixels, detector, um_per_px * times)
        own = [cell for cell in _placed(reading.cells, shown, times, size_px) if _is_in(cell.xyxy, block, um_per_px)]
        if on_cells:
            on_cells(pixels, shown, own)
        cells += own
        cut += [_touches(cell.xyxy, shown, size_px, times) for cell in own]
        missed = reading.uncovered * times + np.array([*shown[:2], *shown[:2]])
        inside = [_is_in(box, block, 0.0) for box in missed]
        uncovered.append(missed[np.array(inside, bool)])
        nuclei += reading.nuclei
        unreadable += reading.is_unreadable
        for name, measure in reading.unlike.items():
            unlike[name].append(measure)
        if on_progress:
            on_progress(done + 1, len(blocks))
    return FieldReading(
        _once(cells, cut, blocks, detector.card.merge_iou),
        um_per_px,
        "stated",
        np.concatenate(uncovered),
        nuclei,
        not cells and 2 * unreadable > len(blocks),
        {name: float(median(measures)) for name, measures in unlike.items()},
    )


def _once(cells: Sequence[FoundCell], cut: Sequence[bool], blocks: Sequence[Box], iou: float) -> list[FoundCell]:
    """Return each cell once, the highest score first; a `cut` one reached the edge of what was shown of its part."""
    boxes = np.array([cell.xyxy for cell in cells], float).reshape(-1, 4)
    scores = np.array([cell.score for cell in cells], float)
    kept = merge_over_seams(boxes, scores, np.array(cut, bool), iou=iou)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    # A cell that only the margin showed belongs to nobody where no part begins beside it.
    return [cells[i] for i in kept if any(_is_in(boxes[i], block, 0.0) for block in blocks)]


def cut_into_blocks(regions: Sequence[Box], size_px: tuple[int, int], block_px: int) -> list[Box]:
    """Cut regions that a reader drew into blocks of at most that edge, in px of the finest level."""
    blocks = []
    for x1, y1, x2, y2 in regions:
        x1, y1, x2, y2 = max(0, x1), max(0, y1), min(size_px[0], x2), min(size_px[1], y2)
        if x1 >= x2 or y1 >= y2:
            continue
        across, down = -(-(x2 - x1) // block_px), -(-(y2 - y1) // block_px)
        columns, rows = (np.linspace(*ends).round().astype(int) for ends in ((x1, x2, across + 1), (y1, y2, down + 1)))
        blocks += [
            (int(left), int(top), int(right), int(bottom))
            for top, bottom in zip(rows, rows[1:])
            for left, right in zip(columns, columns[1:])
        ]
    return blocks


def _widened(block: Box, by_px: int, size_px: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = block
    return max(0, x1 - by_px), max(0, y1 - by_px), min(size_px[0], x2 + by_px), min(size_px[1], y2 + by_px)


def _placed(cells: Sequence[FoundCell], shown: Box, times: int, size_px: tuple[int, int]) -> list[FoundCell]:
    """Return cells with their boxes in px of the finest level."""
    x, y = shown[:2]
    most = [*size_px, *size_px]
    placed = []
    for cell in cells:
        x1, y1, x2, y2 = (min(own * times + at, end) for own, at, end in zip(cell.xyxy, (x, y, x, y), most))
        placed.append(replace(cell, xyxy=(float(x1), float(y1), float(x2), float(y2))))
    return placed


def _is_in(xyxy: Sequence[float] | np.ndarray, block: Box, um_per_px: float) -> bool:
    """Tell whether the centre of a box is in a block or, at a seam, near enough for two parts to place it apart."""
    margin_px = MARGIN_UM / um_per_px if um_per_px else 0.0
    x, y = (xyxy[0] + xyxy[2]) / 2, (xyxy[1] + xyxy[3]) / 2
    return bool(block[0] - margin_px <= x < block[2] + margin_px and block[1] - margin_px <= y < block[3] + margin_px)


def _touches(xyxy: Sequence[float], shown: Box, size_px: tuple[int, int], times: int) -> bool:
    """Tell whether a box ends where the pixels that were read end within the slide."""
    x1, y1, x2, y2 = shown
    return (
        (x1 > 0 and xyxy[0] <= x1 + 2 * times)
        or (y1 > 0 and xyxy[1] <= y1 + 2 * times)
        or (x2 < size_px[0] and xyxy[2] >= x2 - 2 * times)
        or (y2 < size_px[1] and xyxy[3] >= y2 - 2 * times)
    )
