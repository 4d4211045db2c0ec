"""Work out the scale of an image from its red cells, which are 7.5 um wide in nearly everybody.
It knows shapes and colours; it knows no metadata, no network and no laboratory.
"""

import cv2
import numpy as np

from detection.inference.nuclei import nuclear_stain

RED_CELL_UM = 7.5
WINDOW_PX = 1500
DIAMETER_PX = (9, 260)
FEWEST_CELLS = 4


def um_per_px_from_red_cells(image):
    """Estimate um per px as 7.5 um over the median diameter of single red cells.

    Parameters
    ----------
    image : ndarray or memmap, shape (H, W, 3), uint8, RGB

    Returns
    -------
    float or None
        None where fewer than four single red cells are seen: then ask, do not guess.

    Notes
    -----
    Up to five windows are looked at, the middle one and one towards each corner. What is darker in green than the glass
    is filled (pallor); patches with nuclear stain, touching (not convex), long and cut ones are left out. The diameter
    is that of a circle of equal area. Red cells vary: 6.7 to 8 um between people, more in anaemia; a typed-in scale is
    better.
    """
    windows = _windows(image)
    return _scale(_diameters_of_single(windows)) or _scale(_diameters_of_touching(windows))


def _scale(diameters):
    """Return um per px of diameters in px, or None where too few agree."""
    diameters = np.concatenate(diameters)
    if len(diameters) < FEWEST_CELLS:
        return None
    # Fragments and platelets pull down: the centre is taken by area, then the cells about it.
    order = np.sort(diameters)
    centre = order[np.searchsorted(np.cumsum(order**2), (order**2).sum() / 2)]
    alike = diameters[(diameters > 0.72 * centre) & (diameters < 1.3 * centre)]
    if len(alike) < FEWEST_CELLS:
        return None
    return round(float(RED_CELL_UM / np.median(alike)), 4)


def _windows(image):
    height_px, width_px = image.shape[:2]
    if max(height_px, width_px) <= 2 * WINDOW_PX:
        return [np.ascontiguousarray(image)] if max(height_px, width_px) <= WINDOW_PX else _corners(image)
    middle_y, middle_x = (max(0, (edge - WINDOW_PX) // 2) for edge in (height_px, width_px))
    middle = image[middle_y : middle_y + WINDOW_PX, middle_x : middle_x + WINDOW_PX]
    return [np.ascontiguousarray(middle), *_corners(image)]


def _corners(image):
    """Return four windows, each in a quarter of the image, away from its outermost edge where there is room."""
    windows = []
    for half_y in np.array_split(np.arange(image.shape[0]), 2):
        for half_x in np.array_split(np.arange(image.shape[1]), 2):
            y, x = (half[0] + max(0, (len(half) - WINDOW_PX) // 2) for half in (half_y, half_x))
            rows, columns = min(WINDOW_PX, len(half_y)), min(WINDOW_PX, len(half_x))
            windows.append(np.ascontiguousarray(image[y : y + rows, x : x + columns]))
    return windows


def _cells_and_nuclei(window):
    """Return masks uint8 of what is darker than the glass and of what is stained like a nucleus, or None."""
    smooth = cv2.medianBlur(window, 5)
    green = smooth[..., 1]
    if int(np.quantile(green, 0.98)) - int(np.quantile(green, 0.02)) < 12:
        return None
    _, dark = cv2.threshold(green, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    return dark, (nuclear_stain(smooth) > 0.45).astype(np.uint8)


def _diameters_of_single(windows):
    """Return for each window the diameters in px of its single, whole, round red cells, shape (n,)."""
    return [np.array([*_single(*masks)]) for masks in map(_cells_and_nuclei, windows) if masks] or [np.empty(0)]


def _single(dark, nuclear):
    outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    height_px, width_px = dark.shape
    for outline in outlines:
        x, y, width, height = cv2.boundingRect(outline)
        cut = x <= 1 or y <= 1 or x + width >= width_px - 1 or y + height >= height_px - 1
        if cut or min(width, height) < DIAMETER_PX[0] or max(width, height) > DIAMETER_PX[1]:
            continue
        area = cv2.contourArea(outline)
        convex = cv2.contourArea(cv2.convexHull(outline))
        round_shape = 4 * np.pi * area / cv2.arcLength(outline, True) ** 2
        if area < 0.93 * convex or max(width, height) > 1.35 * min(width, height) or round_shape < 0.72:
            continue
        if nuclear[y : y + height, x : x + width].mean() < 0.03:
            yield 2 * np.sqrt(area / np.pi)


def _diameters_of_touching(windows):
    """Return for each window the diameters in px of the largest circles in its red cells, touching ones too."""
    return [_inscribed(*masks) for masks in map(_cells_and_nuclei, windows) if masks] or [np.empty(0)]


def _inscribed(dark, nuclear):
    outlines, nesting = cv2.findContours(dark, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, (_, _, _, parent) in zip(outlines, nesting[0] if nesting is not None else ()):
        # Pallor is round; the glass between cells that touch has corners.
        area, turn = cv2.contourArea(outline), cv2.arcLength(outline, True)
        if parent >= 0 and turn and 4 * np.pi * area / turn**2 > 0.6:
            cv2.drawContours(dark, [outline], -1, 1, cv2.FILLED)
    leukocytes = cv2.dilate(nuclear, np.ones((25, 25), np.uint8))
    depth = cv2.GaussianBlur(cv2.distanceTransform(np.pad(dark, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1], (0, 0), 1)
    reach = max(3, int(depth.max() * 0.6)) | 1
    peaks = (depth == cv2.dilate(depth, np.ones((reach, reach), np.uint8))) & (depth > DIAMETER_PX[0] / 2)
    ys, xs = np.nonzero(peaks & (leukocytes == 0))
    depths = depth[ys, xs]
    inside = (xs > depths) & (ys > depths) & (xs < dark.shape[1] - depths) & (ys < dark.shape[0] - depths)
    # An oval's inner circle is narrower than the circle of its area: 1.09 on fields where both were measured.
    return 2 * 1.09 * depths[inside]
