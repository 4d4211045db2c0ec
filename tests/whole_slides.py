"""Write whole slides as scanners do: levels of JPEG tiles, mostly glass, with fields of a smear in places."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import tifffile

GLASS = (238, 232, 228)
TILE_PX = 256
UM_PER_PX = 0.25
TIMES = (1, 4, 16)


def write_slide(
    path: Path, size_px: int, fields: Mapping[tuple[int, int], np.ndarray], *, kind: str = "svs", scale: bool = True
) -> Path:
    """Write a square slide of an edge that 4,096 divides.

    Parameters
    ----------
    fields : mapping of (x, y) to ndarray
        Pictures (H, W, 3) and where they begin, both multiples of 16.
    kind : {"svs", "tiff", "ome"}
        Aperio; a plain TIFF with levels; an OME-TIFF, whose levels are sub-pages.
    scale : bool
        Whether the file says its micrometres per pixel.
    """
    mpp = f"|MPP = {UM_PER_PX}" if scale else ""
    aperio = f"Aperio Image Library v12.0.15\r\n{size_px}x{size_px} (256x256) JPEG/RGB Q=90|AppMag = 40{mpp}"
    per_cm = 10_000 / UM_PER_PX
    common = {
        "dtype": "uint8", "tile": (TILE_PX, TILE_PX), "compression": "jpeg", "photometric": "rgb", "metadata": None,
        "compressionargs": {"level": 90},
    }  # fmt: skip
    with tifffile.TiffWriter(path, bigtiff=kind != "svs", ome=kind == "ome") as file:
        for times in TIMES:
            edge = size_px // times
            small = {
                (x // times, y // times): cv2.resize(
                    own, (own.shape[1] // times, own.shape[0] // times), interpolation=cv2.INTER_AREA
                )
                for (x, y), own in fields.items()
            }
            more: dict = {"resolution": (per_cm / times,) * 2, "resolutionunit": "CENTIMETER"}
            if not scale or kind == "svs":
                more = {}
            if kind == "ome" and times == 1:
                more |= {"subifds": len(TIMES) - 1}
            if kind == "svs":
                more |= {"description": aperio}
            level_of = {"subfiletype": 1} if times > 1 and kind != "svs" else {}
            file.write(_tiles(edge, small), shape=(edge, edge, 3), **common, **more, **level_of)
    return path


def _tiles(edge_px: int, fields: Mapping[tuple[int, int], np.ndarray]) -> Iterator[np.ndarray]:
    glass = np.full((TILE_PX, TILE_PX, 3), GLASS, np.uint8)
    for top in range(0, edge_px, TILE_PX):
        for left in range(0, edge_px, TILE_PX):
            tile = glass
            for (x, y), own in fields.items():
                x1, y1 = max(left, x), max(top, y)
                x2, y2 = min(left + TILE_PX, x + own.shape[1]), min(top + TILE_PX, y + own.shape[0])
                if x1 < x2 and y1 < y2:
                    tile = tile.copy() if tile is glass else tile
                    tile[y1 - top : y2 - top, x1 - left : x2 - left] = own[y1 - y : y2 - y, x1 - x : x2 - x]
            yield tile
