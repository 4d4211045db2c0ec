"""Read one image of a smear: its scale, its cells, and the stained nuclei that no cell's box covers.

The worker and every command read an image here and nowhere else; decoding files and storing results are left to them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detection.inference.detector import Detector, FoundCell
from detection.inference.nuclei import find_nuclei, uncovered_nuclei
from detection.inference.scale import um_per_px_from_red_cells


class ScaleUnknown(ValueError):
    """Say that neither a person, the file nor the red cells tell the scale of an image."""


@dataclass(frozen=True)
class FieldReading:
    """What was read on one image.

    `cells`, best score first; `scale_method`, "stated" or "red cells"; `uncovered`, shape (k, 4), xyxy px of stained
    nuclei of which no single box covers half; `nuclei`, how many stained nuclei there are.
    """

    cells: list[FoundCell]
    um_per_px: float
    scale_method: str
    uncovered: np.ndarray
    nuclei: int

    @property
    def boxes(self) -> np.ndarray:
        """Boxes of the cells, shape (n, 4), xyxy px."""
        return np.array([cell.xyxy for cell in self.cells], float).reshape(-1, 4)


def read_field(
    pixels: np.ndarray,
    detector: Detector,
    stated_scale: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    floor: float | np.ndarray | None = None,
    several_types: bool = False,
) -> FieldReading:
    """Read one image as the product reads it.

    Parameters
    ----------
    pixels : ndarray or memmap, shape (H, W, 3), uint8, RGB
    detector : Detector
    stated_scale : float, optional
        um per px of the image, from its slide, its file or a person; without it the red cells are measured.
    on_progress : callable(done, total), optional
        Called after each batch with counts of tiles.
    floor : float or ndarray, shape (15,), optional
        Least scores in place of the detector's thresholds: average precision needs nearly all findings.
    several_types : bool
        True lets one box carry several types, as articles measure average precision; the product never does.

    Returns
    -------
    FieldReading

    Raises
    ------
    ScaleUnknown
        Where no scale is stated and too few single red cells are seen.
    ValueError
        Where the scale is out of range or `pixels` is no (H, W, 3) uint8 array.
    """
    um_per_px, method = stated_scale, "stated"
    if um_per_px is None:
        um_per_px, method = um_per_px_from_red_cells(pixels), "red cells"
    if um_per_px is None:
        raise ScaleUnknown(
            "The scale is not known: neither was it stated nor were enough single red cells found to measure it."
        )
    cells = detector.find_cells(
        pixels, um_per_px, thresholds=floor, several_types=several_types, on_progress=on_progress
    )
    nuclei = find_nuclei(pixels, um_per_px)
    boxes = np.array([cell.xyxy for cell in cells], float).reshape(-1, 4)
    return FieldReading(cells, um_per_px, method, uncovered_nuclei(nuclei, boxes), len(nuclei))
