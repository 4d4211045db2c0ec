"""Compare the stored originals with the database: every file has a row, every row its file, every hash is right."""

from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from django.conf import settings

from leukoweb.cases.models import SlideImage
from leukoweb.cases.retention import remove_unused_originals
from leukoweb.cases.store import hashes_locked, original_path


def problems_of_store(*, read_files: bool = True) -> Iterator[str]:
    """Yield one sentence for each thing that is wrong; `read_files=False` leaves out the hashes."""
    known = set()
    rows = SlideImage.objects.filter(expired_at=None).order_by("sha256").values_list("sha256", "size_bytes")
    for sha256, size_bytes in rows.distinct().iterator():
        known.add(sha256)
        path = original_path(sha256)
        if not path.is_file():
            yield f"lost: image {sha256} has a row but no file"
        elif path.stat().st_size != size_bytes:
            yield f"changed: the file of image {sha256} has {path.stat().st_size} bytes, not {size_bytes}"
        elif read_files and _sha256(path) != sha256:
            yield f"changed: the file of image {sha256} has another SHA-256"
    for path in sorted((settings.STORE_DIR / "originals").rglob("*")):
        if path.is_file() and path.name not in known:
            yield f"orphan: {path.relative_to(settings.STORE_DIR)} has no row"


def orphans() -> list[Path]:
    """The stored originals that no row names; what an upload left that was broken off."""
    known = set(SlideImage.objects.filter(expired_at=None).values_list("sha256", flat=True))
    return [p for p in (settings.STORE_DIR / "originals").rglob("*") if p.is_file() and p.name not in known]


def remove_orphans(paths: list[Path]) -> int:
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
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
