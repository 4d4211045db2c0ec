"""Turn untrusted picture bytes into pixels in a limited child process, or refuse them in a sentence for a technologist.

Decoding is left to `decoding`, which only the child imports; cases and networks to those who call.
"""

import json
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TILE_PX = 512
MOST_PAGES = 200  # looked at in a TIFF, whose chain of pages may have no end
UM_PER_PX_RANGE = (0.02, 1.0)  # of every scale: in a file, entered by a person, and given to a detector
# Formats of whole slides: only their overview is ever unpacked, the rest is read region by region (slides.py).
WHOLE_SLIDES = frozenset({"SVS", "NDPI", "SCN", "BIF", "WSI", "DICOM", "MRXS ZIP", "DICOM ZIP"})
ENVIRONMENT = {  # of every child
    "PYTHONPATH": str(PROJECT_ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
}


class ImageRefused(Exception):
    """Say in one sentence, without names or paths, why a file is not accepted and what to do."""


class TooLarge(ImageRefused):
    """The picture is larger than what is decoded whole: only a whole slide may be."""


class NoRoom(Exception):
    """The disk is full: nothing is wrong with the file, and the same call succeeds when there is room."""


@dataclass(frozen=True)
class ImageFacts:
    """What an accepted file is: its format, size when upright, scale in its metadata, and warnings or ''.

    `format` is JPEG, PNG, BMP, TIFF or one of WHOLE_SLIDES; WSI is a TIFF in levels that names no scanner.
    """

    format: str
    width_px: int
    height_px: int
    um_per_px: float | None = None
    warning: str = ""


@dataclass(frozen=True)
class Limits:
    """What a file may cost; `memory_bytes` is address space of the child, `cpu_s` and `wall_s` are for each file.

    `max_slide_bytes` is for whole slides, packed and unpacked, which pixels and edges do not limit.
    """

    max_bytes: int = 1 << 30
    max_slide_bytes: int = 4 << 30
    max_pixels: int = 200_000_000
    max_edge_px: int = 30_000
    min_edge_px: int = 32
    memory_bytes: int = 3 << 30
    cpu_s: int = 60
    wall_s: int = 120
    needs_colour: bool = True


def check_image(path: str | Path, *, limits: Limits = Limits()) -> ImageFacts:
    """Decode a file once in a child process and return what it is.

    Parameters
    ----------
    path : str or Path
        A file on disk; its name plays no part, only its content decides.
    limits : Limits

    Returns
    -------
    ImageFacts

    Raises
    ------
    ImageRefused
        If the file is empty, too large, of another type, damaged, or if the child exceeded a limit or died.

    Notes
    -----
    Pixels are turned upright by the orientation tag, for boxes, tiles and pixels alike; an ICC profile is ignored.
    Transparency is laid over white, and ignored where it is the same everywhere. Only 8 bits per channel are read, and
    only pictures in colour, unless the limits let grey ones pass.
    """
    [answer] = check_images([path], limits=limits)
    if not isinstance(answer, ImageFacts):
        raise answer or ImageRefused("Reading the image took too long: upload it again.")
    return answer


def check_images(
    paths: Sequence[str | Path],
    *,
    limits: Limits = Limits(),
    within_s: float = math.inf,
    scratch: str | Path | None = None,
) -> list[ImageFacts | ImageRefused | None]:
    """Decode several files in one child; a file at which the child ends is tried once more in a child of its own.

    Parameters
    ----------
    paths : sequence of str or Path
    limits : Limits
        Processor time and wall clock are granted for each file; memory is for the child.
    within_s : float
        Seconds for all files together.
    scratch : str or Path, optional
        Folder with room for what a ZIP archive holds, which goes again; without it the system's.

    Returns
    -------
    list of ImageFacts, ImageRefused or None
        In the order of `paths`; a refusal is returned, not raised, so that the other files are still checked. None
        stands for a file that was not reached in time.
    """
    deadline = time.monotonic() + within_s
    answers: list[ImageFacts | ImageRefused | None] = [_refusal_by_size(path, limits) for path in paths]
    waiting = [index for index, refusal in enumerate(answers) if refusal is None]
    while waiting and time.monotonic() < deadline:
        lines, reason = _run_child("check", [paths[index] for index in waiting], limits, deadline)
        for index, line in zip(waiting, lines):
            is_packed = "packed" in json.loads(line)
            answers[index] = _look_into(paths[index], limits, deadline, scratch) if is_packed else _checked(line)
        if not lines and time.monotonic() < deadline:
            answers[waiting[0]] = ImageRefused(reason)
        waiting = waiting[max(len(lines), 1) :] if time.monotonic() < deadline else []
    return answers


def _look_into(
    path: str | Path, limits: Limits, deadline: float, scratch: str | Path | None
) -> ImageFacts | ImageRefused | None:
    """Check a ZIP archive in a child of its own, which may write its content into a folder that goes again."""
    with tempfile.TemporaryDirectory(prefix="look-", dir=scratch) as folder:
        lines, reason = _run_child("look", [path, folder], limits, deadline)
        if not lines and time.monotonic() >= deadline:
            return None
        return _checked(lines[0]) if lines else ImageRefused(reason)


def unpack_image(path: str | Path, folder: str | Path, *, limits: Limits = Limits()) -> ImageFacts:
    """Write the pixels and the viewer's tiles of a file, decoding in a child process.

    Parameters
    ----------
    path : str or Path
    folder : str or Path
        Made if absent. Receives `pixels.npy`, uint8 (H, W, 3) RGB, to be opened with `np.load(..., mmap_mode="r")`, and
        `pyramid/LEVEL/COLUMN_ROW.jpg`, Deep Zoom levels with tiles of 512 px and no overlap.
    limits : Limits

    Returns
    -------
    ImageFacts

    Raises
    ------
    ImageRefused
        As `check_image`; nothing is left in `folder` then.
    NoRoom
        If the disk is full; nothing is left in `folder` either.

    Notes
    -----
    TIFFs are read strip by strip (or tile by tile) into the memory-mapped array; other formats need 4 bytes a pixel.
    Of a whole slide `pixels.npy` is an overview, at most 4,096 px an edge, `pyramid/` holds the levels from there down,
    and `slide/` what its archive held, if it came in one.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if refusal := _refusal_by_size(path, limits):
            raise refusal
        lines, reason = _run_child("unpack", [path, folder], limits)
        answer = _checked(lines[0]) if lines else ImageRefused(reason)
        if isinstance(answer, ImageRefused):
            raise answer
    except (ImageRefused, NoRoom):
        (folder / "pixels.npy").unlink(missing_ok=True)
        for made in ("pyramid", "slide"):
            shutil.rmtree(folder / made, ignore_errors=True)
        raise
    return answer


def _refusal_by_size(path: str | Path, limits: Limits) -> ImageRefused | None:
    size = os.stat(path).st_size
    if size == 0:
        return ImageRefused("The file is empty: copy it again from the microscope and upload it once more.")
    most = max(limits.max_bytes, limits.max_slide_bytes)
    return too_many_bytes(size, most) if size > most else None


def too_many_bytes(size: int, most: int) -> ImageRefused:
    """Say that a file is larger than the limit."""
    return ImageRefused(
        f"The file has {size / 2**20:.0f} MiB and the limit is {most / 2**20:.0f} MiB: "
        "upload a smaller part of the slide or save it with compression."
    )


def _checked(line: str) -> ImageFacts | ImageRefused:
    """Return what a line of the child says; NoRoom where the disk was full."""
    answer = json.loads(line)
    if "no_room" in answer:
        raise NoRoom("The disk is full.")
    return ImageRefused(answer["refused"]) if "refused" in answer else ImageFacts(**answer)


def _run_child(
    command: str, paths: Sequence[str | Path], limits: Limits, deadline: float = math.inf
) -> tuple[list[str], str]:
    """Return the answer lines of the child, and the sentence for the file at which it ended."""
    arguments = [command, json.dumps(asdict(limits)), *(str(Path(path).resolve()) for path in paths)]
    reason = "The image could not be read safely: save it again as PNG or TIFF and upload that file."
    output, file_ends = b"", min(time.monotonic() + limits.wall_s, deadline)
    with (
        tempfile.TemporaryDirectory(prefix="leukoweb-image-") as empty_folder,
        subprocess.Popen(
            [sys.executable, "-sP", "-m", "detection.images.decoding", *arguments],
            cwd=empty_folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child,
    ):
        ready = select.poll()
        assert child.stdout is not None  # it is a pipe
        ready.register(child.stdout, select.POLLIN)
        while True:
            if not ready.poll(1000 * max(file_ends - time.monotonic(), 0)):
                child.kill()
                reason = (
                    "Reading the image took too long: save it again as PNG or TIFF, a whole slide with its smaller "
                    "levels (pyramid), and upload that file."
                )
                break
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                break
            output += piece
            if b"\n" in piece:
                file_ends = min(time.monotonic() + limits.wall_s, deadline)
    # The last piece is either empty or a line that the child did not finish.
    return output.decode("utf-8", "replace").split("\n")[:-1], reason
