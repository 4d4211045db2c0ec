"""Find the monolayer of a whole slide: blocks in which red cells are beside each other, neither too few nor in layers.

It judges blocks at about 1 um per px; reading the slide and finding leukocytes are left to others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from detection import BLOCK_UM

LOOK_UM_PER_PX = 1.0  # a red cell is 7.5 px wide
SPARSE, DENSE, USABLE = range(3)
FAINT = 2.0  # grey levels of mean darkness in the overview; a block of fewer shows nothing
LEAST_DARKNESS = 10  # grey levels of green below the glass; noise and dust of empty glass have less
LEAST_COVERED = 0.08  # of a block, by cells; fewer are not worth the time
MOST_COVERED = 0.6  # less glass than that is where cells are in layers
LEAST_SINGLE = 0.1  # of what is covered, by single cells; fewer are where they are in rolls and sheets
SINGLE_UM2 = (20.0, 350.0)  # a small red cell; a blast of 21 um
LEAST_SOLID = 0.88  # of its convex hull; two discs that touch have less
CUT_BLOCKS = 24  # looked at for the cut between glass and cells


@dataclass(frozen=True)
class BlockMap:
    """What each block of a slide is.

    `block_px` and the slide's size in px of its finest level; `kinds`, shape (rows, columns), SPARSE, DENSE or USABLE;
    `quality`, same shape, share of the block that single cells cover: the best of it is read first.
    """

    block_px: int
    width_px: int
    height_px: int
    kinds: np.ndarray
    quality: np.ndarray

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return xyxy px of a block; those at the right and lower edge are smaller."""
        x, y = column * self.block_px, row * self.block_px
        return x, y, min(x + self.block_px, self.width_px), min(y + self.block_px, self.height_px)

    def best(self, most: int) -> list[tuple[int, int]]:
        """Return (row, column) of the usable blocks, best first, at most so many."""
        rows, columns = np.nonzero(self.kinds == USABLE)
        order = np.argsort(-self.quality[rows, columns], kind="stable")[:most]
        return [(int(rows[i]), int(columns[i])) for i in order]


def map_blocks(
    overview: np.ndarray,
    size_px: tuple[int, int],
    um_per_px: float,
    look: Callable[[int, int, int, int], np.ndarray],
    on_progress: Callable[[int, int], None] | None = None,
) -> BlockMap:
    """Judge every block of a slide.

    Parameters
    ----------
    overview : ndarray or memmap, shape (h, w, 3), uint8, RGB
        The whole slide, small.
    size_px : tuple of int
        Width and height of its finest level.
    um_per_px : float
        Scale of its finest level.
    look : callable(x1, y1, x2, y2)
        Returns that part of the slide (px of the finest level) at about LOOK_UM_PER_PX, RGB.
    on_progress : callable(done, total), optional
        Called with counts of blocks that had to be looked at.

    Returns
    -------
    BlockMap
    """
    width_px, height_px = size_px
    block_px = round(BLOCK_UM / um_per_px)
    rows, columns = -(-height_px // block_px), -(-width_px // block_px)
    found = BlockMap(
        block_px, width_px, height_px, np.full((rows, columns), SPARSE, np.uint8), np.zeros((rows, columns), np.float32)
    )
    glass = _glass(overview)
    shown = _shown(overview, glass, found)
    if not shown:
        return found
    some = shown[:: max(1, len(shown) // CUT_BLOCKS)]
    cut = darkness_cut([look(*found.box(*block)) for block in some], glass)
    for done, (row, column) in enumerate(shown):
        x1, y1, x2, y2 = found.box(row, column)
        pixels = look(x1, y1, x2, y2)
        um = um_per_px * (x2 - x1) / pixels.shape[1]
        found.kinds[row, column], found.quality[row, column] = judge_block(pixels, um, glass, cut)
        if on_progress:
            on_progress(done + 1, len(shown))
    return found


def judge_block(pixels: np.ndarray, um_per_px: float, glass: int, cut: int) -> tuple[int, float]:
    """Tell what a block is, and which share of it single cells cover.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), uint8, RGB
    um_per_px : float
        About LOOK_UM_PER_PX.
    glass, cut : int
        Green of the glass, and how much darker cells are, both grey levels.
    """
    cells = (pixels[..., 1] < glass - cut).astype(np.uint8)
    outlines, _ = cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    share = float(cells.mean())
    if share < LEAST_COVERED:
        return SPARSE, 0.0
    single = 0.0
    for outline in outlines:
        # The outline goes through the middle of the outermost pixels.
        area = cv2.contourArea(outline) + cv2.arcLength(outline, True) / 2 + 1
        if not SINGLE_UM2[0] <= area * um_per_px**2 <= SINGLE_UM2[1]:
            continue
        hull = cv2.convexHull(outline)
        if area >= LEAST_SOLID * (cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2 + 1):
            single += area
    quality = single / cells.size
    return (DENSE if share > MOST_COVERED or quality < LEAST_SINGLE * share else USABLE), quality


def darkness_cut(blocks: list[np.ndarray], glass: int) -> int:
    """Return how many grey levels darker than the glass cells are: Otsu's cut over some blocks, within limits."""
    darkness = np.concatenate([np.clip(glass - block[..., 1].astype(np.int16), 0, 255).ravel() for block in blocks])
    cut, _ = cv2.threshold(darkness.astype(np.uint8)[:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return max(LEAST_DARKNESS, min(int(cut), 40))


def _glass(overview: np.ndarray) -> int:
    """Return green of the glass: of the brightest twentieth, without what the scanner left white."""
    green = np.asarray(overview[::4, ::4, 1])
    seen = green[green < 254]
    return int(np.quantile(seen, 0.95)) if seen.size else 255


def _shown(overview: np.ndarray, glass: int, found: BlockMap) -> list[tuple[int, int]]:
    """Return (row, column) of the blocks of which the overview shows more than glass."""
    small_h, small_w = overview.shape[:2]
    blocks = []
    for row in range(found.kinds.shape[0]):
        for column in range(found.kinds.shape[1]):
            x1, y1, x2, y2 = found.box(row, column)
            left, right = (round(x * small_w / found.width_px) for x in (x1, x2))
            top, bottom = (round(y * small_h / found.height_px) for y in (y1, y2))
            part = overview[top : max(bottom, top + 1), left : max(right, left + 1), 1]
            if part.size and np.clip(glass - part.astype(np.int16), 0, None).mean() >= FAINT:
                blocks.append((row, column))
    return blocks
