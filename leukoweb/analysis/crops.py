"""Small pictures of single cells, cut from the viewer's finest tiles and kept; they can be made again at any time.

It reads boxes and tiles that our own worker wrote, never an upload.
"""

import io
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from django.utils.translation import gettext
from PIL import Image

from detection.images import TILE_PX
from leukoweb.analysis.models import Cell
from leukoweb.analysis.slide_tiles import tile_path
from leukoweb.cases.copies import tiles_folder
from leukoweb.cases.models import SlideImage
from leukoweb.places import DISK_FULL_ERRORS
from leukoweb.refusals import Refused

CELL_UM = 22.0  # every picture of a gallery shows the same width of the smear, so that sizes can be compared
AROUND_UM = 60.0
LEAST_PX, MOST_PX = 160, 480
MOST_AROUND_PX = 1200  # it is enlarged until one cell fills it: 60 µm at a fine 0.05 µm per pixel lose nothing


def crop_path(cell: Cell, *, um_per_px: float | None, around: bool = False) -> Path | None:
    """The JPEG of a cell, made on first use; None while the tiles of its image do not exist.

    A picture is at least as wide as the box with some margin, and of unknown scale only that; `around` shows the
    neighbours too.
    """
    return picture_of(cell.image, cell.xyxy, um_per_px=um_per_px, around=around)


def picture_of(
    image: SlideImage, xyxy: tuple[float, ...], *, um_per_px: float | None, around: bool = False
) -> Path | None:
    """The JPEG of a box on an image; as `crop_path`."""
    left, top, side_px = _square(xyxy, um_per_px, around=around)
    path = _place(image, left, top, side_px, around=around)
    if not path.exists():
        with suppress(FileNotFoundError):
            _write(_cut(image, left, top, side_px, MOST_AROUND_PX if around else MOST_PX), path)
    return path if path.exists() else None


def keep_crops(
    image: SlideImage, boxes: Iterable[tuple], um_per_px: float, pixels: np.ndarray, corner: tuple[int, int]
) -> None:
    """Write the pictures of cells of a whole slide while their pixels are at hand; `corner` is where these begin.

    Without them a gallery would have each made from tiles of the slide, by a child process.
    """
    for box in boxes:
        left, top, side_px = _square(box, um_per_px, around=False)
        x, y = left - corner[0], top - corner[1]
        if x >= 0 and y >= 0 and x + side_px <= pixels.shape[1] and y + side_px <= pixels.shape[0]:
            square = Image.fromarray(np.ascontiguousarray(pixels[y : y + side_px, x : x + side_px]))
            _write(_shown(square, MOST_PX), _place(image, left, top, side_px, around=False))


def _square(box: tuple[float, ...], um_per_px: float | None, *, around: bool) -> tuple[int, int, int]:
    """Return left, top and edge, in px of the image, of what the picture of a cell shows."""
    x1, y1, x2, y2 = box
    side_px = max(x2 - x1, y2 - y1) * (2.5 if around else 1.15)
    if um_per_px:
        side_px = max(side_px, (AROUND_UM if around else CELL_UM) / um_per_px)
    side_px = round(min(side_px, 4 * TILE_PX))
    return round((x1 + x2 - side_px) / 2), round((y1 + y2 - side_px) / 2), side_px


def _place(image: SlideImage, left: int, top: int, side_px: int, *, around: bool) -> Path:
    # Named by place, not by key: a database restored from elsewhere can never show another cell's picture.
    name = f"{left}_{top}_{side_px}{'_around' if around else ''}.jpg"
    return tiles_folder(image.sha256, image.pk) / "crops" / name


def _cut(image: SlideImage, left: int, top: int, side_px: int, most_px: int) -> Image.Image:
    """Put a square of the image together from its tiles; what lies outside of the image is light grey."""
    level = (max(image.width_px, image.height_px) - 1).bit_length()
    picture = Image.new("RGB", (side_px, side_px), (236, 233, 238))
    columns = range(max(left, 0) // TILE_PX, (min(left + side_px, image.width_px) - 1) // TILE_PX + 1)
    rows = range(max(top, 0) // TILE_PX, (min(top + side_px, image.height_px) - 1) // TILE_PX + 1)
    for column in columns:
        for row in rows:
            with Image.open(tile_path(image, level, column, row), formats=["JPEG"]) as tile:
                picture.paste(tile, (column * TILE_PX - left, row * TILE_PX - top))
    return _shown(picture, most_px)


def _shown(picture: Image.Image, most_px: int) -> Image.Image:
    side_px = picture.width
    shown_px = min(max(side_px, LEAST_PX), most_px)
    return picture if shown_px == side_px else picture.resize((shown_px, shown_px), Image.Resampling.LANCZOS)


def _write(picture: Image.Image, path: Path) -> None:
    """Write whole or not at all: two requests may make the same picture at once."""
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
        jpeg = io.BytesIO()  # Pillow writes to a file by itself and overlooks a full disk
        picture.save(jpeg, "JPEG", quality=88)
        with os.fdopen(handle, "wb") as file:
            file.write(jpeg.getbuffer())
        os.replace(scratch, path)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        if error.errno not in DISK_FULL_ERRORS:
            raise
        raise Refused(
            gettext("The server has no room to make this picture: tell the administrator, then load the page again."),
            code="no_room",
        ) from error
