"""Where files lie: originals under their SHA-256, and what was derived from them; it knows no rows."""

import errno
import os
import shutil
from pathlib import Path

from django.conf import settings

DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def original_path(sha256: str) -> Path:
    """The place of an original, outside every web root."""
    return settings.STORE_DIR / "originals" / sha256[:2] / sha256


def derived_folder(sha256: str) -> Path:
    """The folder of what can be made again from an original: `pyramid/`, `crops/`."""
    return settings.STORE_DIR / "derived" / sha256[:2] / sha256


def keep_original(source: Path, sha256: str) -> Path:
    """Move a checked file to its place: after a power cut it is there whole, or not at all."""
    target = original_path(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.chmod(0o440)
    _sync(source)
    # A second upload of the same bytes replaces a file by its equal, which also mends a damaged one.
    os.replace(source, target)
    _sync(target.parent)
    return target


def has_room_for(size_bytes: int) -> bool:
    """Say whether a file of this size fits while the reserve for database and reports stays free."""
    return shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free - size_bytes > settings.DISK_RESERVE_BYTES


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
