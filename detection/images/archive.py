"""Take a whole slide out of a ZIP archive: the names in it, their number and size are checked, and which file opens it.

Archives are unpacked in a limited child process only; how the slide is read is left to `whole_slide`.
"""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from detection.images import ImageRefused, Limits, NoRoom

MOST_MEMBERS = 20_000
PIECE_BYTES = 1 << 20
KEPT_FREE_BYTES = 512 << 20
AGAIN = "make the archive again from the scanner's files and upload it once more."
DAMAGED_ARCHIVE = f"The ZIP archive is damaged or did not come whole: {AGAIN}"
WITHOUT_SLIDE = (
    "The file is a ZIP archive or office document without a whole slide: put the .mrxs file and its folder, or the "
    "DICOM files of one slide, into one archive, or upload a JPEG, PNG, BMP or TIFF image."
)
LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


def unpack_archive(path: str, folder: Path, limits: Limits) -> list[Path]:
    """Write the members of an archive below a folder.

    Parameters
    ----------
    path : str
    folder : Path
        Made; nothing is written outside of it.
    limits : Limits
        `max_slide_bytes` limits what all members have together, whatever the archive says of them.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    ImageRefused
        If the archive is damaged, locked, too large when unpacked, or names a place outside of itself.
    NoRoom
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and not _is_litter(one.filename)]
            _refuse_members(members, limits)
            if shutil.disk_usage(folder.parent).free - sum(one.file_size for one in members) < KEPT_FREE_BYTES:
                raise NoRoom
            written, left = [], limits.max_slide_bytes
            for member in members:
                target = folder.joinpath(*PurePosixPath(member.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb", buffering=0) as file:
                    while piece := source.read(min(PIECE_BYTES, left + 1)):
                        left -= len(piece)
                        if left < 0:
                            raise _too_large(limits)
                        file.write(piece)
                written.append(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, FileExistsError) as error:
        raise ImageRefused(DAMAGED_ARCHIVE) from error
    return written


def picture_of(files: Iterable[Path]) -> Path | None:
    """Return the file of an unpacked archive that opens its slide: the .mrxs, else the largest in DICOM; or None.

    Labels and previews are files of the same series, and small; each picture file opens the whole.
    """
    files = list(files)
    indexes = [file for file in files if file.suffix.casefold() == ".mrxs"]
    return max(indexes or filter(_is_dicom, files), key=lambda file: file.stat().st_size, default=None)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_litter(name: str) -> bool:
    return name.startswith(LITTER[0]) or name.rsplit("/", 1)[-1] in LITTER


def _refuse_members(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > MOST_MEMBERS:
        raise ImageRefused(f"The ZIP archive holds {len(members)} files, more than a whole slide has: {AGAIN}")
    for member in members:
        parts = PurePosixPath(member.filename).parts
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if is_link or ".." in parts or member.filename.startswith("/") or any(c in member.filename for c in "\\:\0"):
            raise ImageRefused(f"The ZIP archive names a place outside of itself: {AGAIN}")
        if member.flag_bits & 1:
            raise ImageRefused("The ZIP archive is locked with a password: pack the slide without one.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without bound
            raise ImageRefused("The ZIP archive is packed in an unusual way: pack the slide again as a usual ZIP file.")
    if sum(member.file_size for member in members) > limits.max_slide_bytes:
        raise _too_large(limits)


def _too_large(limits: Limits) -> ImageRefused:
    return ImageRefused(
        f"Unpacked, the ZIP archive is larger than the limit of {limits.max_slide_bytes / 2**20:.0f} MiB for a slide: "
        "export a part of the slide."
    )
