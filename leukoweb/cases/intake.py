"""What an uploaded file must be before it becomes an image of a slide: readable, new to its case, harmlessly named.

It knows files, hashes and sentences for a technologist; it knows no detector and writes no row.
"""

import hashlib
import math
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from detection.images import ImageRefused, Limits, check_images
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import DISK_FULL_ERRORS, has_room_for, keep_original

LEAST_UM_PER_PX, MOST_UM_PER_PX = 0.02, 2.0
NAME_LENGTH = 120
DISK_FULL = (
    "The server has no room for this file and nothing of it was stored: tell the administrator, then upload it again."
)
IN_THIS_CASE = "This picture is already in this case: nothing to do, or choose another file."
TWICE = "The same picture was chosen twice in this upload: it was taken once."


@dataclass(frozen=True)
class RefusedFile:
    """A file that was not taken, by its cleaned name, and one sentence saying why."""

    name: str
    sentence: str


def take_in(files, *, known=frozenset(), um_per_px=None):
    """Check each file and store the good ones: unsaved SlideImages, and a RefusedFile for each of the others.

    `known` holds the SHA-256 of the case's images. Nothing is stored of a refused file; the other files go on.
    """
    refused, landed = [], []
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="intake-", dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        seen = {}
        for number, file in enumerate(files):
            name, path = clean_name(file.name), Path(folder) / str(number)
            try:
                sha256 = _land(file, path)
            except OSError as error:
                if error.errno not in DISK_FULL_ERRORS:
                    raise
                path.unlink(missing_ok=True)
                refused.append(RefusedFile(name, DISK_FULL))
                continue
            if sha256 in known or sha256 in seen:
                refused.append(RefusedFile(name, IN_THIS_CASE if sha256 in known else TWICE))
                path.unlink()
                continue
            seen[sha256] = name
            landed.append((name, path, sha256))
        images = []
        answers = check_images([path for _, path, _ in landed], limits=Limits(max_bytes=settings.MAX_IMAGE_BYTES))
        for (name, path, sha256), facts in zip(landed, answers):
            if isinstance(facts, ImageRefused):
                refused.append(RefusedFile(name, str(facts)))
                continue
            images.append(_image(name, path, sha256, facts, um_per_px))
            keep_original(path, sha256)
    return images, refused


def clean_name(name) -> str:
    """Return the last part of an uploaded name without control or invisible characters, never empty, never long."""
    last = str(name or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    plain = unicodedata.normalize("NFC", last)
    # Categories C*: control, format (also the marks that turn text around), surrogates, unassigned.
    plain = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in plain).split()).strip(". ")
    if len(plain) > NAME_LENGTH:
        stem, dot, suffix = plain.rpartition(".")
        kept = f"{dot}{suffix}" if stem and len(suffix) <= 5 else ""
        plain = plain[: NAME_LENGTH - len(kept)].strip(". ") + kept
    return plain or "image"


def plausible_um_per_px(value) -> float | None:
    """Return the scale that an uploader entered, None where the field was left empty; ValueError holds a sentence."""
    text = str(value if value is not None else "").strip().replace(",", ".")
    if not text:
        return None
    try:
        um_per_px = float(text)
    except ValueError:
        um_per_px = math.nan
    if not LEAST_UM_PER_PX <= um_per_px <= MOST_UM_PER_PX:
        raise ValueError(
            f"The scale must be a number of micrometres per pixel between {LEAST_UM_PER_PX} and {MOST_UM_PER_PX:g}; "
            "leave it empty if you do not know it."
        )
    return um_per_px


def _land(file, path: Path) -> str:
    """Write the stream to `path` and return its SHA-256: what is hashed here is what is checked and stored."""
    digest = hashlib.sha256()
    if file.size and not has_room_for(file.size):
        raise OSError(next(iter(DISK_FULL_ERRORS)), "less than the reserve would stay free")
    with path.open("xb") as target:
        for chunk in file.chunks(1 << 20):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _image(name, path, sha256, facts, um_per_px) -> SlideImage:
    warning = facts.warning
    if facts.um_per_px and um_per_px and abs(facts.um_per_px / um_per_px - 1) > 0.02:
        warning = (
            f"{warning} The file itself says {facts.um_per_px:g} um per px; that was used, not {um_per_px:g}.".strip()
        )
    return SlideImage(
        name=name,
        sha256=sha256,
        size_bytes=path.stat().st_size,
        format=facts.format,
        width_px=facts.width_px,
        height_px=facts.height_px,
        um_per_px=facts.um_per_px or um_per_px,
        um_per_px_source="file" if facts.um_per_px else "uploader" if um_per_px else "",
        warning=warning,
    )
