"""Compare the stored originals with the database: every file has a row, every row its file, every hash is right."""

from collections.abc import Iterator
from pathlib import PurePath

from django.conf import settings

from leukoweb.cases.models import SlideImage
from leukoweb.cases.retention import remove_unused_originals
from leukoweb.cases.store import hash_of_stored, hashes_locked, stored_originals


def problems_of_store(*, read_files: bool = True) -> Iterator[str]:
    """Yield one sentence for each thing that is wrong; `read_files=False` leaves out the hashes."""
    known = set()
    stored = sorted(stored_originals())
    sizes = {path.name: size for path, size in stored}
    rows = SlideImage.objects.filter(expired_at=None).order_by("sha256").values_list("sha256", "size_bytes")
    for sha256, size_bytes in rows.distinct().iterator():
        known.add(sha256)
        if sha256 not in sizes:
            yield f"lost: image {sha256} has a row but no file"
        elif sizes[sha256] != size_bytes:
            yield f"changed: the file of image {sha256} has {sizes[sha256]} bytes, not {size_bytes}"
        elif read_files and hash_of_stored(sha256) != sha256:
            yield f"changed: the file of image {sha256} has another SHA-256"
    for path, _ in stored:
        if path.name not in known:
            yield f"orphan: {path} has no row"


def orphans() -> list[PurePath]:
    """The stored originals that no row names; what an upload left that was broken off."""
    known = set(SlideImage.objects.filter(expired_at=None).values_list("sha256", flat=True))
    return [path for path, _ in stored_originals() if path.name not in known]


def remove_orphans(paths: list[PurePath]) -> int:
    """Remove originals that no row names, each under the lock of its hash; return how many went.

    A file that an upload is just storing has its row when the lock is free.
    """
    removed = 0
    for path in paths:
        sha256 = path.name.removesuffix(".part")
        with hashes_locked([sha256]):
            if path.name == sha256:
                removed += len(remove_unused_originals([sha256]))
            else:
                (settings.STORE_DIR / path).unlink(missing_ok=True)
                removed += 1
    return removed
