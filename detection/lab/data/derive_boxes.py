"""Give a box to labelled crops that have none: from the stain (nucleus and cytoplasm), or from a
detector where one exists.

It handles the one cell in the middle of a crop; crops with several labelled cells are left as they are.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detection.boxes import pairwise_iou
from detection.cell_types import CODES
from detection.inference.stain_transfer import background_rgb
from detection.lab.data.datasets import View, read_dataset, read_pixels
from detection.lab.measuring.evaluation import Found

LEAST_SCORE = 0.1  # of a detector whose box is taken
MOST_OF_PICTURE = 0.92  # a box that covers more has missed the border of its cell

Box = tuple[float, float, float, float]  # xyxy px


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `boxes`."""
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    parser.add_argument("--split", default="val", help="train or val (default val)")
    parser.add_argument("--weights", type=Path, help="compare this detector's boxes too")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int | None:
    """Run `boxes`."""
    views = [view for view in read_dataset(options.dataset, options.split) if len(view.cells) == 1]
    if unknown := [view for view in views if view.um_per_px is None]:
        raise ValueError(f"{len(unknown)} of {len(views)} views have no scale: state um_per_px for their source.")
    boxes: list[Box | None] = [stain_box(read_pixels(view.path), view.um_per_px or 0.0) for view in views]
    print("stain   ", json.dumps(box_agreement(views, boxes)))
    print(agreement_histogram(views, boxes))
    if options.weights:
        from detection.lab.checkpoints import detector_of
        from detection.lab.measuring.evaluation import find_on_views

        found, _ = find_on_views(detector_of(options.weights), views, floor=0.1)
        boxes = [central_box(own, view) for own, view in zip(found, views)]
        print("detector", json.dumps(box_agreement(views, boxes)))
        print(agreement_histogram(views, boxes))
    return 0


def stain_box(image: np.ndarray, um_per_px: float) -> Box | None:
    """Find the leukocyte nearest to the middle of a crop by its stain.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB crop with one leukocyte about its middle.
    um_per_px : float
        Scale, for the sizes of gaps that are closed.

    Returns
    -------
    tuple of 4 floats or None
        xyxy px; None when nothing is dark and blue enough to be a nucleus.

    Notes
    -----
    Nucleus: more density in red than half of that in green (red cells hardly absorb red) and darker than Otsu's
    threshold of that product. Cytoplasm: stained pixels bluer than red cells that touch the nucleus, no farther from it
    than 3.5 um, after an opening that parts touching red cells.
    """
    glass = background_rgb(image)
    density = -np.log(np.clip((cv2.GaussianBlur(image, (0, 0), 1.5) + 1.0) / (glass + 1), 0.01, 1.0))
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    nuclear = np.clip(red * green, 0, 2)
    level, _ = cv2.threshold((nuclear / max(nuclear.max(), 1e-6) * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    dark = ((nuclear / max(nuclear.max(), 1e-6) * 255 > level) & (red > 0.3)).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, disk(0.4 / um_per_px))
    joined = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, disk(1.2 / um_per_px))
    count, parts, stats, centres = cv2.connectedComponentsWithStats(joined)
    big = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] * um_per_px**2 > 8]
    if not big:
        return None
    middle = np.array([image.shape[1] / 2, image.shape[0] / 2])
    best = min(big, key=lambda k: np.linalg.norm(centres[k] - middle) - np.sqrt(stats[k, cv2.CC_STAT_AREA]) / 2)
    nucleus = (parts == best).astype(np.uint8)
    near = cv2.dilate(nucleus, disk(3.5 / um_per_px))
    cytoplasm = ((green > 0.12) & (blue < green * 0.95) & (red > 0.25 * green) & (near > 0)).astype(np.uint8)
    cell = cv2.morphologyEx(np.maximum(cytoplasm, nucleus), cv2.MORPH_OPEN, disk(1.3 / um_per_px))
    count, parts = cv2.connectedComponents(np.maximum(cell, nucleus))
    own = np.bincount(parts[nucleus > 0], minlength=count)
    ys, xs = np.nonzero(parts == own.argmax())
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def disk(radius_px: float) -> np.ndarray:
    """Round structuring element of about this radius, at least 3 px wide."""
    size = max(3, int(round(radius_px)) * 2 + 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def central_box(found: Found, view: View, *, least: float = 0.0) -> Box | None:
    """Return the surest detected box, of at least that score, that holds the middle of a view, or None."""
    middle = np.array([view.width_px, view.height_px]) / 2
    holding = (found.boxes[:, :2] < middle).all(1) & (found.boxes[:, 2:] > middle).all(1) & (found.scores >= least)
    if not holding.any():
        return None
    x0, y0, x1, y1 = (float(v) for v in found.boxes[np.where(holding, found.scores, -1).argmax()])
    return x0, y0, x1, y1


def neighbours_of(box: Sequence[float], found: Found) -> tuple:
    """Return the boxes of other leukocytes that a detector found beside a cell (overlap below .4)."""
    overlaps = pairwise_iou(np.array([box], float), found.boxes)[0]
    kept = (found.scores >= LEAST_SCORE) & (overlaps < 0.4)
    return tuple(tuple(float(v) for v in other) for other in found.boxes[kept])


def derive_boxes(view: View, found: Found | None = None, image: np.ndarray | None = None) -> View:
    """Return the view with its cell's box derived from what a detector found, or else from the stain.

    Parameters
    ----------
    view : View
        View with one cell; one with none or several comes back as it is.
    found : Found or None
        What a detector found on it; then its box of the middle counts (score from LEAST_SCORE, not the whole picture),
        and its other boxes become `unlabelled`. The stain cannot tell cells that touch, as in marrow, so it stands in
        for no detector that finds nothing.
    image : ndarray, shape (H, W, 3), uint8, or None
        Its pixels, where they were read already.

    Returns
    -------
    View
        Still `boxless` when it was and nothing was found.
    """
    if len(view.cells) != 1:
        return view
    if found is None:
        if view.um_per_px is None:
            raise ValueError(f"{Path(view.path).name} has no scale: state um_per_px for its source.")
        box = stain_box(read_pixels(view.path) if image is None else image, view.um_per_px)
        return replace(view, cells=((view.cells[0][0], box),), boxless=False) if box else view
    box = central_box(found, view, least=LEAST_SCORE)
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) > MOST_OF_PICTURE * view.width_px * view.height_px:
        return view
    return replace(view, cells=((view.cells[0][0], box),), boxless=False, unlabelled=neighbours_of(box, found))


def box_overlaps(views: Sequence[View], boxes: Sequence[Sequence[float] | None]) -> tuple[list[str], np.ndarray]:
    """Return the codes and the IoU, shape (n,), of derived and drawn boxes; a missing box counts as 0.

    Views and boxes are as in `box_agreement`; views without exactly one cell are passed over.
    """
    codes, overlaps = [], []
    for view, box in zip(views, boxes):
        if len(view.cells) == 1:
            code, drawn = view.cells[0]
            codes.append(code)
            overlaps.append(0.0 if box is None else pairwise_iou(np.array([box]), np.array([drawn]))[0, 0])
    return codes, np.array(overlaps, float)


def box_agreement(views: Sequence[View], boxes: Sequence[Sequence[float] | None]) -> dict[str, Any]:
    """Compare derived boxes with drawn ones.

    Parameters
    ----------
    views : sequence of View
        Views with drawn boxes; only those with one cell count.
    boxes : sequence of tuple or None
        Derived box of each view.

    Returns
    -------
    dict
        `n`, `found`, and the IoU's `mean`, `median`, share `over_50`, `over_75` (a missing box counts as 0).
    """
    _, overlaps = box_overlaps(views, boxes)
    if not len(overlaps):
        return {"n": 0}
    return {
        "n": len(overlaps),
        "found": int((overlaps > 0).sum()),
        "mean": round(float(overlaps.mean()), 3),
        "median": round(float(np.median(overlaps)), 3),
        "over_50": round(float((overlaps >= 0.5).mean()), 3),
        "over_75": round(float((overlaps >= 0.75).mean()), 3),
    }


def agreement_histogram(views: Sequence[View], boxes: Sequence[Sequence[float] | None]) -> str:
    """Print the IoU of derived and drawn boxes in ten bins, of all and of each type, as text.

    Parameters are as in `box_agreement`; a missing box falls into the lowest bin.
    """
    codes, overlaps = box_overlaps(views, boxes)
    bins = np.minimum((overlaps * 10).astype(int), 9)
    types = [code for code in CODES if code in codes]
    lines = ["IoU" + "all".rjust(11) + "".join(code.rjust(6) for code in types)]
    for number in range(10):
        here = [code for code, own in zip(codes, bins) if own == number]
        row = "".join(f"{here.count(code):6}" for code in types)
        lines.append(f"{number / 10:.1f}-{(number + 1) / 10:.1f}{len(here):7}{row}")
    return "\n".join(lines) + "\n"
