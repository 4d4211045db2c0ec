"""The one door through which untrusted picture bytes become pixels: a limited child process, and its answer.
It knows limits, files and sentences for a technologist; it decodes nothing itself and knows no cases or networks.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TILE_PX = 512


class ImageRefused(Exception):
    """Say in one sentence, without names or paths, why a file is not accepted and what to do."""


@dataclass(frozen=True)
class ImageFacts:
    """What an accepted file is: JPEG, PNG, BMP or TIFF; size as stored; scale in its metadata; warning or ''."""

    format: str
    width_px: int
    height_px: int
    um_per_px: float | None = None
    warning: str = ""


@dataclass(frozen=True)
class Limits:
    """What a file may cost; `memory_bytes` is address space of the child, `cpu_s` and `wall_s` are for each file."""

    max_bytes: int = 1 << 30
    max_pixels: int = 200_000_000
    max_edge_px: int = 30_000
    min_edge_px: int = 32
    memory_bytes: int = 3 << 30
    cpu_s: int = 60
    wall_s: int = 120


def check_image(path, *, limits=Limits()):
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
    Pixels are taken as stored: an EXIF orientation and an ICC profile are ignored everywhere, so that boxes, tiles and
    pixels agree. Transparency is laid over white. Only 8 bits per channel are read.
    """
    [answer] = check_images([path], limits=limits)
    if isinstance(answer, ImageRefused):
        raise answer
    return answer


def check_images(paths, *, limits=Limits()):
    """Decode several files in one child, and alone each file that the child did not answer for.

    Parameters
    ----------
    paths : sequence of str or Path
    limits : Limits
        Processor time and wall clock are granted for each file; memory is for the child.

    Returns
    -------
    list of ImageFacts or ImageRefused
        In the order of `paths`; a refusal is returned, not raised, so that the other files go on.
    """
    answers = [_refusal_by_size(path, limits) for path in paths]
    waiting = [index for index, refusal in enumerate(answers) if refusal is None]
    lines, reason = _run_child("check", [paths[index] for index in waiting], limits) if waiting else ([], "")
    for index, line in zip(waiting, lines):
        answers[index] = _answer(line)
    for index in waiting[len(lines) :]:
        if len(waiting) == 1:
            answers[index] = ImageRefused(reason)
        else:
            [answers[index]] = check_images([paths[index]], limits=limits)
    return answers


def unpack_image(path, folder, *, limits=Limits()):
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

    Notes
    -----
    TIFFs are read strip by strip (or tile by tile) into the memory-mapped array; other formats need 4 bytes a pixel.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    refusal = _refusal_by_size(path, limits)
    if refusal is None:
        lines, reason = _run_child("unpack", [path, folder], limits)
        refusal = _answer(lines[0]) if lines else ImageRefused(reason)
    if isinstance(refusal, ImageRefused):
        (folder / "pixels.npy").unlink(missing_ok=True)
        shutil.rmtree(folder / "pyramid", ignore_errors=True)
        raise refusal
    return refusal


def _refusal_by_size(path, limits):
    size = os.stat(path).st_size
    if size == 0:
        return ImageRefused("The file is empty: copy it again from the microscope and upload it once more.")
    if size > limits.max_bytes:
        return ImageRefused(
            f"The file has {size / 2**20:.0f} MiB and the limit is {limits.max_bytes / 2**20:.0f} MiB: "
            "upload a smaller part of the slide or save it with compression."
        )
    return None


def _answer(line):
    answer = json.loads(line)
    return ImageRefused(answer["refused"]) if "refused" in answer else ImageFacts(**answer)


def _run_child(command, paths, limits):
    """Return the answer lines of the child, and the sentence for files that it left without an answer."""
    files = len(paths) if command == "check" else 1
    arguments = [command, json.dumps(asdict(limits)), *(str(Path(path).resolve()) for path in paths)]
    environment = {
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }
    reason = "The image could not be read safely: save it again as PNG or TIFF and upload that file."
    with tempfile.TemporaryDirectory(prefix="leukoweb-image-") as empty_folder:
        child = subprocess.Popen(
            [sys.executable, "-sP", "-m", "detection.images.decoding", *arguments],
            cwd=empty_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            output, _ = child.communicate(timeout=limits.wall_s * files)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            reason = "Reading the image took too long: save it again as PNG or TIFF and upload that file."
    # The last piece is either empty or a line that the child did not finish.
    return output.decode("utf-8", "replace").split("\n")[:-1], reason
