"""Measure the stains of folders of pictures, for training and for release; labels are not read.

What a stain is, and how it is transferred, is left to `detection.inference.stain_transfer`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from detection.inference.stain_transfer import Stain, stain_of, typical_stain
from detection.lab.data.datasets import PICTURES, View, read_pixels


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
