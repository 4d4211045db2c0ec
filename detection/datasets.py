"""Labelled views of smears from several sources: what a view is, and the file that lists views, splits and hashes.

It knows pictures, boxes and codes; it does not know networks, and foreign folder layouts live in `datasets_readers`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
JPEG_END = np.array([0xFF, 0xD9], np.uint8)


@dataclass(frozen=True)
class View:
    """One picture and its leukocytes: `cells` holds (code, (x0, y0, x1, y1)) in px; an unknown scale is None."""

    path: str
    source: str
    width_px: int
    height_px: int
    cells: tuple
    patient: str = ""
    um_per_px: float | None = None
    split: str = ""
    sha256: str = ""


def read_pixels(path):
    """Read a trusted training picture as RGB; a JPEG that ends some bytes early is read as far as it goes.

    Parameters
    ----------
    path : str or Path
        Picture of a local data set (uploads go through `detection.images` instead).

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        RGB; the alpha channel of RGBA TIFFs is dropped.

    Raises
    ------
    OSError
        When the file is absent or no picture.
    """
    stored = np.fromfile(path, np.uint8)
    bgr = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    if bgr is None:  # a JPEG that ends early: give it the end marker that it lacks
        bgr = cv2.imdecode(np.concatenate([stored, JPEG_END]), cv2.IMREAD_COLOR)
    if bgr is None:
        raise OSError(f"{Path(path).name} is not a picture that can be read.")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def write_dataset(path, views, **facts):
    """Write views and facts (seed, sources, how it was split) as one JSON file and return the hash of its views.

    Parameters
    ----------
    path : str or Path
        File to write.
    views : sequence of View
        Every view with its split and SHA-256 filled in.
    **facts
        JSON-able facts stored beside the views.

    Returns
    -------
    str
        SHA-256 over the sorted (content hash, split, cells) of all views: the same for the same data on any machine.
    """
    manifest = manifest_hash(views)
    rows = [asdict(view) for view in views]
    Path(path).write_text(json.dumps({"manifest_sha256": manifest, **facts, "views": rows}, indent=0))
    return manifest


def manifest_hash(views):
    """Hash what a data set teaches: contents, splits and boxes, not where the files lie."""
    lines = sorted(
        json.dumps([view.sha256, view.split, [[code, [round(float(v), 1) for v in box]] for code, box in view.cells]])
        for view in views
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_dataset(path, split=None):
    """Read the views of a data set file, of one split ("train", "val") or all.

    Parameters
    ----------
    path : str or Path
        File written by `write_dataset`.
    split : str or None
        Which split to keep.

    Returns
    -------
    list of View
        Empty when the split has no view.
    """
    rows = json.loads(Path(path).read_text())["views"]
    views = []
    for row in rows:
        row["cells"] = tuple((code, tuple(box)) for code, box in row["cells"])
        if split in (None, row["split"]):
            views.append(View(**row))
    return views


def with_hash(view):
    """Return the view with the SHA-256 of its file filled in."""
    return replace(view, sha256=hashlib.sha256(Path(view.path).read_bytes()).hexdigest())
