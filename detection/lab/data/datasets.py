"""Labelled views of smears from several sources: what a view is, and the file that lists views, splits and hashes.

Foreign folder layouts are left to `readers`, checks and splits to `prepare`.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
JPEG_START, JPEG_END = b"\xff\xd8\xff", np.array([0xFF, 0xD9], np.uint8)
LEAST_SHARE_OF_ROWS = 0.75  # of a JPEG that ends early, as for an upload
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 are turned by a quarter
# What Pillow raises for damaged files; ImportError: ultralytics, where imported, lets it look for HEIF then.
DAMAGED = (OSError, SyntaxError, ValueError, ImportError)


@dataclass(frozen=True)
class View:
    """One picture and its leukocytes: `cells` holds (code, (x0, y0, x1, y1)) in px; an unknown scale is None.

    `boxless` says that the one cell has the whole picture as its box until a better one is derived; `guessed` that a
    detector guessed the types (`pseudo`): such a view teaches crowding and background and is no evidence. `unlabelled`
    holds boxes in px of leukocytes that nobody typed: they are neither cells nor background.
    """

    path: str
    source: str
    width_px: int
    height_px: int
    cells: tuple
    patient: str = ""
    um_per_px: float | None = None
    split: str = ""
    sha256: str = ""
    boxless: bool = False
    guessed: bool = False
    unlabelled: tuple = ()


def read_pixels(path: str | Path) -> np.ndarray:
    """Read a trusted training picture as RGB; a JPEG that ends some bytes early is read as far as it goes.

    Parameters
    ----------
    path : str or Path
        Picture of a local data set (uploads go through `detection.images` instead).

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        RGB, upright as its EXIF orientation says (labels are drawn so), what is transparent laid over white.

    Raises
    ------
    OSError
        When the file is absent, no picture, or damaged: of a JPEG that ends early a quarter of the rows may be missing.
    """
    stored = np.fromfile(path, np.uint8)
    try:
        rgb = _read_jpeg(stored) if stored[:3].tobytes() == JPEG_START else _read_other(stored)
    except cv2.error:  # more pixels than OpenCV decodes
        rgb = None
    if rgb is None:
        raise OSError(f"{Path(path).name} is not a picture that can be read.")
    return rgb


def _read_jpeg(stored: np.ndarray) -> np.ndarray | None:
    bgr = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    if bgr is None:  # it ends early: give it the end marker that it lacks
        bgr = cv2.imdecode(np.concatenate([stored, JPEG_END]), cv2.IMREAD_COLOR)
        if bgr is None:
            return None
        there = np.flatnonzero((bgr != 128).any(axis=(1, 2)))  # missing blocks are left mid-grey
        if not len(there) or there[-1] + 1 < LEAST_SHARE_OF_ROWS * len(bgr):
            return None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _read_other(stored: np.ndarray) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(stored.tobytes())) as picture:
            turned_tiff = picture.format == "TIFF" and orientation(picture) != 1  # OpenCV does not read these
            if not picture.has_transparency_data and not turned_tiff:
                bgr = cv2.imdecode(stored, cv2.IMREAD_COLOR)
                return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except DAMAGED:
        return None
    white = Image.new("RGBA", upright.size, "white")
    white.alpha_composite(upright)
    return np.array(white.convert("RGB"))


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of an open Pillow picture, 1 (upright) where it has none, without decoding it."""
    try:
        turn = Image.Image.getexif(picture).get(ORIENTATION)  # that of PNG files would decode
    except DAMAGED:
        turn = None
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def picture_size(path: str | Path) -> tuple[int, int] | None:
    """Return (width, height) in px of the upright picture without decoding, or None when the file is no picture."""
    try:
        with Image.open(path) as picture:
            is_turned = picture.format != "TIFF" and orientation(picture) >= 5  # Pillow turns TIFFs itself
            return picture.size[::-1] if is_turned else picture.size
    except DAMAGED:
        return None


def write_dataset(path: str | Path, views: Sequence[View], **facts: Any) -> str:
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
        SHA-256 of `manifest_hash`: the same for the same data on any machine.
    """
    manifest = manifest_hash(views)
    rows = [asdict(view) for view in views]
    part = Path(f"{path}.part")
    part.write_text(json.dumps({"manifest_sha256": manifest, **facts, "views": rows}, indent=0))
    part.replace(path)  # whole or not at all
    return manifest


def manifest_hash(views: Sequence[View]) -> str:
    """Hash what a data set teaches: contents, splits, boxes, scales and patients, not where the files are."""
    lines = []
    for view in views:
        cells = [[code, [round(float(v), 1) for v in box]] for code, box in view.cells]
        unlabelled = [[round(float(v), 1) for v in box] for box in view.unlabelled]
        facts = [view.sha256, view.split, cells, view.um_per_px, view.patient]
        lines.append(json.dumps(facts + [unlabelled] if unlabelled else facts))
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_dataset(path: str | Path, split: str | None = None) -> list[View]:
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
        row["unlabelled"] = tuple(tuple(box) for box in row.get("unlabelled", ()))
        if split in (None, row["split"]):
            views.append(View(**row))
    return views


def with_hash(view: View) -> View:
    """Return the view with the SHA-256 of its file filled in."""
    return replace(view, sha256=hashlib.sha256(Path(view.path).read_bytes()).hexdigest())
