"""The command `cover`: which nuclei that the stain shows on unlabelled fields are in a box, and which boxes are bare.
Whether a type is right cannot be told so: that is left to `evaluate`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

KEYS = ("nuclei", "covered", "boxes", "bare")


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cover`."""
    parser.add_argument("fields", type=Path, nargs="+", help="images, or folders of images")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--um-per-px", type=float, help="scale of all of them; default: from the red cells of each")
    parser.add_argument("--threshold", type=float, help="one least score for all types in place of the card's")
    parser.add_argument("--pictures", type=Path, help="folder for the fields with boxes drawn in")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.set_defaults(run=run)


def count(boxes: np.ndarray, nuclei: np.ndarray) -> dict[str, int]:
    """Count how boxes and nuclei agree on one field.

    Parameters
    ----------
    boxes : ndarray, shape (n, 4)
        xyxy px of found cells.
    nuclei : ndarray, shape (m, 4)
        xyxy px of `stain.find_nuclei`.

    Returns
    -------
    dict
        `nuclei`, `covered` (half of the nucleus is in one box), `boxes`, `bare` (boxes without nucleus).

    Notes
    -----
    A box has a nucleus when it holds half of one, or when one fills a quarter of the box: the stain often takes nuclei
    that touch for one, larger than any cell. Pale nuclei that the stain does not show make a right box look bare.
    """
    from detection.inference.nuclei import uncovered_nuclei

    bare = 0
    for box in boxes:
        common = (np.minimum(nuclei[:, 2:], box[2:]) - np.maximum(nuclei[:, :2], box[:2])).clip(0).prod(1)
        half = 0.5 * (nuclei[:, 2:] - nuclei[:, :2]).prod(1)
        bare += not ((common >= half) | (common >= 0.25 * (box[2:] - box[:2]).prod())).any()
    covered = len(nuclei) - len(uncovered_nuclei(nuclei, boxes))
    return {"nuclei": len(nuclei), "covered": covered, "boxes": len(boxes), "bare": int(bare)}


def run(options: argparse.Namespace) -> int:
    """Print the counts of each field and their sums; exit code 1 where no field could be read."""
    from detection import SHIPPED
    from detection.inference.detector import Detector
    from detection.inference.nuclei import find_nuclei
    from detection.inference.reading import ScaleUnknown, read_field
    from detection.lab.data.datasets import PICTURES, read_pixels
    from detection.lab.finding import draw

    weights = options.weights or SHIPPED[0]
    detector = Detector.load(weights, weights.with_suffix(".json"))
    paths = [p for given in options.fields for p in (sorted(given.iterdir()) if given.is_dir() else [given])]
    rows = {}
    for path in paths:
        if path.suffix.lower() not in PICTURES:
            continue
        image = read_pixels(path)
        try:
            reading = read_field(image, detector, options.um_per_px, floor=options.threshold)
        except ScaleUnknown:
            print(f"{path.name}: its scale is unknown, give --um-per-px", file=sys.stderr)
            continue
        nuclei = find_nuclei(image, reading.um_per_px)
        rows[path.name] = {"um_per_px": reading.um_per_px, **count(reading.boxes, nuclei)}
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            picture = draw(image, reading.cells, reading.uncovered, reading.um_per_px)
            picture.save(options.pictures / f"{path.stem}.jpg", quality=90)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        for name, row in [*rows.items(), ("all", {k: sum(r[k] for r in rows.values()) for k in KEYS})]:
            print(f"{name:28}", in_words(row))
    return 0 if rows else 1


def in_words(row: Mapping[str, Any]) -> str:
    """Write the counts of `count` as one line."""
    covered, bare = share(row["covered"], row["nuclei"]), share(row["bare"], row["boxes"])
    return f"nuclei {row['nuclei']:4}, in a box {covered:6}   boxes {row['boxes']:4}, without nucleus {bare:6}"


def share(part: int, whole: int) -> str:
    """Write a share as a percentage; a dash for nothing of nothing."""
    return f"{part / whole:.1%}" if whole else "-"
