"""TIFFs inside the decoding child: which page is the picture, what its tags mean, and its pixels segment by segment.

Limits of size, the orientation and what the pixels tell are shared with the other formats (decoding.py, survey.py).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import COMPRESSION

from detection.images import MOST_PAGES, ImageFacts, ImageRefused, Limits, jpeg, scales
from detection.images.decoding import (
    ORIENTATION_TAG,
    WITHOUT_COLOUR,
    alpha_means_something,
    finished,
    new_pixels,
    refuse_by_pixels,
)
from detection.images.jpeg import DAMAGED, SAVE_AS_8_BIT
from detection.images.survey import Survey

PADDING_PX = 16  # of a JPEG stream beyond its strip or tile: a block of subsampled colour
MOST_PIECES = 50_000  # strips or tiles; a row each makes 30,000 of the highest picture, tiles of 64 px 49,000
REDUCED, MASK = 1, 4  # bits of NewSubfileType
CFA, LINEAR_RAW = 32803, 34892  # PhotometricInterpretation of camera raw files
DNG_VERSION_TAG = 50706
UNCOMPRESSED, JPEG_COMPRESSION, APERIO_YCBCR = 1, 7, 33003
JPEGS = {int(COMPRESSION[name]) for name in ("OJPEG", "JPEG", "ALT_JPEG", "JPEG_LOSSY")}
# Deflate, LZMA, PNG, JPEG XL, LERC have checksums. Of the others no decoder tells damage, and none writes such a run.
MAY_BE_DAMAGED = "The TIFF {}, and a part of the picture may be wrong: copy it again from the microscope."
LOST_PIECES = (bytes(512), b"\xff" * 512)
SAVE_AGAIN = "save it again with another program and upload that file."


def read_tiff(path: str, found: str, limits: Limits, folder: Path | None) -> tuple[ImageFacts, np.ndarray | None]:
    """Read the picture of a TIFF.

    Parameters
    ----------
    path : str
    found : str
        "TIFF".
    limits : Limits
    folder : Path or None
        Receives the pixels; None checks only.

    Returns
    -------
    ImageFacts
    ndarray of uint8 (H, W, 3), or None

    Raises
    ------
    ImageRefused
    """
    with tifffile.TiffFile(path) as file:
        pages = _pages(file)
        _refuse_camera_raw(pages)
        page, said = _picture(pages)
        width_px, height_px = page.imagewidth, page.imagelength
        colours = _colour_pages(page, pages)
        for one in colours:
            _refuse_kind(one, is_colour=len(colours) == 3)
        refuse_by_pixels(width_px, height_px, limits)
        for one in colours:
            _refuse_pieces(file, one, limits)
            _refuse_jpegs(file, one)
        said += [_mend_counts(one, os.stat(path).st_size) or _lost_piece(file, one) for one in colours][:1]
        facts = ImageFacts("TIFF", width_px, height_px, scales.of_tiff(page, pages[0].description or ""))
        pixels, survey = new_pixels(folder, height_px, width_px), Survey(height_px, width_px)
        if len(colours) == 3 or (page.planarconfig == 2 and page.samplesperpixel > 1):
            whole = np.empty((height_px, width_px, 3), np.uint8) if pixels is None else pixels
            _read_planes(colours, whole)
            survey.add(whole, 0, 0)
        else:
            said += _read_segments(file, page, pixels, survey)
        orientation = page.tags[ORIENTATION_TAG].value if ORIENTATION_TAG in page.tags else 1
        return finished(facts, said, survey, pixels, int(orientation), folder, limits)


def _pages(file: tifffile.TiffFile) -> list[Any]:
    """Return the pages of a file with their sub-pages, as far as they can be read; the first is always there."""
    pages = [file.pages[0]]
    with suppress(Exception):  # a broken later page leaves the first as it is
        for page in islice(file.pages, 1, MOST_PAGES):
            pages.append(page)
    for page in list(pages):
        with suppress(Exception):
            pages += islice(page.pages or (), MOST_PAGES)
    return pages


def _refuse_camera_raw(pages: list[tifffile.TiffPage]) -> None:
    is_dng = any(DNG_VERSION_TAG in page.tags for page in pages)
    if is_dng or any(int(page.photometric) in (CFA, LINEAR_RAW) for page in pages):
        kind = "DNG" if is_dng else "such as NEF, ARW or PEF"
        raise ImageRefused(
            f"The file is a camera raw file ({kind}): develop it in the camera's program and upload a TIFF or JPEG."
        )


def _picture(pages: list[tifffile.TiffPage]) -> tuple[tifffile.TiffPage, list[str]]:
    """Return the largest page that calls itself neither preview nor mask, and what to say of the others."""
    whole = [page for page in pages if not int(page.subfiletype) & (REDUCED | MASK)]
    if not whole:
        raise ImageRefused(f"Each page of the TIFF says that it is a reduced preview of a picture: {SAVE_AGAIN}")
    page = max(whole, key=lambda one: one.imagewidth * one.imagelength)
    if page is not pages[0]:
        return page, ["The first page of the TIFF is smaller, as a preview is; the largest page was read."]
    same = sum(one.shaped == page.shaped for one in whole)
    if same > 1 and page.samplesperpixel > 1:
        return page, [f"The TIFF has {same} pages of one size; only the first is read."]
    if len(pages) == 1 or page.is_tiled or same > 1:
        return page, []
    return page, ["The TIFF has several pages; only the largest is read."]


def _colour_pages(page: tifffile.TiffPage, pages: list[tifffile.TiffPage]) -> list[tifffile.TiffPage]:
    """Return the page, or the three grey pages that ImageJ made of one colour picture."""
    if page.samplesperpixel != 1 or int(page.photometric) not in (0, 1):
        return [page]
    same = [one for one in pages if one.shaped == page.shaped and int(one.photometric) == int(page.photometric)]
    lines = (pages[0].description or "").splitlines()
    if len(same) == 3 and lines and lines[0].startswith("ImageJ=") and "channels=3" in lines:
        return same
    if len(same) > 1:
        raise ImageRefused(
            f"The TIFF has {len(same)} grey pages, the colours apart or a stack: save the picture as one page in RGB."
        )
    return [page]


def _refuse_kind(page: tifffile.TiffPage, *, is_colour: bool) -> None:
    if page.bitspersample == 1:
        raise ImageRefused(f"The TIFF is black and white without shades: {SAVE_AS_8_BIT}")
    if not 0 < page.bitspersample <= 64:
        raise ImageRefused(DAMAGED.format("TIFF"))
    if page.bitspersample != 8:
        raise ImageRefused(f"The TIFF has {page.bitspersample} bits a channel: {SAVE_AS_8_BIT}")
    if page.sampleformat == 4:  # undefined counts as unsigned (TIFF 6.0)
        page.sampleformat, page.dtype, page._dtype = 1, np.dtype(np.uint8), np.dtype(np.uint8)
    if page.sampleformat != 1:
        raise ImageRefused(f"The TIFF stores its values as signed numbers: {SAVE_AS_8_BIT}")
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric not in (0, 1, 2, 3, 6) or (photometric == 6 and compression not in (JPEG_COMPRESSION, APERIO_YCBCR)):
        raise ImageRefused(f"The TIFF has colours of a kind that is not read here: {SAVE_AS_8_BIT}")
    if page.imagedepth != 1 or (photometric in (2, 6) and page.samplesperpixel < 3):
        raise ImageRefused(f"The TIFF is not a flat colour picture: {SAVE_AS_8_BIT}")
    if photometric in (0, 1) and page.samplesperpixel < 3 and not is_colour:
        raise ImageRefused(WITHOUT_COLOUR)


def _mend_counts(page: tifffile.TiffPage, size: int) -> str:
    """Set wrong lengths of strips right: zeros, a last one beyond the end of the file; say where that loses some."""
    is_plain = int(page.compression) == UNCOMPRESSED
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    strips = -(-page.imagelength // rows)
    counts, said = [], ""
    for number, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts)):
        is_last = not page.is_tiled and number % strips == strips - 1
        needed = (page.imagelength - rows * (strips - 1) if is_last else rows) * columns * samples
        if offset and not count:
            if not is_plain:
                raise ImageRefused(f"The TIFF says that its strips have no length: {SAVE_AGAIN}")
            count = needed
        if count > size - offset and not is_plain:
            said = MAY_BE_DAMAGED.format("ends before its picture does")
        count = min(count, size - offset)
        if offset and (count <= 0 or (is_plain and count < needed)):
            raise ImageRefused(DAMAGED.format("TIFF"))
        counts.append(count)
    page.databytecounts = tuple(counts)
    return said


def _lost_piece(file: tifffile.TiffFile, page: tifffile.TiffPage) -> str:
    """Say that a compressed strip or tile holds a run of equal bytes, as where a piece of the file was lost."""
    if int(page.compression) in (UNCOMPRESSED, JPEG_COMPRESSION):  # seen in the pixels, told by the decoder
        return ""
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        file.filehandle.seek(offset)
        content = file.filehandle.read(count) if count else b""
        if any(lost in content for lost in LOST_PIECES):
            return MAY_BE_DAMAGED.format("has lost a piece (a run of zeros in compressed data)")
    return ""


def _read_planes(pages: list[tifffile.TiffPage], pixels: np.ndarray) -> None:
    """Join colours that are stored one after the other: three pages, or one page in planes."""
    for number, page in enumerate(pages):
        for segment, (plane, _, y, x, _), shape in page.segments(maxworkers=1):
            rows, columns = min(shape[1], pixels.shape[0] - y), min(shape[2], pixels.shape[1] - x)
            colour = number if len(pages) == 3 else plane
            if colour < 3:
                block = 255 if segment is None else segment[0, :rows, :columns, 0]
                pixels[y : y + rows, x : x + columns, colour] = block


def _read_segments(
    file: tifffile.TiffFile, page: tifffile.TiffPage, pixels: np.ndarray | None, survey: Survey
) -> list[str]:
    """Read strips or tiles into `pixels` (None: only look at them); return what is to be said of them."""
    is_clear, note = True, ""
    if _alpha_of(page):
        is_clear, note = alpha_means_something(_alphas(page))
    said, missing, total = [note], 0, 0
    if page.samplesperpixel > 4:
        said.append(f"The TIFF has {page.samplesperpixel} channels; the first three were read as red, green and blue.")
    if page.samplesperpixel > 2 and int(page.photometric) in (0, 1):
        said.append("The TIFF does not say that its channels are red, green and blue; they were read so.")
    if int(page.compression) == JPEG_COMPRESSION:
        said.append(_warning_of_jpegs(file, page))
    for segment, (_, _, y, x, _), shape in page.segments(maxworkers=1):
        rows, columns = min(shape[1], page.imagelength - y), min(shape[2], page.imagewidth - x)
        total += 1
        if segment is None:
            missing += 1
            block = np.full((rows, columns, 3), 255, np.uint8)
        else:
            block = _rgb(segment[0, :rows, :columns], page, is_clear=is_clear)
        survey.add(block, y, x)
        if pixels is not None:
            pixels[y : y + rows, x : x + columns] = block
    if missing == total:
        raise ImageRefused(DAMAGED.format("TIFF"))
    if missing:
        said.append(f"{missing} of {total} tiles are not in the file and were left white.")
    return said


def _warning_of_jpegs(file: tifffile.TiffFile, page: tifffile.TiffPage) -> str:
    """Return the first warning of the decoder over the JPEG streams of a page."""
    tables = page.tags[347].value[:-2] if 347 in page.tags else b""
    streams = _streams(file, page)
    warnings = (jpeg.warning_of(tables + stream[2 if tables else 0 :]) for stream in streams)
    return next(filter(None, warnings), "")


def _refuse_pieces(file: tifffile.TiffFile, page: tifffile.TiffPage, limits: Limits) -> None:
    """Refuse a page in more strips or tiles than writers make, or many of which name the same long piece."""
    named = sum(min(count, file.filehandle.size) for count in page.databytecounts)
    if len(page.dataoffsets) > MOST_PIECES or named > 2 * limits.max_bytes:
        raise ImageRefused(f"The TIFF is stored in {len(page.dataoffsets)} strips or tiles, too many: {SAVE_AGAIN}")


def _refuse_jpegs(file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse JPEG streams of too many scans, or larger than their strip or tile, before any of them is decoded."""
    if int(page.compression) not in JPEGS:
        return
    columns, rows = (
        (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip or page.imagelength)
    )
    for stream in _streams(file, page):
        jpeg.refuse_scans(stream.count(b"\xff\xda"), page.imagewidth * page.imagelength)
        wide, high = jpeg.size_of(stream)
        if wide > columns + PADDING_PX or high > rows + PADDING_PX:
            raise ImageRefused(DAMAGED.format("TIFF"))


def _streams(file: tifffile.TiffFile, page: tifffile.TiffPage) -> Iterator[bytes]:
    """Yield the compressed bytes of each strip or tile that is there."""
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        if count:
            file.filehandle.seek(offset)
            yield file.filehandle.read(count)


def _alpha_of(page: tifffile.TiffPage) -> int:
    """Return the kind of transparency of a page: 1 multiplied with the colours, 2 beside them, 0 for none."""
    kinds = [int(kind) for kind in page.extrasamples]
    return kinds[0] if kinds and kinds[0] in (1, 2) and int(page.photometric) in (2, 6) else 0


def _alphas(page: tifffile.TiffPage) -> Iterator[np.ndarray]:
    for segment, (_, _, y, x, _), shape in page.segments(maxworkers=1):
        if segment is not None:
            yield segment[0, : min(shape[1], page.imagelength - y), : min(shape[2], page.imagewidth - x), 3]


def _rgb(block: np.ndarray, page: tifffile.TiffPage, *, is_clear: bool) -> np.ndarray:
    """Return a decoded (rows, columns, samples) block as RGB, over white where it is transparent."""
    photometric = int(page.photometric)
    if photometric == 3:
        colours = np.asarray(page.colormap).T  # (256, 3), 16 bits as the format wants, 8 bits as some writers do
        return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)[block[..., 0]]
    rgb = block[..., :3]
    if int(page.compression) == APERIO_YCBCR:
        rgb = _rgb_of_ycbcr(rgb)
    rgb = 255 - rgb if photometric == 0 else rgb
    kind = _alpha_of(page)
    if not kind or not is_clear:
        return rgb
    alpha = block[..., 3:4].astype(np.uint16)
    painted = rgb if kind == 1 else (rgb * alpha + 127) // 255
    return np.minimum(painted + (255 - alpha), 255).astype(np.uint8)


def _rgb_of_ycbcr(block: np.ndarray) -> np.ndarray:
    """Return RGB of full-range YCbCr (ITU-R BT.601, as JPEG has it)."""
    luma, blue, red = (block[..., channel].astype(np.float32) for channel in range(3))
    blue, red = blue - 128, red - 128
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
