"""Where a file is read: in the folder of the store, or a copy of what the bucket holds, in a folder of limited size.

Children and OpenSlide read files by path, so each machine keeps copies of what it needed lately. What is stored, and
what is removed for good, is decided in store.py and retention.py.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext_lazy

from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import (
    StoreAway,
    bucket,
    derived_folder,
    has_room_for,
    key_of,
    note_tag,
    original_path,
    prepare_file,
    tag_file,
)
from leukoweb.refusals import Refused

if TYPE_CHECKING:
    from leukoweb.cases.s3 import Bucket

LOOK_EVERY_S = 60  # whether the bucket has newer tiles of an image
PRUNE_EVERY_S = 300
AT_ONCE = 500  # hashes in one query
LATELY_S = 600  # what was used since then is not removed: a child may be about to open it
OTHER_BYTES = gettext_lazy(
    "The stored file of this image is not the one that was uploaded: tell the administrator, who runs check_store."
)


def local_original(sha256: str) -> Path:
    """Return a file with the bytes of an original, copied from the bucket and verified on first use.

    Nothing is at the path where the original is lost.
    """
    path, held = original_path(sha256), bucket()
    if held is None:
        return path
    if not path.exists():
        with _copying(sha256), suppress(FileNotFoundError):
            if not path.exists():
                bring_original(held, sha256, path)
                prune_copies()
    with suppress(FileNotFoundError):
        os.utime(path)  # it is not the next to go
    return path


def unpacked_slide(sha256: str) -> Path:
    """Return the folder of the files of a whole slide that came in an archive; absent for every other original."""
    folder, held = derived_folder(sha256) / "slide", bucket()
    if held is not None and not folder.is_dir():
        with _copying(sha256), suppress(FileNotFoundError):
            if not folder.is_dir():
                unpack_from(held, f"{key_of(folder)}.zip", folder)
    return folder


def tiles_folder(sha256: str, image_id: int) -> Path:
    """Return the folder with `pyramid/` and `crops/` of an image: its own where it was read another way than the rest.

    `image_id` tells images of the same bytes apart: one that was read before pictures were turned upright keeps the
    tiles that its boxes fit.
    """
    _look_for_tiles(sha256)
    own = derived_folder(sha256) / f"image-{image_id}"
    return own if own.is_dir() else derived_folder(sha256)


def prune_copies() -> int:
    """Remove the copies that no living row names, then those not used for longest; return how many went."""
    marker = settings.STORE_DIR / "pruned"
    with suppress(FileNotFoundError):
        if bucket() is None or time.time() - marker.stat().st_mtime < PRUNE_EVERY_S:
            return 0
    if bucket() is None or not settings.STORE_DIR.is_dir():
        return 0
    marker.touch()
    copies = sorted(_copies())
    total, before, removed = sum(size for _, size, _ in copies), time.time() - LATELY_S, 0
    needed = _needed({path.name for *_, path in copies})
    for used_at, size, path in copies:
        is_wanted = path.name in needed and total <= settings.S3_CACHE_BYTES
        if used_at > before or is_wanted:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        total, removed = total - size, removed + 1
    return removed


def bring_original(held: "Bucket", sha256: str, path: Path) -> None:
    """Copy an original out of the bucket; refused where the bytes are others, FileNotFoundError where it is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{sha256}.part")
    try:
        _, found = held.fetch(key_of(original_path(sha256)), part, room_for=_require_room)
        if found != sha256:
            raise Refused(str(OTHER_BYTES), code="wrong_state")
        prepare_file(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def unpack_from(held: "Bucket", key: str, folder: Path) -> None:
    """Put a folder of an archive of the bucket in its place; FileNotFoundError where there is none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="run-") as scratch:
        archive, made = Path(scratch) / "archive", Path(scratch) / "made"
        tag, _ = held.fetch(key, archive, room_for=lambda size: _require_room(2 * size))
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(made)
        if folder.exists():
            shutil.move(folder, Path(scratch) / "before")
        shutil.move(made, folder)  # the folder may be on another disk
        note_tag(folder, tag, archive.stat().st_size)


def _copies() -> Iterator[tuple[float, int, Path]]:
    """Yield when each copy was used, its bytes, and its file or folder."""
    for path in settings.STORE_DIR.glob("originals/*/*"):
        with suppress(FileNotFoundError):
            found = path.stat()
            yield found.st_mtime, found.st_size, path
    for folder in [*settings.STORE_DIR.glob("derived/*/*"), *settings.STORE_DIR.glob("slide-tiles/*/*")]:
        with suppress(FileNotFoundError):
            marker = folder / "looked"
            used_at = (marker if marker.exists() else folder).stat().st_mtime
            yield used_at, sum(int(tag.read_text().split()[-1]) for tag in _tags_in(folder)), folder


def _tags_in(folder: Path) -> list[Path]:
    return [*folder.glob("*.tag"), *folder.glob("image-*/*.tag")]


def _needed(hashes: set[str]) -> set[str]:
    """Return the hashes that living rows name."""
    living = SlideImage.objects.filter(expired_at=None).values_list("sha256", flat=True)
    names = sorted(hashes)
    parts = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
    return {found for part in parts for found in living.filter(sha256__in=part)}


def _require_room(size_bytes: int) -> None:
    if not has_room_for(size_bytes):
        raise OSError(errno.ENOSPC, "no room for a copy from the bucket")


def _look_for_tiles(sha256: str) -> None:
    """Bring the viewer tiles and cell pictures of an original from the bucket, where this machine lacks the newest."""
    held, folder = bucket(), derived_folder(sha256)
    if held is None:
        return
    marker = folder / "looked"
    with suppress(FileNotFoundError):
        if time.time() - marker.stat().st_mtime < LOOK_EVERY_S:
            return
    with _copying(sha256):
        try:
            tags = {one.key.removesuffix(".zip"): one.tag for one in held.listed(f"{key_of(folder)}/")}
        except StoreAway:
            if marker.exists():  # what is here is shown meanwhile
                return
            raise
        for known in _tags_in(folder):
            place = known.with_suffix("")
            if key_of(place) not in tags:
                shutil.rmtree(place, ignore_errors=True)
                known.unlink()
        for key, tag in tags.items():
            place = settings.STORE_DIR / key
            with suppress(FileNotFoundError):
                if place.name == "slide" or (place.is_dir() and tag_file(place).read_text().split()[0] == tag):
                    continue
            with suppress(FileNotFoundError):  # removed since
                unpack_from(held, f"{key}.zip", place)
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
    prune_copies()


@contextmanager
def _copying(sha256: str) -> Iterator[None]:
    """Hold the copies of these bytes on this machine, so that one process brings them and the others wait."""
    folder = settings.STORE_DIR / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"copy-{sha256[:3]}", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
