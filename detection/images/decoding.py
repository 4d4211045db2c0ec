"""The child process of `images.py`: it limits itself, decodes file after file and prints one JSON line for each.
It runs in a child process only, whose limits and answers are left to `detection.images`.
"""

import ctypes
import errno
import io
import json
import math
import os
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, MpoImagePlugin, PngImagePlugin

from detection.images import (
    TILE_PX,
    ImageFacts,
    ImageRefused,
    Limits,
    NoRoom,
    TooLarge,
    jpeg,
    png,
    scales,
    too_many_bytes,
)
from detection.images.jpeg import DAMAGED, SAVE_AS_8_BIT
from detection.images.survey import Survey

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
STRIP_ROWS = 512
ZIP_SIGNATURE = b"PK\x03\x04"
DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MOST_HIDDEN = 0.95  # of the picture, by its transparency; a round picture on nothing has less
MOST_IN_RUNS = 16_000_000  # pixels and bytes of a BMP in run-length encoding
MOST_TEXT_BYTES = 1 << 28  # of texts and profiles in a PNG; the child's memory is limited anyway
ORIENTATION_TAG = 274
WITHOUT_COLOUR = (
    "The picture has no colour, and leukocytes are told apart by their stain: "
    "upload the colour picture of the microscope."
)
SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
OTHER_SIGNATURES = (
    (8, b"CR\x02", "a camera raw file (Canon CR2)"),
    (0, b"IIRO", "a camera raw file (Olympus ORF)"),
    (0, b"IIRS", "a camera raw file (Olympus ORF)"),
    (0, b"MMOR", "a camera raw file (Olympus ORF)"),
    (0, b"IIU\0", "a camera raw file (Panasonic RW2)"),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file (Fujifilm RAF)"),
    (0, b"FOVb", "a camera raw file (Sigma X3F)"),
    (0, b"\0MRM", "a camera raw file (Minolta MRW)"),
    (6, b"HEAPCCDR", "a camera raw file (Canon CRW)"),
    (4, b"ftypcrx", "a camera raw file (Canon CR3)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"PK\x03\x04", "a ZIP archive or office document"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a HEIC picture or a video"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\0\0\0\x0cJXL", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<", "a web page or XML text"),
)


class Packed(Exception):
    """The file is an archive: a folder is needed to look into it."""


def main(arguments: list[str]) -> None:
    """Run `check LIMITS FILE...`, `look LIMITS FILE FOLDER` or `unpack LIMITS FILE FOLDER`: one JSON line a file.

    `look` checks a file whose archive must be unpacked for that.
    """
    command, given, *paths = arguments
    limits = Limits(**json.loads(given))
    jobs: list[tuple[str, Path | None]]
    jobs = [(path, None) for path in paths] if command == "check" else [(paths[0], Path(paths[1]))]
    largest_file = max(3 * limits.max_pixels + 4096, limits.max_slide_bytes)
    limit_this_process(limits, largest_file=0 if command == "check" else largest_file)
    for path, folder in jobs:
        used_s = math.ceil(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used_s + limits.cpu_s, resource.RLIM_INFINITY))
        try:
            answer = asdict(decode(path, limits, folder, is_look=command == "look"))
        except Packed:
            answer = {"packed": True}
        except ImageRefused as refusal:
            answer = {"refused": str(refusal)}
        except NoRoom:
            answer = {"no_room": True}
        print(json.dumps(answer), flush=True)


def limit_this_process(limits: Limits, *, largest_file: int) -> None:
    """Take memory, network and large files from this process."""
    # No network where the kernel allows it. Only root may leave the network without a user namespace, and only a plain
    # user keeps the right to his own files in one.
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    ctypes.CDLL(None).unshare(flags)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode(path: str, limits: Limits, folder: Path | None = None, *, is_look: bool = False) -> ImageFacts:
    """Read every pixel of a file and return its facts; with a folder also write `pixels.npy` and `pyramid/`.

    Of a whole slide only samples and the overview are read. `is_look` says that the folder is for an archive alone.
    """
    with open(path, "rb") as file:
        start = file.read(256)
    found = next((name for signature, name in SIGNATURES if start.startswith(signature)), None)
    other = next((name for at, magic, name in OTHER_SIGNATURES if start[at:].startswith(magic)), "")
    is_packed, is_dicom = start.startswith(ZIP_SIGNATURE), start[128:].startswith(b"DICM")
    if is_packed and folder is None:
        raise Packed
    is_refused = found is None or (found == "TIFF" and "raw" in other)
    if is_refused and not (is_packed or is_dicom):
        raise _refusal_of(other)
    try:
        read: Any = _read_with_pillow
        if found == "TIFF":
            from detection.images.tiff import read_tiff as read
        try:
            if is_packed or is_dicom:
                raise TooLarge(str(_refusal_of(other)))
            if os.stat(path).st_size > limits.max_bytes:
                raise TooLarge(str(too_many_bytes(os.stat(path).st_size, limits.max_bytes)))
            facts, pixels = read(path, found, limits, folder)
        except TooLarge:
            if found not in (None, "TIFF") or os.stat(path).st_size > limits.max_slide_bytes:
                raise
            from detection.images.whole_slide import read_slide

            slide = read_slide(path, limits, folder, is_packed=is_packed, is_look=is_look)
            if slide is None:
                raise
            facts, pixels = slide
        if folder is not None and pixels is not None:
            write_pyramid(pixels, folder / "pyramid")
    except MemoryError as error:
        raise ImageRefused(
            "The image needs more memory than is allowed: upload a smaller part of the slide."
        ) from error
    except (ImageRefused, NoRoom):
        raise
    except OSError as error:
        if error.errno in DISK_FULL_ERRORS:
            raise NoRoom from error
        raise ImageRefused(DAMAGED.format(found or "whole slide")) from error
    except Exception as error:  # a decoder meeting hostile bytes may raise anything; the reader gets one sentence
        raise ImageRefused(DAMAGED.format(found or "whole slide")) from error
    return facts


def _refusal_of(other: str) -> ImageRefused:
    return ImageRefused(
        f"The file is {other}: upload a JPEG, PNG, BMP or TIFF image."
        if other
        else "Unsupported file type. Use JPEG, PNG, BMP or TIFF."
    )


def refuse_by_pixels(width_px: int, height_px: int, limits: Limits) -> None:
    """Refuse a picture that is too large or too small."""
    if width_px * height_px > limits.max_pixels or max(width_px, height_px) > limits.max_edge_px:
        raise TooLarge(
            f"The image has {width_px} x {height_px} px; the limit is {limits.max_pixels / 1e6:.0f} megapixels and "
            f"{limits.max_edge_px} px an edge: upload a smaller part of the slide."
        )
    if min(width_px, height_px) < 1:
        raise ValueError("no pixels")
    if min(width_px, height_px) < limits.min_edge_px:
        raise ImageRefused(
            f"The image has {width_px} x {height_px} px, too small for a smear field: upload one of at least "
            f"{limits.min_edge_px} px an edge."
        )


def new_pixels(folder: Path | None, height_px: int, width_px: int) -> np.ndarray | None:
    """Return the memory-mapped array of an unpacked picture, None where a file is only checked."""
    if folder is None:
        return None
    place = folder / "pixels.npy"
    pixels = np.lib.format.open_memmap(place, mode="w+", dtype=np.uint8, shape=(height_px, width_px, 3))
    with open(place, "r+b") as file:  # a full disk is noticed here, not as a signal while the mapped pages are written
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return pixels


def alpha_means_something(parts: Iterable[np.ndarray]) -> tuple[bool, str]:
    """Tell by its values, given in parts, whether a fourth channel is transparency, and what to say of it.

    Raises
    ------
    ImageRefused
        If it hides nearly the whole picture.
    """
    lows, highs, sums, sizes = zip(*((int(p.min()), int(p.max()), int(p.sum(dtype=np.int64)), p.size) for p in parts))
    low = min(lows)
    if low == max(highs):
        note = f"The fourth channel of the file (transparency) is {low} everywhere and was ignored."
        return False, "" if low == 255 else note
    hidden = 1 - sum(sums) / (255 * sum(sizes))
    if hidden > MOST_HIDDEN:
        raise ImageRefused(
            "The picture is transparent nearly everywhere: save it without transparency as RGB and upload that file."
        )
    return (
        True,
        f"{100 * hidden:.0f} % of the picture is transparent and was laid over white." if hidden >= 0.005 else "",
    )


def _orientation(value: object) -> int:
    """Return an orientation tag, 1 (upright) for nonsense."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def finished(
    facts: ImageFacts,
    said: list[str],
    survey: Survey,
    pixels: np.ndarray | None,
    orientation: object,
    folder: Path | None,
    limits: Limits,
) -> tuple[ImageFacts, np.ndarray | None]:
    """Refuse a grey picture where colour is needed; turn pixels and facts upright and add what is to be said of it.

    Raises
    ------
    ImageRefused
        If nothing in the picture has a colour.
    """
    if survey.is_grey and limits.needs_colour:
        raise ImageRefused(WITHOUT_COLOUR)
    orientation = _orientation(orientation)
    warning = " ".join(sentence for sentence in [*said, survey.warning] if sentence)
    facts = replace(facts, warning=warning)
    if orientation > 4:
        facts = replace(facts, width_px=facts.height_px, height_px=facts.width_px)
    if pixels is None or folder is None or orientation == 1:
        return facts, pixels
    sideways = np.swapaxes(pixels, 0, 1)
    turned = {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: sideways, 6: sideways[:, ::-1],
        7: sideways[::-1, ::-1], 8: sideways[::-1],
    }[orientation]  # fmt: skip
    lying = folder / "lying.npy"
    (folder / "pixels.npy").rename(lying)
    upright = new_pixels(folder, *turned.shape[:2])
    if upright is not None:
        upright[:] = turned
    lying.unlink()
    return facts, upright


# JPEG, PNG, BMP --------------------------------------------------------------------------------------


def _read_with_pillow(
    path: str, found: str, limits: Limits, folder: Path | None
) -> tuple[ImageFacts, np.ndarray | None]:
    Image.MAX_IMAGE_PIXELS = None  # the header is enough for our own limits, after what no smaller picture would mend
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT_BYTES
    if found == "JPEG":
        jpeg.refuse_unread_kind(path)
    if found == "PNG":
        png.refuse_pieces(path)
    image: Image.Image = Image.open(path, formats=[found])
    width_px, height_px = image.size
    _refuse_by_depth(path, found, image.mode, limits)
    refuse_by_pixels(width_px, height_px, limits)
    _refuse_runs(path, image)
    um_per_px, orientation = scales.of_pillow(image), _orientation(image.getexif().get(ORIENTATION_TAG))
    said = []
    if found == "JPEG" and folder is None:
        # Every byte is still read and checked, at an eighth of the size: a tenth of the time and 1/64 of the memory.
        image.draft(image.mode, (max(1, width_px // 8), max(1, height_px // 8)))
    is_cut = False
    try:
        image.load()
    except OSError:
        if found != "JPEG":
            raise
        is_cut = True
        image, share = jpeg.read_cut(path, small=folder is None)
        missing = f"the lowest {100 * (1 - share):.0f} %" if share < 0.995 else "hardly anything"
        said.append(f"The JPEG ends early: {missing} of the picture is missing and left white.")
    if found == "JPEG" and not is_cut:
        said.append(jpeg.warning_of(path))
    is_clear, note = _transparency(image)
    said += [note, _other_pictures(image)]
    survey = Survey(image.height, image.width)
    pixels = new_pixels(folder, height_px, width_px)
    for y in range(0, image.height, STRIP_ROWS):
        strip = image.crop((0, y, image.width, min(y + STRIP_ROWS, image.height)))
        rows = _over_white(strip) if is_clear else np.asarray(strip.convert("RGB"))
        survey.add(rows, y, 0, whole=found != "JPEG", from_below=found == "BMP")
        if pixels is not None:
            pixels[y : y + STRIP_ROWS] = rows
    if is_cut and pixels is not None:
        pixels[jpeg.rows_before_grey(pixels) :] = 255
    return finished(
        ImageFacts(found, width_px, height_px, um_per_px), said, survey, pixels, orientation, folder, limits
    )


def _refuse_by_depth(path: str, found: str, mode: str, limits: Limits) -> None:
    depth_16 = mode.startswith(("I", "F"))
    if found == "PNG":
        with open(path, "rb") as file:
            depth_16 |= file.read(25)[24] == 16  # Pillow reduces 16-bit RGB silently
    if depth_16:
        raise ImageRefused(f"The {found} has 16 bits a channel: {SAVE_AS_8_BIT}")
    if mode == "1":
        raise ImageRefused(f"The {found} is black and white without shades: {SAVE_AS_8_BIT}")
    if mode in ("L", "LA") and limits.needs_colour:
        raise ImageRefused(WITHOUT_COLOUR)
    if mode not in ("RGB", "RGBA", "P", "PA", "L", "LA"):
        raise ImageRefused(f"The {found} has {mode} colours as for printing: {SAVE_AS_8_BIT}")


def _refuse_runs(path: str, image: Image.Image) -> None:
    """Refuse a large BMP in runs of equal colours: they are read one by one, slowly."""
    is_in_runs = image.format == "BMP" and image.info.get("compression") in (1, 2)
    if is_in_runs and max(image.width * image.height, os.stat(path).st_size) > MOST_IN_RUNS:
        raise ImageRefused(f"The BMP is packed (RLE) and too large to be read so: {SAVE_AS_8_BIT}")


def _other_pictures(image: Image.Image) -> str:
    """Say that a file holds further pictures as large as the one that is read: a JPEG of several, an animated PNG."""
    frames = getattr(image, "n_frames", 1)
    if isinstance(image, MpoImagePlugin.MpoImageFile):  # small ones are previews and maps of brightness
        sizes = [entry["Size"] for entry in (image.mpinfo or {}).get(0xB002, [])]
        frames = 1 + sum(size > sizes[0] / 2 for size in sizes[1:])
    return f"The file holds {frames} pictures; only the first is read." if frames > 1 else ""


def _transparency(image: Image.Image) -> tuple[bool, str]:
    """Tell whether transparency is to be laid over white, and what to say where it means nothing."""
    if image.mode not in ("RGBA", "PA", "LA") and "transparency" not in image.info:
        return False, ""
    strips = (
        image.crop((0, y, image.width, min(y + STRIP_ROWS, image.height))) for y in range(0, image.height, STRIP_ROWS)
    )
    return alpha_means_something(np.asarray(strip.convert("RGBA").getchannel("A")) for strip in strips)


def _over_white(image: Image.Image) -> np.ndarray:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return np.asarray(white.convert("RGB"))


# Viewer tiles ----------------------------------------------------------------------------------------


def write_pyramid(pixels: np.ndarray, folder: Path) -> None:
    """Write Deep Zoom levels as JPEG tiles; `pixels` is (H, W, 3) uint8, level 0 is one pixel."""
    level = (max(pixels.shape[:2]) - 1).bit_length()
    while level >= 0:
        (folder / str(level)).mkdir(parents=True)
        height_px, width_px = pixels.shape[:2]
        half = np.empty(((height_px + 1) // 2, (width_px + 1) // 2, 3), np.uint8)
        for row, y in enumerate(range(0, height_px, TILE_PX)):
            strip = Image.fromarray(pixels[y : y + TILE_PX])
            for column, x in enumerate(range(0, width_px, TILE_PX)):
                tile = strip.crop((x, 0, min(x + TILE_PX, width_px), strip.height))
                encoded = io.BytesIO()  # Pillow writes to a file by itself and overlooks a full disk
                tile.save(encoded, "JPEG", quality=90)
                (folder / str(level) / f"{column}_{row}.jpg").write_bytes(encoded.getbuffer())
            half[y // 2 : (y + TILE_PX) // 2] = strip.reduce(2)
        pixels, level = half, level - 1


if __name__ == "__main__":
    main(sys.argv[1:])
