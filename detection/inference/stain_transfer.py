"""Measure the stain of an image and transfer the stain of another laboratory to it (Beer-Lambert, optical densities).

Choosing whose stain is transferred, and how strongly, is left to training and calibration.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detection.inference.nuclei import nuclear_stain

HOLD = 0.05  # pull of the stain change towards "no change": colours between the two known stains stay in order
RED_CELL_WEIGHT = 3.0  # red cells are paler than nuclei and must not pay for them
LEAST_LIGHT = 0.05  # share of the glass's light; cameras cut off what is darker, so density beyond it means nothing


@dataclass(frozen=True)
class Stain:
    """Colours of a stained smear: `glass` RGB (3,); `nucleus` and `red_cell` optical densities (3,)."""

    glass: np.ndarray
    nucleus: np.ndarray
    red_cell: np.ndarray


def background_rgb(image: np.ndarray) -> np.ndarray:
    """Estimate the colour of empty glass.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view of a bright-field smear.

    Returns
    -------
    ndarray, shape (3,), float32
        90th percentile of each channel, at least 60: a dark view never divides by nothing.
    """
    return np.maximum(np.percentile(image[::6, ::6].reshape(-1, 3), 90, axis=0), 60).astype(np.float32)


def stain_of(image: np.ndarray) -> Stain | None:
    """Measure the stain of a view.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view with at least one stained nucleus and some red cells.

    Returns
    -------
    Stain or None
        None where the view has too little of either to tell.

    Notes
    -----
    Nucleus: median density of the 1.5 % of pixels most stained like one. Red cells: median density of what is
    darker than glass in green by a tenth and not stained like a nucleus.
    """
    some = image[:: max(1, image.shape[0] // 130), :: max(1, image.shape[1] // 130)]
    lit = some[some.max(2) > 12]  # frames and frayed edges are black
    if len(lit) < 200:
        return None
    glass = background_rgb(lit[None])
    density = -np.log(np.clip((lit + 1.0) / (glass + 1), LEAST_LIGHT, 1.6))  # (n, 3)
    stain = nuclear_stain(lit[None])[0]
    nuclei = stain >= max(0.35, np.quantile(stain, 0.985))
    red_cells = (density[:, 1] > 0.1) & (stain < 0.25)
    if nuclei.sum() < 8 or red_cells.sum() < 30:
        return None
    return Stain(glass, np.median(density[nuclei], 0), np.median(density[red_cells], 0))


def as_lists(stain: Stain) -> dict[str, list[float]]:
    """Return a Stain as JSON-able lists."""
    return {part: [round(float(v), 3) for v in value] for part, value in vars(stain).items()}


def from_lists(parts: Mapping[str, Sequence[float]]) -> Stain:
    """Return the Stain that `as_lists` wrote down."""
    return Stain(**{part: np.array(value, np.float32) for part, value in parts.items()})


def typical_stain(images: Iterable[np.ndarray]) -> Stain | None:
    """Return the median Stain of RGB images (H, W, 3) uint8, or None where none of them shows one."""
    stains = [stain for stain in map(stain_of, images) if stain]
    if not stains:
        return None
    return Stain(*(np.median([getattr(own, part) for own in stains], 0) for part in ("glass", "nucleus", "red_cell")))


def transfer_stain(
    image: np.ndarray, own: Stain, aim: Stain, share: float, gain: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """Bring a view from its own stain towards another.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view.
    own, aim : Stain
    share : float
        0 leaves the view alone, 1 gives it the other stain; a little beyond 1 exaggerates it.
    gain : sequence of 3 floats
        Factor of each channel's density on top.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8

    Notes
    -----
    Beer-Lambert: stains add in optical density, so the change is a 3 x 3 matrix that carries the nucleus and the red
    cell of one stain to those of the other, the least-squares solution pulled towards identity (ridge of HOLD).
    """
    start = np.stack([own.nucleus, RED_CELL_WEIGHT * own.red_cell], 1)  # (3, 2)
    end = start + share * (np.stack([aim.nucleus, RED_CELL_WEIGHT * aim.red_cell], 1) - start)
    matrix = (end @ start.T + HOLD * np.eye(3)) @ np.linalg.inv(start @ start.T + HOLD * np.eye(3))
    matrix = (matrix * np.asarray(gain)[:, None]).astype(np.float32)
    levels = np.arange(256, dtype=np.float32)
    density: np.ndarray = np.empty(image.shape, np.float32)
    for c in range(3):
        density[..., c] = -np.log(np.clip((levels + 1) / (own.glass[c] + 1), LEAST_LIGHT, 1.6))[image[..., c]]
    density = np.asarray(cv2.transform(density, matrix))
    glass = own.glass + share * (aim.glass - own.glass)
    out = cv2.exp(-np.clip(density, -0.4, 5)) * (glass.astype(np.float32) + 1) - 1
    return np.clip(out, 0, 255).astype(np.uint8)


def recolour(image: np.ndarray, colour: Mapping[str, Mapping[str, Sequence[float]]] | None) -> np.ndarray:
    """Bring an image to the stain that a detector was trained on.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB.
    colour : dict or None
        `own` and `aim`, each {glass, nucleus, red_cell} as lists of 3, as `calibration.calibrate` writes them; None
        returns the image as it is.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    if colour is None:
        return image
    return transfer_stain(image, from_lists(colour["own"]), from_lists(colour["aim"]), 1.0)
