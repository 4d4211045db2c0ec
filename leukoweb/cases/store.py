"""Where files lie: originals under their SHA-256, and what was derived from them; it knows no rows."""

from pathlib import Path

from django.conf import settings


def original_path(sha256: str) -> Path:
    """The place of an original, outside every web root."""
    return settings.STORE_DIR / "originals" / sha256[:2] / sha256


def derived_folder(sha256: str) -> Path:
    """The folder of what can be made again from an original: `pyramid/`, `crops/`."""
    return settings.STORE_DIR / "derived" / sha256[:2] / sha256
