"""Give a view the colours of another laboratory: what its glass, nuclei and red cells look like, and the change of
stain between two such looks. It knows optical densities; it knows no network and draws no chance of its own.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detection.inference.nuclei import nuclear_stain
from detection.lab.data.datasets import PICTURES, read_pixels
from detection.lab.training.augment import background_rgb

HOLD = 0.05  # pull of the stain change towards "no change": colours between the two known stains stay in order
RED_CELL_WEIGHT = 3.0  # red cells are paler than nuclei and must not pay for them
LEAST_LIGHT = 0.05  # share of the glass's light; cameras cut off what is darker, so density beyond it means nothing


@dataclass(frozen=True)
class Look:
    """Colours of a smear: `glass` RGB (3,); `nucleus` and `red_cell` optical densities (3,)."""

    glass: np.ndarray
    nucleus: np.ndarray
    red_cell: np.ndarray


def look_of(image):
    """Measure the colours of a view.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view with at least one stained nucleus and some red cells.

    Returns
    -------
    Look or None
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
    return Look(glass, np.median(density[nuclei], 0), np.median(density[red_cells], 0))


def as_lists(look):
    """Return a Look as JSON-able lists."""
    return {part: [round(float(v), 3) for v in value] for part, value in vars(look).items()}


def from_lists(parts):
    """Return the Look that `as_lists` wrote down."""
    return Look(**{part: np.array(value, np.float32) for part, value in parts.items()})


def typical_look(images):
    """Return the median Look of RGB images (H, W, 3) uint8, or None where none of them shows one."""
    looks = [look for look in map(look_of, images) if look]
    if not looks:
        return None
    return Look(*(np.median([getattr(look, part) for look in looks], 0) for part in ("glass", "nucleus", "red_cell")))


def read_looks(folders, *, most=60):
    """Measure the looks of the pictures below folders, evenly chosen, at most `most` a folder; labels are not read."""
    looks = []
    for folder in folders:
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in PICTURES)
        for path in paths[:: max(1, len(paths) // most)][:most]:
            look = look_of(read_pixels(path))
            looks += [look] if look else []
    return looks


def dress(image, own, aim, share, gain=(1.0, 1.0, 1.0)):
    """Bring a view from its own look towards another.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view.
    own, aim : Look
    share : float
        0 leaves the view alone, 1 gives it the other look; a little beyond 1 exaggerates it.
    gain : sequence of 3 floats
        Factor of each channel's density on top.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8

    Notes
    -----
    Beer-Lambert: stains add in optical density, so the change is a 3 x 3 matrix that carries the nucleus and the red
    cell of one look to those of the other, the least-squares solution pulled towards identity (ridge of HOLD).
    """
    start = np.stack([own.nucleus, RED_CELL_WEIGHT * own.red_cell], 1)  # (3, 2)
    end = start + share * (np.stack([aim.nucleus, RED_CELL_WEIGHT * aim.red_cell], 1) - start)
    matrix = (end @ start.T + HOLD * np.eye(3)) @ np.linalg.inv(start @ start.T + HOLD * np.eye(3))
    matrix = (matrix * np.asarray(gain)[:, None]).astype(np.float32)
    levels = np.arange(256, dtype=np.float32)
    density = np.empty(image.shape, np.float32)
    for c in range(3):
        density[..., c] = -np.log(np.clip((levels + 1) / (own.glass[c] + 1), LEAST_LIGHT, 1.6))[image[..., c]]
    density = cv2.transform(density, matrix)
    glass = own.glass + share * (aim.glass - own.glass)
    out = cv2.exp(-np.clip(density, -0.4, 5)) * (glass.astype(np.float32) + 1) - 1
    return np.clip(out, 0, 255).astype(np.uint8)


def recolour(image, colour):
    """Bring an image to the colours that a detector knows.

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
    return dress(image, from_lists(colour["own"]), from_lists(colour["aim"]), 1.0)
