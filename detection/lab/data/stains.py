"""Measure the stains of folders of pictures, for training and for release; labels are not read.

What a stain is, and how it is transferred, is left to `detection.inference.stain_transfer`; what an image's likeness to
such pictures is, to `detection.inference.likeness`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from detection.inference.likeness import Likeness, sharpness_of, stain_distance, typical_stains
from detection.inference.stain_transfer import Stain, stain_of, typical_stain
from detection.lab.data.datasets import PICTURES, View, read_pixels

# A laboratory's own pictures in another form differ more than those of a test: of twelve stitched fields of the
# hospital whose single views were tested, six exceed the hundredth of the views, two its one and a half.
MARGIN = 1.5
NEVER_UNLIKE = 1.0  # spreads of one laboratory (`likeness.SPREAD`): of a few views the limit would be next to nothing


def read_stains(folders: Iterable[str | Path], *, most: int = 60) -> list[Stain]:
    """Measure the stains of the pictures below folders, evenly chosen, at most `most` a folder."""
    stains = []
    for folder in folders:
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in PICTURES)
        for path in paths[:: max(1, len(paths) // most)][:most]:
            stain = stain_of(read_pixels(path))
            stains += [stain] if stain else []
    return stains


def training_stain(views: Sequence[View]) -> Stain | None:
    """Return the typical stain of the labelled views of a data set, or None where none shows any."""
    labelled = [view for view in views if view.cells]
    return typical_stain(read_pixels(view.path) for view in labelled[:: max(1, len(labelled) // 60)])


def measure_likeness(views: Sequence[View], sources: Iterable[str], coarsest_um_per_px: float) -> Likeness:
    """Measure what the pictures of some sources are like.

    Parameters
    ----------
    views : sequence of View
        Of a data set: stains are learned from training views; the limits are where the least like hundredth of the
        validation views begins, for the stain times `MARGIN`.
    sources : iterable of str
        Names of the sources that a detector was proven on.
    coarsest_um_per_px : float
        Coarsest scale that it was trained at.

    Raises
    ------
    ValueError
        Where there is no stained training view or no validation view of known scale among them.
    """
    own = [view for view in views if view.cells and view.um_per_px and view.source in set(sources)]
    taught, proven = ([view for view in own if view.split == split] for split in ("train", "val"))
    stains = [stain for stain in (stain_of(read_pixels(view.path)) for view in evenly(taught, 1200)) if stain]
    typical = typical_stains(stains) if stains else None
    distances, sharpness = [], []
    for view in evenly(proven, 400):
        pixels = read_pixels(view.path)
        sharpness.append(sharpness_of(pixels, view.um_per_px or np.nan))
        if typical is not None and (stain := stain_of(pixels)):
            distances.append(stain_distance(typical, stain))
    if typical is None or not distances:
        raise ValueError("These sources have no stained views for training and validation: name others.")
    farthest = max(NEVER_UNLIKE, float(np.quantile(distances, 0.99)))
    least_sharpness = float(np.quantile(sharpness, 0.01))
    return Likeness(typical, MARGIN * farthest, least_sharpness, coarsest_um_per_px)


def evenly(views: Sequence[View], most: int) -> Sequence[View]:
    """Choose at most so many views, evenly."""
    return views[:: -(-len(views) // most) or 1]
