"""Tell how far an image is from those that a detector was proven on: its stain, its focus and its scale.

The measures of its own pictures are made at a detector's release (`detection.lab.data.stains`) and kept in its card;
what follows from an image that is unlike them is left to the product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from detection.inference.stain_transfer import Stain, recolour, stain_of

# Spread of each measure of a stain within one laboratory, by which differences are divided; see `describe_stain`.
SPREAD = np.array([0.02, 0.03, 0.2, 0.02, 0.025, 0.16, 0.02, 0.03])
FOCUS_UM_PER_PX = 0.143  # edges are measured at one scale, or a finer camera would look blurred
STAIN_PX = 130  # edge of the thinned picture on which a stain is measured
FAINTEST = 0.01  # optical density


@dataclass(frozen=True)
class Likeness:
    """What the pictures were like that a detector was proven on.

    `stains` (k, 8), typical stains as of `describe_stain`; `farthest_stain`, the distance from the nearest of them that
    is still alike; `least_sharpness`, which one in a hundred of the pictures falls short of; `coarsest_um_per_px`, the
    coarsest scale of training.
    """

    stains: np.ndarray
    farthest_stain: float
    least_sharpness: float
    coarsest_um_per_px: float

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Likeness":
        """Read a Likeness as `as_facts` wrote it down; ValueError, TypeError or KeyError where it is none."""
        stains = np.array(facts["stains"], float).reshape(-1, len(SPREAD))
        numbers = [float(facts[name]) for name in ("farthest_stain", "least_sharpness", "coarsest_um_per_px")]
        if not len(stains) or min(numbers) <= 0:
            raise ValueError("A likeness needs stains, and limits above 0.")
        return cls(stains, *numbers)

    def as_facts(self) -> dict[str, Any]:
        """Return it as JSON-able facts of a card."""
        rest = {
            name: round(float(getattr(self, name)), 4)
            for name in ("farthest_stain", "least_sharpness", "coarsest_um_per_px")
        }
        return {"stains": np.round(self.stains, 3).tolist(), **rest}

    def differences(
        self, pixels: np.ndarray, um_per_px: float, colour: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Measure how unlike an image is, in shares of what is still alike.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 3), uint8
            RGB.
        um_per_px : float
        colour : dict or None
            What a laboratory's calibration does to colours before the network sees them (`stain_transfer.recolour`).

        Returns
        -------
        dict
            "stain", "focus" and "scale": above 1 the image is unlike those that the detector was proven on. "stain" is
            absent where too little is stained to tell.
        """
        differences = {
            "focus": self.least_sharpness / max(sharpness_of(pixels, um_per_px), 1e-6),
            "scale": um_per_px / self.coarsest_um_per_px,
        }
        some = pixels[:: max(1, pixels.shape[0] // STAIN_PX), :: max(1, pixels.shape[1] // STAIN_PX)]
        if stain := stain_of(recolour(some, colour)):
            differences["stain"] = stain_distance(self.stains, stain) / self.farthest_stain
        return {name: round(float(value), 3) for name, value in differences.items()}


def stain_distance(typical: np.ndarray, stain: Stain) -> float:
    """Return the distance of a stain from the nearest of the typical ones, shape (k, 8), in spreads."""
    return float(np.linalg.norm((typical - describe_stain(stain)) / SPREAD, axis=1).min())


def describe_stain(stain: Stain) -> np.ndarray:
    """Describe a stain by eight measures.

    Returns
    -------
    ndarray, shape (8,)
        Share of red and of green in the optical density of nuclei and the logarithm of its mean, the same of red cells,
        and the tint of the glass as the logarithms of red and of blue over green.
    """
    parts = []
    for density in (stain.nucleus, stain.red_cell):
        density = np.maximum(density, FAINTEST)
        parts += [density[0] / density.sum(), density[1] / density.sum(), np.log(density.mean())]
    red, green, blue = stain.glass
    return np.array([*parts, np.log(red / green), np.log(blue / green)], float)


def sharpness_of(pixels: np.ndarray, um_per_px: float) -> float:
    """Measure the focus of an image: its steepest edges in shares of its contrast per 0.143 um.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), uint8
        RGB.
    um_per_px : float

    Returns
    -------
    float
        About 0.2 for a focused smear; a blur of 0.4 um halves it.
    """
    height, width = pixels.shape[:2]
    most = round(2000 * FOCUS_UM_PER_PX / um_per_px)  # the middle of a large field is enough
    top, left = max(0, (height - most) // 2), max(0, (width - most) // 2)
    green = np.ascontiguousarray(pixels[top : top + most, left : left + most, 1])
    factor = um_per_px / FOCUS_UM_PER_PX
    size = max(8, round(green.shape[1] * factor)), max(8, round(green.shape[0] * factor))
    green = cv2.resize(green, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR).astype(np.float32)
    across, down = (cv2.Sobel(green, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    low, high = np.quantile(green, [0.01, 0.95])
    return float(np.quantile(cv2.magnitude(across, down), 0.99) / max(high - low, 1.0))


def typical_stains(stains: Sequence[Stain], *, most: int = 48, seed: int = 0) -> np.ndarray:
    """Choose typical stains among many: the means of at most `most` clusters, shape (k, 8)."""
    rows = (np.array([describe_stain(stain) for stain in stains]) / SPREAD).astype(np.float32)
    if len(rows) <= most:
        return rows * SPREAD
    cv2.setRNGSeed(seed)
    until = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 50, 1e-3)
    _, _, centres = cv2.kmeans(rows, most, None, until, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return centres * SPREAD
