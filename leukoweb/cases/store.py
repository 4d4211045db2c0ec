"""Where files lie: originals under their SHA-256, and what was derived from them."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from django.conf import settings


def original_path(sha256: str) -> Path:
    """Return the place of an original, outside every web root."""
    return settings.STORE_DIR / "originals" / sha256[:2] / sha256


def derived_folder(sha256: str) -> Path:
    """Return the folder of what can be made again from an original: `pyramid/`, `crops/`."""
    return settings.STORE_DIR / "derived" / sha256[:2] / sha256


def unpacked_slide(sha256: str) -> Path:
    """Return the folder of the files of a whole slide that came in an archive; absent for every other original."""
    return derived_folder(sha256) / "slide"


def slide_tiles_folder(sha256: str) -> Path:
    """Return the folder of the fine viewer tiles of a whole slide: a cache (analysis/slide_tiles.py)."""
    return settings.STORE_DIR / "slide-tiles" / sha256[:2] / sha256


def tiles_folder(sha256: str, image_id: int) -> Path:
    """Return the folder with `pyramid/` and `crops/` of an image: its own where it was read another way than the rest.

    `image_id` tells images of the same bytes apart: one that was read before pictures were turned upright keeps the
    tiles that its boxes fit.
    """
    own = derived_folder(sha256) / f"image-{image_id}"
    return own if own.is_dir() else derived_folder(sha256)


@contextmanager
def hashes_locked(hashes: Iterable[str]) -> Iterator[None]:
    """Hold these hashes: nobody else stores or removes their originals, or writes or deletes the rows that name them.

    Taken before any row is locked. One lock serves the hashes that begin with the same two digits.
    """
    folder = settings.STORE_DIR / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for start in sorted({sha256[:2] for sha256 in hashes}):  # sorted, so that two uploads never wait for each other
            fcntl.flock(held.enter_context(open(folder / start, "ab")), fcntl.LOCK_EX)
        yield


@contextmanager
def decoding_place(deadline: float) -> Iterator[bool]:
    """Hold one of the few places for processes that decode uploads, over all web processes; False: none became free.

    `deadline` is of time.monotonic().
    """
    folder = settings.STORE_DIR / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        places = [opened.enter_context(open(folder / f"decoding-{n}", "ab")) for n in range(settings.DECODERS)]
        while True:
            for place in places:
                with suppress(BlockingIOError):
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield True
                    return
            if time.monotonic() > deadline:
                yield False
                return
            time.sleep(0.05)


def prepare_original(source: Path) -> None:
    """Bring a checked file to the disk itself, for reading only: the slow part of storing it, done before any lock."""
    source.chmod(0o440)
    _sync(source)


def keep_original(source: Path, sha256: str) -> None:
    """Store a prepared file, holding its hash: after a power cut it is there whole, or not at all.

    `source` stays, so that a slide that fails afterwards can be tried again with the same files.
    """
    target = original_path(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{sha256}.part")
    part.unlink(missing_ok=True)
    os.link(source, part)
    # A second upload of the same bytes replaces a file by its equal, which also mends a damaged one.
    os.replace(part, target)
    part.unlink(missing_ok=True)  # replacing a file by itself leaves both names
    _sync(target.parent)


def has_room_for(size_bytes: int) -> bool:
    """Say whether a file of this size fits while the reserve for database and reports stays free."""
    return shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free - size_bytes > settings.DISK_RESERVE_BYTES


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
