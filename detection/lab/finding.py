"""The command `find`: leukocytes of one image file as text, JSON or a picture with boxes.
Decoding is left to `detection.images`, reading to `detection.inference.reading`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from detection.inference.detector import FoundCell


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `find`."""
    parser.add_argument("image", type=Path, help="picture or slide to look at")
    parser.add_argument("--um-per-px", type=float, help="scale; default: the file's metadata, else its red cells")
    parser.add_argument("--out", type=Path, help="write the image with boxes and codes here (PNG or JPEG)")
    parser.add_argument("--json", action="store_true", help="print cells and nuclei as JSON")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the OpenVINO export is kept")
    parser.set_defaults(run=run)


def default_cache() -> Path:
    """Return a folder of this user's for exports outside the product."""
    return Path(tempfile.gettempdir()) / f"leukoweb-detector-cache-{os.getuid()}"


def run(options: argparse.Namespace) -> int:
    """Find, print, draw; exit code 1 with one sentence where the image or its scale is refused."""
    import numpy as np

    from detection import SHIPPED
    from detection.images import ImageRefused, unpack_image
    from detection.inference.detector import Detector, DetectorRefused
    from detection.inference.reading import ScaleUnknown, read_field

    with tempfile.TemporaryDirectory() as folder:
        try:
            facts = unpack_image(options.image, folder)
            weights = options.weights or SHIPPED[0]
            detector = Detector.load(weights, weights.with_suffix(".json"), cache_folder=options.cache)
            pixels = np.load(Path(folder) / "pixels.npy", mmap_mode="r")
            reading = read_field(pixels, detector, options.um_per_px or facts.um_per_px, on_progress=_progress)
        except ScaleUnknown as unknown:
            print(f"{unknown} To state it, give --um-per-px.", file=sys.stderr)
            return 1
        except (ImageRefused, DetectorRefused, ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
        cells, missed, um_per_px = reading.cells, reading.uncovered, reading.um_per_px
        method = "given" if options.um_per_px else "metadata" if facts.um_per_px else reading.scale_method
        if options.out:
            draw(pixels, cells, missed, um_per_px).save(options.out)
    if options.json:
        print(json.dumps({
            "um_per_px": um_per_px, "scale_method": method, "warning": facts.warning,
            "backend": detector.backend, "precision": detector.precision, "device": detector.device,
            "cells": [{"code": cell.code, "score": round(cell.score, 4), "xyxy": cell.xyxy} for cell in cells],
            "uncovered_nuclei": missed.round(1).tolist(),
        }))  # fmt: skip
    else:
        print(f"{len(cells)} leukocytes at {um_per_px:g} um per px ({method}); {detector.backend} {detector.precision}")
        print("  ".join(f"{code} {count}" for code, count in Counter(cell.code for cell in cells).most_common()))
        print(f"{len(missed)} of {reading.nuclei} dark nuclei are in no box")
    return 0


def _progress(done: int, total: int) -> None:
    print(f"\rtile {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def draw(pixels: np.ndarray, cells: Sequence[FoundCell], missed: np.ndarray, um_per_px: float) -> Image.Image:
    """Return a PIL image with each cell's box, code and score, and uncovered nuclei in thin black."""
    from PIL import Image, ImageDraw

    from detection.cell_types import BY_CODE

    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    width, letters_px = max(1, round(0.4 / um_per_px)), max(10, round(3 / um_per_px))
    for cell in cells:
        pen.rectangle(cell.xyxy, outline=BY_CODE[cell.code].color, width=width)
        x, y = cell.xyxy[0], max(cell.xyxy[1], letters_px)
        text = f"{cell.code} {cell.score:.2f}"
        pen.text((x, y), text, fill=BY_CODE[cell.code].color, anchor="lb", font_size=letters_px)
    for box in missed:
        pen.rectangle(tuple(box), outline="black", width=max(1, width // 2))
    return image
