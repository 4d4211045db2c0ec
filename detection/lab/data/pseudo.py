"""The command `pseudo`: tiles of unlabelled fields with the boxes that a detector guesses, kept where the stain agrees.
Guessed types teach crowding, not typing, and never count as evidence; finding the boxes is left to `inference.reading`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

TILE_UM, STEP_UM = 56.0, 40.0
LEAST_SEEN = 0.3  # a cell of which less is on the tile is no label
ROOM_UM = 1.5  # a nucleus nearer to the edge belongs to a neighbour tile as well


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pseudo`."""
    parser.add_argument("fields", type=Path, help="folder of whole fields without labels")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="YOLO folder to write; its source says `guessed: true`",
    )
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--leave-out", action="append", default=[], metavar="TEXT", help="skip files whose name has it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write `images/train`, `labels/train`, `data.yaml` and print what was kept; exit code 1 for an empty result."""
    import cv2
    import yaml

    from detection import SHIPPED
    from detection.cell_types import BY_CODE, CODES
    from detection.inference.detector import Detector
    from detection.inference.reading import ScaleUnknown, read_field
    from detection.lab.data.datasets import PICTURES, read_pixels

    weights = options.weights or SHIPPED[0]
    detector = Detector.load(weights, weights.with_suffix(".json"))
    for part in ("images", "labels"):
        (options.out / part / "train").mkdir(parents=True, exist_ok=True)
    paths = [path for path in sorted(options.fields.iterdir()) if path.suffix.lower() in PICTURES]
    paths = [path for path in paths if not any(text in path.name for text in options.leave_out)]
    kept = {"with cells": 0, "empty": 0, "left out": 0}
    for path in paths:
        image = read_pixels(path)
        try:
            reading = read_field(image, detector)
        except ScaleUnknown:
            print(f"{path.name}: its scale is unknown, skipped", file=sys.stderr)
            continue
        um_per_px, cells, boxes, lost = reading.um_per_px, reading.cells, reading.boxes, reading.uncovered
        for number, (x, y, edge) in enumerate(tiles(image.shape, um_per_px)):
            own, inside = on_tile(boxes, x, y, edge)
            if len(on_tile(lost, x + ROOM_UM / um_per_px, y + ROOM_UM / um_per_px, edge - 2 * ROOM_UM / um_per_px)[0]):
                kept["left out"] += 1
                continue
            kept["with cells" if len(own) else "empty"] += 1
            name = f"{path.stem}_{number:03}"
            tile = np.ascontiguousarray(image[y : y + edge, x : x + edge, ::-1])
            cv2.imwrite(str(options.out / "images" / "train" / f"{name}.jpg"), tile, [cv2.IMWRITE_JPEG_QUALITY, 95])
            lines = [
                f"{BY_CODE[cells[k].code].index} {(a + c) / 2 / edge:.5f} {(b + d) / 2 / edge:.5f} "
                f"{(c - a) / edge:.5f} {(d - b) / edge:.5f}"
                for k, (a, b, c, d) in zip(own, inside)
            ]
            (options.out / "labels" / "train" / f"{name}.txt").write_text("\n".join(lines))
        print(
            f"{path.name}: {um_per_px:g} um per px, {len(cells)} boxes, {len(lost)} of {reading.nuclei} nuclei in none"
        )
    (options.out / "data.yaml").write_text(yaml.safe_dump({"path": ".", "train": "images/train", "names": list(CODES)}))
    (options.out / "pseudo.json").write_text(json.dumps({"weights": weights.name, "tiles": kept}, indent=1))
    print("  ".join(f"{name} {count}" for name, count in kept.items()))
    return 0 if kept["with cells"] else 1


def tiles(shape: Sequence[int], um_per_px: float) -> Iterator[tuple[int, int, int]]:
    """Yield (x, y, edge) in px of overlapping square tiles that are whole inside a picture of this shape."""
    edge, step = round(TILE_UM / um_per_px), round(STEP_UM / um_per_px)
    for y in range(0, shape[0] - edge + 1, step):
        for x in range(0, shape[1] - edge + 1, step):
            yield x, y, edge


def on_tile(boxes: np.ndarray, x: float, y: float, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose the boxes of which enough is on a tile.

    Parameters
    ----------
    boxes : ndarray, shape (n, 4)
        xyxy px of the picture.
    x, y, edge : float
        The tile, px.

    Returns
    -------
    numbers : ndarray of int, shape (k,)
    clipped : ndarray, shape (k, 4)
        xyxy px of the tile.
    """
    clipped = np.clip(boxes - [x, y, x, y], 0, edge)
    seen = (clipped[:, 2:] - clipped[:, :2]).prod(1)
    numbers = np.flatnonzero(seen >= LEAST_SEEN * (boxes[:, 2:] - boxes[:, :2]).prod(1).clip(1e-6))
    return numbers, clipped[numbers]
