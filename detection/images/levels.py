"""The levels of an opened whole slide inside the limited child, and regions of them at any scale.

It runs in a child process only; which regions are read is left to `whole_slide`.
"""

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import tifffile
from PIL import Image

from detection.images import MOST_PAGES

MOST_READ_PX = 64_000_000  # of one region


class Levels:
    """The levels of a slide, fine to coarse: those of OpenSlide, and those of an OME-TIFF that it does not look for.

    An OME-TIFF keeps its coarser levels as sub-pages (SubIFDs) of the finest.
    """

    def __init__(self, path: str | Path, slide: openslide.OpenSlide) -> None:
        self.slide, self.dimensions = slide, slide.dimensions
        self.times = list(slide.level_downsamples)
        self.sub_pages: list[Any] = []
        if slide.level_count == 1 and is_tiff(path):
            self._file = tifffile.TiffFile(path)  # open as long as the process works on the slide
            with suppress(Exception):  # what cannot be read so is read from the finest level
                self.sub_pages = [
                    page for page in islice(self._file.pages[0].pages or (), MOST_PAGES) if _is_plain(page)
                ]
            self.times += [slide.dimensions[0] / page.imagewidth for page in self.sub_pages]

    def region(self, x: int, y: int, width_px: int, height_px: int, level: int) -> np.ndarray:
        """Return a region of one level, shape (height_px, width_px, 3); its corner is in px of the finest level.

        What is beside the slide is white.
        """
        if width_px * height_px > MOST_READ_PX:
            raise ValueError("too large a region")
        if level >= self.slide.level_count:
            page, times = self.sub_pages[level - self.slide.level_count], self.times[level]
            return self._of_page(page, round(x / times), round(y / times), width_px, height_px)
        region = self.slide.read_region((int(x), int(y)), level, (int(width_px), int(height_px)))
        painted = Image.new("RGB", region.size, "white")
        painted.paste(region, mask=region.getchannel("A"))
        return np.asarray(painted)

    def of(self, times: int) -> int:
        """Return the number of the coarsest level that is fine enough to be shown `times` coarser than the finest."""
        return max((own, number) for number, own in enumerate(self.times) if own <= times * 1.01)[1]

    def scaled(self, x: int, y: int, width_px: int, height_px: int, times: int) -> np.ndarray:
        """Return a region at `1 / times` of the finest level, from the coarsest level that is fine enough.

        `x` and `y` are in px of the finest level, `width_px` and `height_px` in px of what is returned.
        """
        level = self.of(times)
        factor = times / self.times[level]
        size = max(1, round(width_px * factor)), max(1, round(height_px * factor))
        region = self.region(x, y, *size, level)
        if size == (width_px, height_px):
            return region
        return np.asarray(Image.fromarray(region).resize((width_px, height_px), Image.Resampling.BOX))

    def _of_page(self, page: Any, x: int, y: int, width_px: int, height_px: int) -> np.ndarray:
        region = np.full((height_px, width_px, 3), 255, np.uint8)
        across = -(-page.imagewidth // page.tilewidth)
        last_x, last_y = min(x + width_px, page.imagewidth), min(y + height_px, page.imagelength)
        for row in range(y // page.tilelength, -(-last_y // page.tilelength)):
            for column in range(x // page.tilewidth, -(-last_x // page.tilewidth)):
                index = row * across + column
                self._file.filehandle.seek(page.dataoffsets[index])
                encoded = self._file.filehandle.read(page.databytecounts[index])
                if not encoded:
                    continue
                tile = page.decode(encoded, index, jpegtables=page.jpegtables)[0][0]
                left, top = column * page.tilewidth, row * page.tilelength
                x1, y1, x2, y2 = (
                    max(x, left),
                    max(y, top),
                    min(last_x, left + len(tile[0])),
                    min(last_y, top + len(tile)),
                )
                region[y1 - y : y2 - y, x1 - x : x2 - x] = tile[y1 - top : y2 - top, x1 - left : x2 - left, :3]
        return region


def is_tiff(path: str | Path) -> bool:
    """Tell whether a file begins as a TIFF."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_short(path: str | Path) -> bool:
    """Tell whether a TIFF names tiles that are not in the file, as where it did not come whole."""
    size = os.stat(path).st_size
    with suppress(Exception), tifffile.TiffFile(path) as file:  # pages that cannot be read are for others to refuse
        for page in islice(file.pages, MOST_PAGES):
            ends = np.array(page.dataoffsets, np.int64) + np.array(page.databytecounts, np.int64)
            if len(ends) and ends.max() > size:
                return True
    return False


def _is_plain(page: Any) -> bool:
    """Tell whether the tiles of a page are 8-bit colour, pixel by pixel."""
    colours = int(page.photometric) in (2, 6) and page.planarconfig == 1 and page.samplesperpixel >= 3
    return bool(page.is_tiled and colours and page.dtype == np.uint8)
