"""Read one image of a smear: its scale, its cells, and the stained nuclei that no cell's box covers.

The worker and every command read an image here and nowhere else; decoding files and storing results are left to them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detection.inference.detector import Detector, FoundCell
from detection.inference.nuclei import find_nuclei, uncovered_nuclei
from detection.inference.scale import ScaleUnknown, um_per_px_from_red_cells
from detection.inference.surround import without_surround

MANY_NUCLEI = 3  # of one field without any box: specks of stain are fewer
LEAST_CONTRAST = 12  # grey levels of green; noise and compression of empty glass have less


@dataclass(frozen=True)
class FieldReading:
    """What was read on one image.

    `cells`, best score first; `scale_method`, "stated" or "red cells"; `uncovered`, shape (k, 4), xyxy px of stained
    nuclei of which no single box covers half; `nuclei`, how many stained nuclei there are; `is_unreadable`, whether
    nothing was found although the picture shows more than glass; `unlike`, how far its stain, focus and scale are from
    those that the detector was proven on, above 1 where they are unlike (`likeness`), empty without such a card.
    """

    cells: list[FoundCell]
    um_per_px: float
    scale_method: str
    uncovered: np.ndarray
    nuclei: int
    is_unreadable: bool = False
    unlike: Mapping[str, float] = field(default_factory=dict)

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
    pixels = without_surround(pixels)
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
    is_unreadable = not cells and (len(nuclei) >= MANY_NUCLEI or shows_more_than_glass(pixels))
    unlike = detector.likeness.differences(pixels, um_per_px, detector.colour) if detector.likeness else {}
    return FieldReading(cells, um_per_px, method, uncovered_nuclei(nuclei, boxes), len(nuclei), is_unreadable, unlike)


def shows_more_than_glass(pixels: np.ndarray) -> bool:
    """Tell whether a picture shows structure without red cells that can be measured: no field of a stained smear."""
    some = pixels[:: max(1, pixels.shape[0] // 400), :: max(1, pixels.shape[1] // 400), 1]
    contrast = np.quantile(some, 0.98) - np.quantile(some, 0.02)
    return bool(contrast >= LEAST_CONTRAST) and um_per_px_from_red_cells(pixels) is None
