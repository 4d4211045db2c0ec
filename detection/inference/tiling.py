"""Cut an image into overlapping tiles and put the boxes of the tiles together again, each cell once.
It handles rectangles only; pixels and types of cells are left to `detector`.
"""

import numpy as np
from scipy.spatial import cKDTree


def tile_starts(length_px: int, tile_px: int, overlap_px: int) -> list[int]:
    """Return the first pixels of equally spread tiles along one edge.

    Parameters
    ----------
    length_px, tile_px, overlap_px : int
        Length of the edge, of a tile, and the least that neighbours share; `overlap_px < tile_px`.

    Returns
    -------
    list of int
        Every pixel of `0 .. length_px - 1` is in a tile; [0] where one tile is enough.
    """
    if length_px <= tile_px:
        return [0]
    steps = -(-(length_px - tile_px) // (tile_px - overlap_px))
    return [round(step * (length_px - tile_px) / steps) for step in range(steps + 1)]


def tile_grid(width_px: int, height_px: int, tile_px: int, overlap_px: int) -> list[tuple[int, int]]:
    """Return the (x, y) corners of all tiles, row by row; see `tile_starts`."""
    columns = tile_starts(width_px, tile_px, overlap_px)
    return [(x, y) for y in tile_starts(height_px, tile_px, overlap_px) for x in columns]


def own_cells(
    xyxy: np.ndarray,
    tile_x: float,
    tile_y: float,
    tile_px: float,
    width_px: float,
    height_px: float,
    overlap_px: float,
    margin_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which boxes a tile answers for, and which of them an inner edge of the tile may have cut.

    Parameters
    ----------
    xyxy : ndarray, shape (n, 4)
        Boxes in pixels of the image.
    tile_x, tile_y, tile_px, width_px, height_px, overlap_px : float
        The tile and the image, in the same pixels.
    margin_px : float
        How far a box centre may be beyond the middle of an overlap and still be this tile's.

    Returns
    -------
    owned, cut : ndarray of bool, shape (n,)

    Notes
    -----
    Of an overlap each tile owns its half and a margin, so that no cell is lost when two tiles place its centre a little
    differently; who is doubly owned is merged by `merge_over_seams`.
    """
    edge_px = overlap_px / 2 - margin_px
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    owned = np.ones(len(xyxy), bool)
    cut = np.zeros(len(xyxy), bool)
    touch_px = 0.004 * tile_px
    for axis, (start, length) in enumerate(((tile_x, width_px), (tile_y, height_px))):
        if start > 0:
            owned &= centres[:, axis] >= start + edge_px
            cut |= xyxy[:, axis] <= start + touch_px
        if start + tile_px < length:
            owned &= centres[:, axis] <= start + tile_px - edge_px
            cut |= xyxy[:, axis + 2] >= start + tile_px - touch_px
    return owned, cut


def merge_over_seams(xyxy: np.ndarray, scores: np.ndarray, cut: np.ndarray, *, iou: float = 0.5) -> np.ndarray:
    """Choose among overlapping boxes, whatever their types: whole ones before cut ones, then by score.

    Parameters
    ----------
    xyxy : ndarray, shape (n, 4)
    scores : ndarray, shape (n,)
    cut : ndarray of bool, shape (n,)
        Boxes that end at an inner edge of a tile; they are dropped where more than half of them is in a kept box.
    iou : float, 0..1
        Of two whole boxes that overlap by more, the better stays.

    Returns
    -------
    ndarray of int
        Indices of the kept boxes, best first; empty for no boxes.

    Notes
    -----
    Greedy non-maximum suppression in which only pairs with near centres are compared, found with a k-d tree: O(n log n)
    for boxes of similar size. Boxes that overlap by more than half have centres nearer than half the larger diagonal.
    """
    if len(xyxy) == 0:
        return np.empty(0, int)
    order = np.lexsort((-scores, cut))
    boxes = xyxy[order]
    sides = boxes[:, 2:] - boxes[:, :2]
    tree = cKDTree((boxes[:, :2] + boxes[:, 2:]) / 2)
    pairs = tree.query_pairs(np.hypot(*sides.T).max() / 2 + 1e-6, output_type="ndarray")  # (m, 2), first < second
    first, second = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    common = (np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])).clip(0).prod(1)
    areas = sides.prod(1)
    union = areas[pairs[:, 0]] + areas[pairs[:, 1]] - common
    same = common > iou * union
    same |= cut[order][pairs[:, 1]] & (common > 0.5 * areas[pairs[:, 1]])
    clashes = pairs[same]
    kept = np.ones(len(boxes), bool)
    for better, worse in clashes[np.argsort(clashes[:, 0], kind="stable")]:
        if kept[better]:
            kept[worse] = False
    return order[kept]
