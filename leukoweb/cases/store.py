"""Where files lie: originals under their SHA-256, and what was derived from them.

They lie in a folder, or in a bucket on S3 (s3.py); copies.py brings them from there to where a file is needed.
"""

import fcntl
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import file_digest
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.core.files.storage import storages
from django.db import connection
from django.utils.translation import gettext_lazy

from leukoweb.refusals import Refused

if TYPE_CHECKING:
    from leukoweb.cases.s3 import Bucket

LOCKS = 0x1E0C  # of advisory locks on PostgreSQL: ours, whatever else uses that database
AWAY = gettext_lazy("The image store does not answer at the moment. Nothing was changed; try again in a few minutes.")


class StoreAway(Refused):
    """The bucket that holds the images does not answer, or refuses."""

    def __init__(self) -> None:
        super().__init__(str(AWAY), code="unavailable")


def bucket() -> "Bucket | None":
    """Return the bucket that holds the store; None where a folder of this machine does."""
    return cast("Bucket", storages["store"]) if "store" in settings.STORAGES else None


def original_path(sha256: str) -> Path:
    """Return the place of an original, or of its copy, outside every web root."""
    return settings.STORE_DIR / "originals" / sha256[:2] / sha256


def key_of(path: Path) -> str:
    """Return the key under which a bucket has what lies at a place of the folder; a folder lies in an archive."""
    return path.relative_to(settings.STORE_DIR).as_posix()


def derived_folder(sha256: str) -> Path:
    """Return the folder of what can be made again from an original: `pyramid/`, `crops/`."""
    return settings.STORE_DIR / "derived" / sha256[:2] / sha256


def slide_tiles_folder(sha256: str) -> Path:
    """Return the folder of the fine viewer tiles of a whole slide: a cache (analysis/slide_tiles.py)."""
    return settings.STORE_DIR / "slide-tiles" / sha256[:2] / sha256


@contextmanager
def hashes_locked(hashes: Iterable[str]) -> Iterator[None]:
    """Hold these hashes: nobody else stores or removes their originals, or writes or deletes the rows that name them.

    Taken before any row is locked. One lock serves the hashes that begin with the same two digits.
    """
    with _locked({sha256[:2]: int(sha256[:2], 16) for sha256 in hashes}):
        yield


@contextmanager
def removal_locked() -> Iterator[None]:
    """Let no image expire meanwhile: a backup copies rows first, then their files. Taken before any hash is held."""
    with _locked({"removal": 0x100}):
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


def prepare_original(source: Path, sha256: str) -> None:
    """Bring a checked file to the disk itself, for reading only, and to the bucket: the slow part of storing it.

    Done before any lock.
    """
    prepare_file(source)
    if (held := bucket()) is not None:
        held.put(source, key_of(original_path(sha256)))


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
    held = bucket()
    if held is not None and not any(held.listed(key_of(target))):
        held.put(target, key_of(target))  # removed since, with the last other image of these bytes


def keep_derived(folder: Path) -> None:
    """Bring a folder that the worker made of an original to the bucket, where there is one, as one archive."""
    if (held := bucket()) is not None and folder.is_dir():
        tag, size_bytes = pack_into(held, folder, f"{key_of(folder)}.zip")
        note_tag(folder, tag, size_bytes)


def pack_into(held: "Bucket", folder: Path, key: str) -> tuple[str, int]:
    """Store a folder as one archive under a key; return its tag and bytes."""
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="run-", suffix=".zip") as scratch:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and file.suffix != ".part":
                    archive.write(file, file.relative_to(folder))
        scratch.flush()
        path = Path(scratch.name)
        return held.put(path, key), path.stat().st_size


def tag_file(folder: Path) -> Path:
    """Return the file that says which archive of the bucket a folder is, and its bytes."""
    return folder.with_name(f"{folder.name}.tag")


def note_tag(folder: Path, tag: str, size_bytes: int) -> None:
    """Note which archive of the bucket a folder is."""
    tag_file(folder).write_text(f"{tag} {size_bytes}")


def stored_originals() -> Iterator[tuple[PurePath, int]]:
    """Yield where each stored original is in folder or bucket, and its bytes."""
    if (held := bucket()) is not None:
        yield from ((PurePath(one.key), one.size_bytes) for one in held.listed("originals/"))
        return
    for path in (settings.STORE_DIR / "originals").rglob("*"):
        if path.is_file():
            yield path.relative_to(settings.STORE_DIR), path.stat().st_size


def hash_of_stored(sha256: str) -> str:
    """Read the stored original of this name and return what its SHA-256 really is."""
    if (held := bucket()) is not None:
        return held.hash_of(key_of(original_path(sha256)))
    return hash_of(original_path(sha256))


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def remove_stored(sha256: str) -> None:
    """Remove an original and all that was made of it; the caller holds the hash."""
    derived = derived_folder(sha256)
    if (held := bucket()) is not None:
        made = [one.key for one in held.listed(f"{key_of(derived)}/")]
        held.remove(key_of(original_path(sha256)), *made)
    original_path(sha256).unlink(missing_ok=True)
    for folder in (derived, slide_tiles_folder(sha256)):
        shutil.rmtree(folder, ignore_errors=True)


def has_room_for(size_bytes: int) -> bool:
    """Say whether a file of this size fits while the reserve for database and reports stays free."""
    return shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free - size_bytes > settings.DISK_RESERVE_BYTES


def prepare_file(path: Path) -> None:
    """Bring a file to the disk itself, for reading only."""
    path.chmod(0o440)
    _sync(path)


@contextmanager
def _locked(numbers: Mapping[str, int]) -> Iterator[None]:
    """Hold locks by name; by number in the database where machines share a bucket and no folder."""
    names = sorted(numbers)  # so that two uploads never wait for each other
    if bucket() is not None and connection.vendor == "postgresql":
        with _locked_in_database([numbers[name] for name in names]):
            yield
        return
    folder = settings.STORE_DIR / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for name in names:
            fcntl.flock(held.enter_context(open(folder / name, "ab")), fcntl.LOCK_EX)
        yield


@contextmanager
def _locked_in_database(numbers: list[int]) -> Iterator[None]:
    """Hold advisory locks of this session; they end with it, whatever becomes of the process."""
    taken: list[int] = []
    try:
        with connection.cursor() as cursor:
            for number in numbers:
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, number))
                taken.append(number)
        yield
    finally:
        if taken and connection.is_usable():
            with connection.cursor() as cursor:
                for number in taken:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCKS, number))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
