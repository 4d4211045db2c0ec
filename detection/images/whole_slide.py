"""Whole slides inside the limited child, by OpenSlide: what a slide is, its overview, regions and viewer tiles of it.

It runs in a child process only: `detection.images` starts it for a check or an overview, `slides` for the rest.
"""

import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from detection.images import TILE_PX, ImageFacts, ImageRefused, Limits, scales
from detection.images.archive import WITHOUT_SLIDE, picture_of, unpack_archive
from detection.images.levels import Levels, is_short, is_tiff
from detection.images.survey import Survey

FORMATS = {"aperio": "SVS", "hamamatsu": "NDPI", "leica": "SCN", "ventana": "BIF", "dicom": "DICOM", "mirax": "MRXS"}
OVERVIEW_PX = 4096  # most of an edge
SAMPLES = 5  # along each edge, looked at when a slide comes in
MOST_FOR_OVERVIEW_PX = 2_000_000_000  # of the level that the overview is made of: some 60 s of JPEG
CHECKED_OVERVIEW_PX = 20_000_000  # a coarser level is read whole when a slide comes in
HALF = (
    "The whole slide ends before its picture does, or a part of it cannot be read: copy it again from the scanner and "
    "upload it once more."
)
MISSING = (
    "The whole slide in this archive cannot be opened, a file of it is missing or damaged: put the .mrxs file and its "
    "folder of the same name, or all DICOM files of one slide, into one archive."
)


def find_slide(path: str | Path) -> openslide.OpenSlide | None:
    """Open a whole slide; None where OpenSlide does not know the file."""
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError:
        return None


def read_slide(
    path: str, limits: Limits, folder: Path | None, *, is_packed: bool, is_look: bool
) -> tuple[ImageFacts, np.ndarray | None] | None:
    """Read what a whole slide is, and its overview.

    Parameters
    ----------
    path : str
        The slide, or a ZIP archive of it.
    limits : Limits
    folder : Path or None
        Receives `slide/` of an archive and, unless `is_look`, the pixels of the overview.
    is_packed, is_look : bool

    Returns
    -------
    ImageFacts and ndarray or None, or None
        None where the file is no whole slide.

    Raises
    ------
    ImageRefused
    """
    opened: str | Path = path
    if is_packed:
        assert folder is not None  # `decoding` asks for one first
        opened = _slide_among(unpack_archive(path, folder / "slide", limits))
    try:
        if is_tiff(opened) and is_short(opened):
            raise ImageRefused(HALF)
        slide = find_slide(opened)
        if slide is None and is_packed:
            raise ImageRefused(MISSING)
        if slide is None:
            return None
        with slide:
            facts, levels = _facts(slide, is_packed=is_packed), Levels(opened, slide)
            _refuse_without_levels(levels)
            if folder is None or is_look:
                _refuse_half(levels)
                return facts, None
            return facts, _overview(levels, folder)
    except openslide.OpenSlideError as error:
        raise ImageRefused(MISSING if is_packed else HALF) from error


def _slide_among(files: list[Path]) -> Path:
    """Return the file of an unpacked archive that OpenSlide is to open."""
    opened = picture_of(files)
    if opened is None:
        raise ImageRefused(WITHOUT_SLIDE)
    if opened.suffix.casefold() == ".mrxs":
        if sum(file.suffix.casefold() == ".mrxs" for file in files) > 1:
            raise ImageRefused("The ZIP archive holds several slides: upload each in an archive of its own.")
        if not (opened.with_suffix("") / "Slidedat.ini").is_file():
            raise ImageRefused(MISSING)
    return opened


def _facts(slide: openslide.OpenSlide, *, is_packed: bool) -> ImageFacts:
    known = slide.properties
    width_px, height_px = slide.dimensions
    um_per_px = None
    with suppress(KeyError, ValueError):
        x, y = (float(known[name]) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        um_per_px = scales.of_both(x, y)
    name = FORMATS.get(known.get(openslide.PROPERTY_NAME_VENDOR, ""), "WSI")
    return ImageFacts(f"{name} ZIP" if is_packed else name, width_px, height_px, um_per_px)


def _refuse_without_levels(levels: Levels) -> None:
    """Refuse a slide of which too much would have to be read for its overview."""
    level = levels.of(overview_times(*levels.dimensions))
    width_px, height_px = (round(edge / levels.times[level]) for edge in levels.dimensions)
    if width_px * height_px > MOST_FOR_OVERVIEW_PX:
        raise ImageRefused(
            f"The smallest level of the whole slide has {width_px} x {height_px} px, too many to make an overview of: "
            "export it from the scanner's program with its smaller levels (pyramid)."
        )


def _refuse_half(levels: Levels) -> None:
    """Refuse a slide whose samples cannot be decoded, or show no colour."""
    width_px, height_px = levels.dimensions
    survey = Survey(height_px, width_px)
    for level, (columns, rows) in enumerate(levels.slide.level_dimensions):
        if level and columns * rows <= CHECKED_OVERVIEW_PX:
            survey.add(levels.region(0, 0, columns, rows, level), 0, 0, whole=False)
            break
    wide, high = min(TILE_PX, width_px), min(TILE_PX, height_px)
    for y in np.linspace(0, height_px - high, SAMPLES).astype(int):
        for x in np.linspace(0, width_px - wide, SAMPLES).astype(int):
            survey.add(levels.region(x, y, wide, high, 0), 0, 0, whole=False)
    if survey.is_grey:
        from detection.images.decoding import WITHOUT_COLOUR

        raise ImageRefused(WITHOUT_COLOUR)


def _overview(levels: Levels, folder: Path) -> np.ndarray | None:
    """Write the overview of a slide: the finest Deep Zoom level of which no edge has more than OVERVIEW_PX."""
    from detection.images.decoding import new_pixels

    times = overview_times(*levels.dimensions)
    width_px, height_px = (-(-edge // times) for edge in levels.dimensions)
    pixels = new_pixels(folder, height_px, width_px)
    assert pixels is not None  # there is a folder
    step = max(1, 4096 // times)
    for y in range(0, height_px, step):
        for x in range(0, width_px, step):
            wide, high = min(step, width_px - x), min(step, height_px - y)
            pixels[y : y + high, x : x + wide] = levels.scaled(x * times, y * times, wide, high, times)
    return pixels


def overview_times(width_px: int, height_px: int) -> int:
    """Return how many times smaller the overview of a slide is: a power of two."""
    times = 1
    while max(width_px, height_px) > OVERVIEW_PX * times:
        times *= 2
    return times


# Commands of slides.py ---------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Run `regions LIMITS SLIDE`, or `tiles LIMITS SLIDE FOLDER LEVEL COLUMN ROW COLUMNS ROWS`."""
    from detection.images.decoding import limit_this_process

    command, given, path, *rest = arguments
    limits = Limits(**json.loads(given))
    limit_this_process(limits, largest_file=1 << 24 if command == "tiles" else 0)
    if command == "tiles":
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, resource.RLIM_INFINITY))
    levels = Levels(path, openslide.OpenSlide(path))
    if command == "tiles":
        folder, *numbers = rest
        write_tiles(levels, Path(folder), *map(int, numbers))
        return
    for line in sys.stdin.buffer:
        x, y, width_px, height_px, times = json.loads(line)
        pixels = levels.scaled(x, y, width_px, height_px, times)
        sys.stdout.buffer.write(pixels.tobytes())
        sys.stdout.buffer.flush()


def write_tiles(levels: Levels, folder: Path, level: int, column: int, row: int, columns: int, rows: int) -> None:
    """Write Deep Zoom tiles of one level as `COLUMN_ROW.jpg`, each whole or not at all; the first one always."""
    times = 1 << ((max(levels.dimensions) - 1).bit_length() - level)
    width_px, height_px = (-(-edge // times) for edge in levels.dimensions)
    for x, y in _tiles(column, row, columns, rows):
        wide, high = min(TILE_PX, width_px - x * TILE_PX), min(TILE_PX, height_px - y * TILE_PX)
        if wide <= 0 or high <= 0:
            continue
        pixels = levels.scaled(x * TILE_PX * times, y * TILE_PX * times, wide, high, times)
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=90)
        part = folder / f"{x}_{y}.{os.getpid()}.part"
        part.write_bytes(encoded.getbuffer())
        part.replace(folder / f"{x}_{y}.jpg")


def _tiles(column: int, row: int, columns: int, rows: int) -> Iterator[tuple[int, int]]:
    for y in range(row, row + rows):
        for x in range(column, column + columns):
            yield x, y


if __name__ == "__main__":
    main(sys.argv[1:])
