"""JPEG streams inside the decoding child: their limits, the decoder's warnings, and what is there of a cut file.

Sizes, colours and scale are left to decoding.py; JPEG streams inside of TIFFs come here from tiff.py.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from detection.images import ImageRefused

MOST_SCANS = 100  # encoders write 1 to 20; each one costs a pass over the whole picture
MOST_SCANNED_PX = 4_000_000_000  # of all scans together: 20 of the largest picture
LEAST_SHARE_OF_ROWS = 0.75
DAMAGED = (
    "The {} file is damaged or incomplete and cannot be read: "
    "copy it again from the microscope and upload it once more."
)
SAVE_AS_8_BIT = "save it as 8-bit RGB and upload that file."
MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # behind any number of fill bytes
FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # of the kinds that are read: baseline to progressive, two ways of coding
UNREAD_KINDS = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "lossless and hierarchical", 0xCB: "lossless",
    0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical", 0xF7: "JPEG-LS",
}  # fmt: skip


def refuse_unread_kind(path: str | Path) -> None:
    """Refuse a JPEG that is whole but of a kind that is not read here, or that is made of too many scans.

    Raises
    ------
    ImageRefused
    """
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        scans = pixels = 0
        for marker, at in _segments(content):
            if marker in UNREAD_KINDS:
                raise ImageRefused(f"The JPEG is {UNREAD_KINDS[marker]}, which is not read here: {SAVE_AS_8_BIT}")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and content[at + 2 : at + 3] > b"\x08":
                if content[at + 2] > 16:  # no encoder writes that
                    raise ImageRefused(DAMAGED.format("JPEG"))
                raise ImageRefused(f"The JPEG has {content[at + 2]} bits a channel: {SAVE_AS_8_BIT}")
            if marker in FRAMES:
                wide, high = _size_at(content, at)
                pixels = max(pixels, wide * high)
            scans += marker == 0xDA
            refuse_scans(scans, pixels)


def refuse_scans(scans: int, pixels: int) -> None:
    """Refuse a picture of so many pixels in more scans than any encoder needs: each costs the time of all of it."""
    most = min(MOST_SCANS, MOST_SCANNED_PX // max(pixels, 1))
    if scans > most:
        raise ImageRefused(
            f"The JPEG is stored in more than {most} scans: save it again with another program and upload that."
        )


def size_of(stream: bytes) -> tuple[int, int]:
    """Return width and height that a stream states, zeros where it states none."""
    return next((_size_at(stream, at) for marker, at in _segments(stream) if marker in FRAMES), (0, 0))


def _size_at(content: mmap | bytes, at: int) -> tuple[int, int]:
    """Return width and height of the frame whose segment begins there."""
    return int.from_bytes(content[at + 5 : at + 7]), int.from_bytes(content[at + 3 : at + 5])


def _segments(content: mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and start of each segment; entropy-coded data are passed over."""
    at = 2
    while found := MARKER.search(content, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            return
        if 0xD0 <= marker <= 0xD7 or marker == 0x01:
            continue
        yield marker, at
        at += int.from_bytes(content[at : at + 2])


def warning_of(jpeg: str | Path | bytes) -> str:
    """Decode a JPEG file or stream at an eighth of its size and return the decoder's first warning, or ''.

    Pillow throws libjpeg's warnings away; OpenCV lets libjpeg print them.
    """
    import cv2

    flags = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
    with _standard_error() as said:
        if isinstance(jpeg, bytes):
            cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
        else:
            cv2.imread(str(jpeg), flags)
    lines = [line for line in said[0].splitlines() if line and not line.startswith("[")]
    if isinstance(jpeg, bytes) and jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        lines.append("the end is missing")  # of bytes in memory the decoder does not say it
    if not lines:
        return ""
    return (
        f"The JPEG is damaged, and a part of the picture may be wrong or grey (the decoder says: {lines[0][:100]}): "
        "copy it again from the microscope."
    )


@contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Catch what libraries print to file descriptor 2; the list holds it afterwards."""
    said: list[str] = []
    (read_end, write_end), saved = os.pipe(), os.dup(2)
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    os.dup2(write_end, 2)
    try:
        yield said
    finally:
        os.dup2(saved, 2)
        try:
            said.append(os.read(read_end, 1 << 14).decode("utf-8", "replace"))
        except BlockingIOError:
            said.append("")
        for descriptor in (read_end, write_end, saved):
            os.close(descriptor)


def read_cut(path: str | Path, *, small: bool) -> tuple[Image.Image, float]:
    """Read what is there of a JPEG that ends early; return it and the share of its rows that are there."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image = Image.open(path, formats=["JPEG"])
        if image.info.get("progressive") and not _in_last_scans(path):
            raise ImageRefused(DAMAGED.format("JPEG"))
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        rows = np.asarray(image)
        share = rows_before_grey(rows) / len(rows)
        if share < LEAST_SHARE_OF_ROWS:
            raise ImageRefused(DAMAGED.format("JPEG"))
        if not small:
            image = Image.open(path, formats=["JPEG"])
            image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    return image, share


def rows_before_grey(rows: np.ndarray) -> int:
    """Return the number of rows before the mid-grey that libjpeg leaves where blocks are missing."""
    end = len(rows)
    while end and (rows[end - 1] == 128).all():
        end -= 1
    return end


def _in_last_scans(path: str | Path) -> bool:
    """Tell whether a progressive JPEG reaches a scan that brings the last bit of the fine detail."""
    content = Path(path).read_bytes()
    at = content.rfind(b"\xff\xda")
    header = content[at + 2 : at + 4 + content[at + 4] * 2 + 4]
    first_coefficient, precision = header[-3], header[-1] & 15
    return first_coefficient > 0 and precision == 0
