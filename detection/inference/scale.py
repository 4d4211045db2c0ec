"""Decide the scale of a slide: what a person stated, what its files say, and what its red cells measure.

Red cells are 7.5 um wide in nearly everybody. Reading files and asking people is left to those who call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detection import FAR_APART
from detection.images import UM_PER_PX_RANGE
from detection.inference.nuclei import nuclear_stain
from detection.inference.surround import without_surround

RED_CELL_UM = 7.5
WINDOW_PX = 1500
DIAMETER_PX = (9, 260)
FEWEST_CELLS = 4
MOST_NETWORK_PX = 1_500_000_000  # a slide of 200 megapixels at 0.39 um per px, read at 0.143


class ScaleUnknown(ValueError):
    """Say that the scale cannot be decided without a person; `choices` holds what each source says, by its name."""

    def __init__(self, sentence: str, choices: dict[str, float] | None = None) -> None:
        super().__init__(sentence)
        self.choices = choices or {}


@dataclass(frozen=True)
class SlideScale:
    """The one scale of a slide: `method` is "uploader" (a person stated it), "file" or "red cells"."""

    um_per_px: float
    method: str


def are_far_apart(one: float, other: float) -> bool:
    """Tell whether two scales differ by more than FAR_APART."""
    return max(one, other) > FAR_APART * min(one, other)


def in_range(um_per_px: float | None) -> bool:
    """Tell whether a scale is one that the product takes, from a file, a person or red cells."""
    return um_per_px is not None and UM_PER_PX_RANGE[0] <= um_per_px <= UM_PER_PX_RANGE[1]


def decide_scale(
    stated: Sequence[float | None], in_files: Sequence[float | None], red_cells: Sequence[float | None]
) -> SlideScale:
    """Decide the scale of a slide, whose images come from one microscope.

    Parameters
    ----------
    stated, in_files, red_cells : sequence of float or None
        um per px of each image: as a person entered it, as its file says, as its red cells measure.

    Returns
    -------
    SlideScale
        A person's entry always; else the files' where the red cells do not contradict; else the red cells'. Of several
        images the median counts.

    Raises
    ------
    ScaleUnknown
        Where no source tells a scale, or files and red cells, or two files, differ by more than 1.4 times.
    """
    known = [[own for own in source if own is not None and in_range(own)] for source in (stated, in_files, red_cells)]
    entered, written, measured = (float(np.median(own)) if own else None for own in known)
    if entered is not None:
        return SlideScale(entered, "uploader")
    if written is not None and measured is not None and are_far_apart(written, measured):
        raise ScaleUnknown(
            f"The file says {written:.3g} µm per pixel, but at the size of its red cells it is {measured:.3g}. "
            "Nothing was counted. Choose the right scale; a wrong one changes what is found.",
            {"file": round(written, 4), "red cells": round(measured, 4)},
        )
    if len(known[1]) > 1 and are_far_apart(min(known[1]), max(known[1])):
        raise ScaleUnknown(
            f"The files of this slide say different scales, {min(known[1]):.3g} to {max(known[1]):.3g} µm per pixel. "
            "Nothing was counted. Upload images of different objectives as slides of their own, or enter one scale.",
            {"smallest": round(min(known[1]), 4), "largest": round(max(known[1]), 4)},
        )
    if written is not None:
        return SlideScale(written, "file")
    if measured is not None:
        return SlideScale(round(measured, 4), "red cells")
    raise ScaleUnknown(
        "The scale of this slide is not known: the file does not say it, and too few single red cells were found to "
        "measure it. Nothing was counted. Enter the scale of the microscope in micrometres per pixel."
    )


def refuse_enlargement(width_px: int, height_px: int, um_per_px: float, trained_um_per_px: float) -> None:
    """Raise ScaleUnknown where a scale would make an image so large for the network that a worker is held for hours."""
    enlarged = width_px * height_px * (um_per_px / trained_um_per_px) ** 2
    if enlarged > MOST_NETWORK_PX:
        raise ScaleUnknown(
            f"At {um_per_px:.3g} µm per pixel this image of {width_px} x {height_px} pixels would be enlarged to "
            f"{enlarged / 1e6:,.0f} megapixels for the detector; the limit is {MOST_NETWORK_PX / 1e6:,.0f}. "
            "Correct the scale, or upload a smaller part of the slide."
        )


def um_per_px_from_red_cells(image: np.ndarray) -> float | None:
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
    The surround of a round picture, black or of one colour, takes no part (`surround.without_surround`). Up to five
    windows are looked at, the middle one and one towards each corner. What is darker in green than the glass is filled
    (pallor); patches with nuclear stain, touching (not convex), long and cut ones are left out. The diameter is that of
    a circle of equal area. Red cells vary: 6.7 to 8 um between people, more in anaemia; a typed-in scale is better.
    """
    windows = _windows(without_surround(image, bright=True))
    return _scale(_diameters_of_single(windows)) or _scale(_diameters_of_touching(windows))


def _scale(diameters: Sequence[np.ndarray]) -> float | None:
    """Return um per px of diameters in px, or None where too few agree."""
    own = np.concatenate(diameters)
    if len(own) < FEWEST_CELLS:
        return None
    # Fragments and platelets pull down: the centre is taken by area, then the cells about it.
    order = np.sort(own)
    centre = order[np.searchsorted(np.cumsum(order**2), (order**2).sum() / 2)]
    alike = own[(own > 0.72 * centre) & (own < 1.3 * centre)]
    if len(alike) < FEWEST_CELLS:
        return None
    um_per_px = round(float(RED_CELL_UM / np.median(alike)), 4)
    return um_per_px if in_range(um_per_px) else None


def _windows(image: np.ndarray) -> list[np.ndarray]:
    height_px, width_px = image.shape[:2]
    if max(height_px, width_px) <= 2 * WINDOW_PX:
        return [np.ascontiguousarray(image)] if max(height_px, width_px) <= WINDOW_PX else _corners(image)
    middle_y, middle_x = (max(0, (edge - WINDOW_PX) // 2) for edge in (height_px, width_px))
    middle = image[middle_y : middle_y + WINDOW_PX, middle_x : middle_x + WINDOW_PX]
    return [np.ascontiguousarray(middle), *_corners(image)]


def _corners(image: np.ndarray) -> list[np.ndarray]:
    """Return four windows, each in a quarter of the image, away from its outermost edge where there is room."""
    windows = []
    for half_y in np.array_split(np.arange(image.shape[0]), 2):
        for half_x in np.array_split(np.arange(image.shape[1]), 2):
            y, x = (half[0] + max(0, (len(half) - WINDOW_PX) // 2) for half in (half_y, half_x))
            rows, columns = min(WINDOW_PX, len(half_y)), min(WINDOW_PX, len(half_x))
            windows.append(np.ascontiguousarray(image[y : y + rows, x : x + columns]))
    return windows


def _cells_and_nuclei(window: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return masks uint8 of what is darker than the glass and of what is stained like a nucleus, or None."""
    smooth = cv2.medianBlur(window, 5)
    green = smooth[..., 1]
    if int(np.quantile(green, 0.98)) - int(np.quantile(green, 0.02)) < 12:
        return None
    _, dark = cv2.threshold(green, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    return dark, (nuclear_stain(smooth) > 0.45).astype(np.uint8)


def _diameters_of_single(windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return for each window the diameters in px of its single, whole, round red cells, shape (n,)."""
    return [np.array([*_single(*masks)]) for masks in map(_cells_and_nuclei, windows) if masks] or [np.empty(0)]


def _single(dark: np.ndarray, nuclear: np.ndarray) -> Iterator[float]:
    """Yield the diameters in px of the single, whole, round red cells of a mask."""
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


def _diameters_of_touching(windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return for each window the diameters in px of the largest circles in its red cells, touching ones too."""
    return [_inscribed(*masks) for masks in map(_cells_and_nuclei, windows) if masks] or [np.empty(0)]


def _inscribed(dark: np.ndarray, nuclear: np.ndarray) -> np.ndarray:
    """Return the diameters in px of the largest circles inside a mask, away from nuclei, shape (n,)."""
    outlines, nesting = cv2.findContours(dark, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, (_, _, _, parent) in zip(outlines, nesting[0] if nesting is not None else ()):
        # Pallor is round; the glass between cells that touch has corners.
        area, turn = cv2.contourArea(outline), cv2.arcLength(outline, True)
        if parent >= 0 and turn and 4 * np.pi * area / turn**2 > 0.6:
            cv2.drawContours(dark, [outline], -1, 1, cv2.FILLED)
    if dark.all():  # no edge to measure from
        return np.empty(0)
    leukocytes = cv2.dilate(nuclear, np.ones((25, 25), np.uint8))
    depth = cv2.GaussianBlur(cv2.distanceTransform(np.pad(dark, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1], (0, 0), 1)
    depth[depth > DIAMETER_PX[1] / 2] = 0  # no red cell: a fold, a clump, a shadow
    reach = max(3, int(depth.max() * 0.6)) | 1
    peaks = (depth == cv2.dilate(depth, np.ones((reach, reach), np.uint8))) & (depth > DIAMETER_PX[0] / 2)
    ys, xs = np.nonzero(peaks & (leukocytes == 0))
    depths = depth[ys, xs]
    inside = (xs > depths) & (ys > depths) & (xs < dark.shape[1] - depths) & (ys < dark.shape[0] - depths)
    # An oval's inner circle is narrower than the circle of its area: 1.09 on fields where both were measured.
    return 2 * 1.09 * depths[inside]
