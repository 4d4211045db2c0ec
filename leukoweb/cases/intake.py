"""What an uploaded file must be before it becomes an image of a slide: readable, new to its case, harmlessly named.

It reads files and returns hashes, or refuses with a sentence for the technologist.
"""

import errno
import math
import time
import unicodedata
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.utils.translation import gettext_lazy

from detection.images import UM_PER_PX_RANGE, ImageFacts, ImageRefused, Limits, NoRoom, check_images
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import decoding_place, has_room_for, hash_of
from leukoweb.places import DISK_FULL_ERRORS

NAME_LENGTH = 120
DISK_FULL = gettext_lazy(
    "The server has no room for this file and nothing of it was stored: tell the administrator, then upload it again."
)
IN_THIS_CASE = gettext_lazy("Duplicate: this picture is already in this case.")
DEMONSTRATION = gettext_lazy(
    "This picture belongs to a demonstration case and shows no blood of this patient: choose a picture of the "
    "patient's smear."
)
NOT_REACHED = gettext_lazy(
    "There was no time to check this file with so many others: upload it again, with fewer files at once."
)
NOTHING_WRONG = {DISK_FULL, NOT_REACHED}  # with the file: what came of it in pieces is kept
ONLY_AN_INDEX = {".mrxs", ".vsi", ".vms", ".vmu", ".ndpis"}
INDEX_ALONE = gettext_lazy(
    "This file is only the index or preview of a slide whose picture is in a folder beside it: "
    "put a .mrxs file and its folder into one ZIP archive, or export the fields as TIFF, PNG or JPEG."
)
TWICE = gettext_lazy("The same picture was chosen twice in this upload: it was taken once.")


@dataclass(frozen=True)
class RefusedFile:
    """A file that was not taken: its cleaned name, one sentence saying why, and its place among the files sent."""

    name: str
    sentence: str
    position: int = 0


@dataclass
class Landed:
    """A file that came whole: where it is, what it is named, its hash, and its facts once it was decoded."""

    name: str
    path: Path
    sha256: str
    position: int = 0
    facts: ImageFacts | ImageRefused | None = None


@contextmanager
def landed(files: Iterable[File]) -> Iterator[tuple[list[Landed], list[RefusedFile]]]:
    """Bring files into our own folder and hash them; what nobody has moved away is removed at the end."""
    whole, refused = [], []
    with ExitStack() as left:
        for number, file in enumerate(files):
            position, name = getattr(file, "position", number), clean_name(file.name)
            path = getattr(file, "path", None)
            try:
                if path is None:
                    path = settings.FILE_UPLOAD_TEMP_DIR / f"form-{uuid.uuid4().hex}"
                    left.callback(path.unlink, missing_ok=True)
                    _write(file, path)
                whole.append(Landed(name, path, hash_of(path), position))
            except OSError as error:
                if error.errno not in DISK_FULL_ERRORS:
                    raise
                refused.append(RefusedFile(name, DISK_FULL, position))
        yield whole, refused


def examine(files: list[Landed], *, within_s: float) -> None:
    """Decode the files whose facts are not known yet and note what they are, as far as the time allows."""
    unknown, deadline = [file for file in files if file.facts is None], time.monotonic() + within_s
    limits = Limits(max_bytes=settings.MAX_IMAGE_BYTES, max_slide_bytes=settings.MAX_SLIDE_BYTES)
    with decoding_place(deadline) as is_free:
        left_s = deadline - time.monotonic() if is_free else 0
        try:
            paths = [file.path for file in unknown]
            answers = check_images(paths, limits=limits, within_s=left_s, scratch=settings.FILE_UPLOAD_TEMP_DIR)
        except NoRoom as error:  # for what an archive holds
            raise OSError(errno.ENOSPC, "no room to unpack an archive") from error
    for file, answer in zip(unknown, answers):
        file.facts = answer


def seconds_for(files: list[Landed]) -> float:
    """Return how long a request may check its files: by their number and size, so that few cannot hold it for long."""
    mib = sum(file.path.stat().st_size for file in files) / 2**20
    wanted = settings.CHECK_BASE_S + settings.CHECK_FILE_S * len(files) + settings.CHECK_MIB_S * mib
    return min(wanted, settings.CHECK_LIMIT_S)


def sift(files: list[Landed], *, known: Container[str]) -> tuple[list[Landed], list[RefusedFile]]:
    """Return the files that are new to a case and readable, and a sentence for each other one.

    `known` holds the SHA-256 of the case's images.
    """
    refused: list[RefusedFile] = []
    new: dict[str, Landed] = {}
    for file in files:
        if Path(file.name).suffix.casefold() in ONLY_AN_INDEX:
            refused.append(RefusedFile(file.name, INDEX_ALONE, file.position))
        elif file.sha256 in known or file.sha256 in new:
            refused.append(RefusedFile(file.name, IN_THIS_CASE if file.sha256 in known else TWICE, file.position))
        else:
            new[file.sha256] = file
    examine(list(new.values()), within_s=seconds_for(list(new.values())))
    for file in new.values():
        if not isinstance(file.facts, ImageFacts):
            refused.append(RefusedFile(file.name, str(file.facts or NOT_REACHED), file.position))
    return [file for file in new.values() if isinstance(file.facts, ImageFacts)], refused


def clean_name(name: object) -> str:
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


def plausible_um_per_px(value: object) -> float | None:
    """Return the scale that an uploader entered, None where the field was left empty; ValueError holds a sentence."""
    text = str(value if value is not None else "").strip().replace(",", ".")
    if not text:
        return None
    try:
        um_per_px = float(text)
    except ValueError:
        um_per_px = math.nan
    least, most = UM_PER_PX_RANGE
    if not least <= um_per_px <= most:
        raise ValueError(
            f"The scale must be a number of micrometres per pixel between {least:g} and {most:g}; "
            "leave it empty if you do not know it."
        )
    return um_per_px


def image_of(file: Landed, *, um_per_px: float | None) -> SlideImage:
    """Return the unsaved row of a file that was examined; `um_per_px` is what the uploader entered."""
    facts = file.facts
    assert isinstance(facts, ImageFacts)  # `sift` leaves no other file
    warning = facts.warning
    if facts.um_per_px and um_per_px and abs(facts.um_per_px / um_per_px - 1) > 0.02:
        warning = (
            f"{warning} The file itself says {facts.um_per_px:g} µm per px; the entered {um_per_px:g} was used.".strip()
        )
    return SlideImage(
        name=file.name,
        sha256=file.sha256,
        size_bytes=file.path.stat().st_size,
        format=facts.format,
        width_px=facts.width_px,
        height_px=facts.height_px,
        um_per_px=um_per_px or facts.um_per_px,
        um_per_px_source="uploader" if um_per_px else "file" if facts.um_per_px else "",
        warning=warning,
    )


def _write(file: File, path: Path) -> None:
    if file.size and not has_room_for(file.size):
        raise OSError(errno.ENOSPC, "less than the reserve would stay free")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        for chunk in file.chunks(1 << 20):
            target.write(chunk)
