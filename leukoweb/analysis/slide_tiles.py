"""The fine viewer tiles of whole slides: made by a limited child process when asked for, in a cache of limited size.

The coarse tiles, from the overview on, are made by the worker like those of every image.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext

from detection.images import TILE_PX, ImageRefused
from detection.images.slides import slide_file, write_tiles
from leukoweb.cases.copies import local_original, tiles_folder, unpacked_slide
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import decoding_place, has_room_for, slide_tiles_folder
from leukoweb.refusals import Refused

AT_ONCE = 4  # tiles along each edge that one child makes: it starts in the time of several tiles
WAIT_S = 20
USED_AGAIN_S = 600  # a tile's time of use is written at most so often
PRUNE_EVERY_S = 300
KEPT_SHARE = 0.9  # of the limit, after the oldest went


def tile_path(image: SlideImage, level: int, column: int, row: int) -> Path:
    """Return where a Deep Zoom tile is, made where a whole slide lacks it; nothing is there where none is."""
    made = tiles_folder(image.sha256, image.pk) / "pyramid" / str(level) / f"{column}_{row}.jpg"
    if not image.is_whole_slide or made.parent.is_dir() or not _exists(image, level, column, row):
        return made
    path = slide_tiles_folder(image.sha256) / str(level) / made.name
    if not path.exists():
        _make(image, level, column, row, path)
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > USED_AGAIN_S:
            os.utime(path)
    return path


def prune_tiles() -> int:
    """Remove the tiles that were not used for longest where all have more than the limit; return how many went."""
    root = settings.STORE_DIR / "slide-tiles"
    marker = root / "pruned"
    with suppress(FileNotFoundError):
        if time.time() - marker.stat().st_mtime < PRUNE_EVERY_S:
            return 0
    if not root.is_dir():
        return 0
    marker.touch()
    tiles = []
    for path in root.rglob("*.*"):
        with suppress(FileNotFoundError):
            used = path.stat()
            tiles.append((used.st_mtime, used.st_size, path))
    total, removed = sum(size for _, size, _ in tiles), 0
    if total <= settings.SLIDE_CACHE_BYTES:
        return 0
    for _, size, path in sorted(tiles):
        if total <= KEPT_SHARE * settings.SLIDE_CACHE_BYTES:
            break
        path.unlink(missing_ok=True)
        total, removed = total - size, removed + 1
    return removed


def _exists(image: SlideImage, level: int, column: int, row: int) -> bool:
    top = (max(image.width_px, image.height_px) - 1).bit_length()
    if not 0 <= level <= top:
        return False
    width_px, height_px = (-(-edge >> top - level) for edge in (image.width_px, image.height_px))
    return column * TILE_PX < width_px and row * TILE_PX < height_px


def _make(image: SlideImage, level: int, column: int, row: int, path: Path) -> None:
    """Make a tile and its neighbours; whoever asks for one of them meanwhile waits for it."""
    if not has_room_for(1 << 24):
        raise Refused(
            gettext("The server has no room to make this picture: tell the administrator, then load the page again."),
            code="no_room",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    corner = (column - column % AT_ONCE, row - row % AT_ONCE)
    original, unpacked = local_original(image.sha256), unpacked_slide(image.sha256)  # from a bucket it takes a while
    with _locked(path.parent), decoding_place(time.monotonic() + WAIT_S) as is_free:
        if path.exists() or not is_free:
            return
        with suppress(ImageRefused, FileNotFoundError):  # the address is then not found
            write_tiles(slide_file(original, unpacked), path.parent, level, corner, (AT_ONCE, AT_ONCE))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
