"""Choose score thresholds and temperature on validation data, and fit a detector to one laboratory's stain and typing

How typing is fitted is left to `typing_fit`; weights never change.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from detection.boxes import pairwise_iou
from detection.card import Card
from detection.cell_types import CODES
from detection.inference.detector import Detector
from detection.inference.retyping import to_site
from detection.inference.stain_transfer import Stain, as_lists, from_lists, typical_stain
from detection.lab.checkpoints import detector_of, json_at
from detection.lab.data.datasets import View, read_dataset, read_pixels
from detection.lab.data.stains import training_stain
from detection.lab.measuring.evaluation import (
    Found,
    ap_table,
    find_on_views,
    match_views,
    proportion,
    sample_numbers,
    truth,
)
from detection.lab.measuring.typing_fit import best_findings, fit_to_views, is_better, retyped

MOST_CELLS = 500
MOST_THRESHOLD = 0.3  # few cells must not talk a laboratory into hiding the others
LEAST_CELLS = 10  # a type with fewer labelled cells keeps the common threshold


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `calibrate`."""
    parser.add_argument("weights", type=Path, help="checkpoint to fit, its card beside it")
    parser.add_argument("cells", type=Path, help="dataset.json with the laboratory's labelled cells")
    parser.add_argument(
        "--reference", type=Path, help="dataset.json with the colours to aim at (default: those of the card)"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--split", help="only this split of the laboratory's cells")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Run `calibrate`."""
    facts = json_at(options.weights.with_suffix(".json"))
    if options.reference:
        aim = training_stain(read_dataset(options.reference, "train"))
    else:
        aim = from_lists(facts["look"]) if "look" in facts else None
    views = draw_cells(given := read_dataset(options.cells, options.split))
    if views != given:
        print(f"{sum(len(view.cells) for view in views)} cells of {len(views)} views are drawn.", file=sys.stderr)
    own = dict(zip(CODES, Card.of(facts).score_thresholds().tolist())) if "classes" in facts else None
    site = calibrate(detector_of(options.weights), views, aim, thresholds=own)
    write_site(options.out, site, options.weights)
    print(json.dumps({name: site[name] for name in ("typed_right", "at_thresholds")}, indent=1))
    return 0


def scores_and_hits(
    views: Sequence[View], found: Sequence[Found], *, iou: float = 0.5, lowest: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Collect every detection's score and whether it names the type of the labelled cell below it.

    Parameters
    ----------
    views : sequence of View
    found : sequence of Found
    iou : float
        Least overlap with the labelled cell.
    lowest : float
        Detections below are left out.

    Returns
    -------
    scores : ndarray, shape (n,)
    hits : ndarray, shape (n,), bool
    """
    scores, hits = [], []
    for view, cells in zip(views, found):
        boxes, types = truth(view)
        keep = cells.scores >= lowest
        overlaps = pairwise_iou(cells.boxes[keep], boxes)
        best = overlaps.argmax(1) if len(boxes) else np.zeros(keep.sum(), int)
        right = (
            (overlaps.max(1) >= iou) & (types[best] == cells.types[keep]) if len(boxes) else np.zeros(keep.sum(), bool)
        )
        scores.append(cells.scores[keep])
        hits.append(right)
    return np.concatenate(scores), np.concatenate(hits)


def rescale(scores: Any, temperature: float) -> np.ndarray:
    """Apply a temperature to scores: sigmoid(logit(score) / temperature)."""
    scores = np.clip(np.asarray(scores, float), 1e-6, 1 - 1e-6)
    return 1 / (1 + np.exp(-np.log(scores / (1 - scores)) / temperature))


def fit_temperature(scores: np.ndarray, hits: np.ndarray) -> float:
    """Find the temperature that makes scores most likely as chances of being right.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        0 to 1.
    hits : ndarray, shape (n,), bool

    Returns
    -------
    float
        Between .2 and 5; 1.0 for no detection.

    References
    ----------
    Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """
    if not len(scores):
        return 1.0

    def loss(temperature: float) -> float:
        chance = np.clip(rescale(scores, temperature), 1e-9, 1 - 1e-9)
        return -np.where(hits, np.log(chance), np.log(1 - chance)).mean()

    return round(float(minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x), 3)


def calibration_error(scores: np.ndarray, hits: np.ndarray, *, bins: int = 15) -> float:
    """Expected calibration error: mean gap between score and share of right calls over equal score bins, 0 to 1."""
    if not len(scores):
        return 0.0
    place = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    gaps = [
        abs(np.mean(scores[place == b]) - np.mean(hits[place == b])) * np.mean(place == b) for b in np.unique(place)
    ]
    return float(np.sum(gaps))


def choose_thresholds(
    views: Sequence[View], found: Sequence[Found], *, common: float | None = None, most: float = 1.0
) -> tuple[dict[str, float], float]:
    """Choose the score from which each type is shown: where precision and recall balance best (highest F1).

    Parameters
    ----------
    views : sequence of View
    found : sequence of Found
    common : float or None
        Threshold of types with fewer than 10 labelled cells; None chooses it over all types together.
    most : float
        No threshold lies above: a cell of unsure type is better shown with the wrong name than not shown.

    Returns
    -------
    thresholds : dict of code to float
        All fifteen.
    common : float
    """
    matches = match_views(views, found)
    if common is None:
        scores = np.concatenate([match.scores for match in matches])
        hits = np.concatenate([match.hits[:, 0] for match in matches])
        common = best_f1(scores, hits, sum(int(match.labels.sum()) for match in matches))
    thresholds = {}
    for code, match in zip(CODES, matches):
        labels = int(match.labels.sum())
        own = best_f1(match.scores, match.hits[:, 0], labels) if labels >= LEAST_CELLS else common
        thresholds[code] = min(own, most)
    return thresholds, min(common, most)


def best_f1(scores: np.ndarray, hits: np.ndarray, labels: int) -> float:
    """Return the score with the highest F1 (middle of its plateau of half a point), .25 when nothing is right."""
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order])
    if not len(true) or not true[-1]:
        return 0.25
    f1 = 2 * true / (np.arange(1, len(true) + 1) + labels)
    near = np.flatnonzero(f1 >= f1.max() - 0.005)
    return round(float(np.median(scores[order][near])), 3)


def colour_change(own: Stain, aim: Stain, *, stain: bool = True) -> dict[str, dict[str, list[float]]]:
    """Write down the change from one Stain to another as JSON-able dicts (`stain_transfer.recolour` applies it).

    `stain` False moves the glass alone.
    """
    if not stain:
        aim = replace(aim, nucleus=own.nucleus, red_cell=own.red_cell)
    return {"own": as_lists(own), "aim": as_lists(aim)}


def typed_right(views: Sequence[View], found: Sequence[Found]) -> tuple[int, int]:
    """Count cells whose best detection (IoU .3, as derived boxes are rough) names their type: (right, all)."""
    types, names, _ = best_findings(views, found)
    return int((types == names).sum()), len(types)


def called_right(
    views: Sequence[View], found: Sequence[Found], thresholds: Mapping[str, float]
) -> tuple[int, int, int]:
    """Count at thresholds (dict of code to score): (cells named rightly, cells named, labelled cells)."""
    least = np.array([thresholds[code] for code in CODES])
    above = [cells.scores >= least[cells.types] for cells in found]
    shown = [Found(cells.boxes[k], cells.types[k], cells.scores[k]) for cells, k in zip(found, above)]
    _, hits = scores_and_hits(views, shown, lowest=0.0)
    return int(hits.sum()), len(hits), sum(len(view.cells) for view in views)


def calibrate(
    detector: Detector,
    views: Sequence[View],
    aim: Stain | None,
    *,
    thresholds: Mapping[str, float] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a detector to one laboratory: stain transfer, typing and thresholds, the gain measured on cells left out.

    Parameters
    ----------
    detector : Detector
    views : sequence of View
        Labelled views of the laboratory, at most 500 cells.
    aim : Stain or None
        Stain of the training data; None leaves colours alone.
    thresholds : dict of code to float, optional
        The detector's own, to measure the gain against; without them only typing is measured.
    folds : int
        Cross-validation folds, a patient in one: everything is fitted to the other folds each time.
    seed : int

    Returns
    -------
    dict
        `colour` (of `colour_change`, or None), `typing` (of `retyping.to_site`, or None), `thresholds`,
        `common_threshold`, `cells`, and `typed_right` before and after (each [share, low, high] of the left-out cells);
        `at_thresholds`, precision and recall of the left-out cells at the thresholds before and after. Without a gain
        on cells left out, or where fewer of their blasts and promyelocytes are called one, typing is None; without any
        gain colour is None as well.

    Raises
    ------
    ValueError
        When there are no cells or more than 500.
    """
    cells = sum(len(view.cells) for view in views)
    if not 0 < cells <= MOST_CELLS:
        raise ValueError(f"Calibration takes 1 to {MOST_CELLS} labelled cells; there are {cells}.")
    own = typical_stain(read_pixels(view.path) for view in views)
    choices: list[dict | None] = [None]
    if own and aim:
        choices += [colour_change(own, aim, stain=False), colour_change(own, aim)]
    results = [find_on_views(detector.with_colour(own), views, pixels=read_pixels)[0] for own in choices]
    (types, by_colour, by_fit), counted = on_cells_left_out(views, results, folds, seed)
    is_fitted = is_better(types, by_colour, by_fit)
    before, after = typed_right(views, results[0])[0], int(((by_fit if is_fitted else by_colour) == types).sum())
    best = best_choice(views, results, np.arange(len(views))) if after > before else 0
    fit = fit_to_views(views, results[best]) if is_fitted and after > before else None
    found = [retyped(cells, fit) for cells in results[best]]
    gain = {"after": precision_recall(*counted[fit is not None])}
    if thresholds:
        gain = {"before": precision_recall(*called_right(views, results[0], thresholds))} | gain
    thresholds, common = choose_thresholds(views, found, most=MOST_THRESHOLD)
    macro = ap_table(views, match_views(views, found), repeats=0).get("macro", {})
    return {
        "colour": choices[best],
        "typing": to_site(fit) if fit else None,
        "thresholds": thresholds,
        "common_threshold": common,
        "cells": cells,
        "macro_ap50": macro.get("ap50"),
        "at_thresholds": gain,
        "typed_right": {"before": proportion(before, cells), "after": proportion(max(before, after), cells)},
    }


def on_cells_left_out(
    views: Sequence[View], results: Sequence[Sequence[Found]], folds: int, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], dict[bool, np.ndarray]]:
    """Fit to the other folds and look at each fold, a patient in one.

    Parameters
    ----------
    results : sequence
        What was found on the views, once for each choice of colours.

    Returns
    -------
    tuple of ndarray
        Of each labelled cell: its type, the type found with the best colours, and the one with the fit of types too.
    dict of bool to ndarray
        (right, named, cells) at the thresholds, without and with the fit of types.
    """
    samples = sample_numbers(views)
    fold = np.random.default_rng(seed).permutation(samples.max() + 1)[samples] % folds
    parts, counted = [], {False: np.zeros(3, int), True: np.zeros(3, int)}
    for k in np.unique(fold):
        out, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        rest = rest if len(rest) else out
        found = results[best_choice(views, results, rest)]
        fit = fit_to_views(*of(rest, views, found))
        fitted = [retyped(cells, fit) for cells in found]
        types, names, _ = best_findings(*of(out, views, found))
        parts.append((types, names, best_findings(*of(out, views, fitted))[1]))
        for with_fit, findings in ((False, found), (True, fitted)):
            least = choose_thresholds(*of(rest, views, findings), most=MOST_THRESHOLD)[0]
            own_views, own_findings = of(out, views, findings)
            counted[with_fit] += np.array(called_right(own_views, own_findings, least))
    types, by_colour, by_fit = (np.concatenate(part) for part in zip(*parts))
    return (types, by_colour, by_fit), counted


def of(numbers: Iterable[int], *lists: Sequence[Any]) -> list[list[Any]]:
    """Return the numbered items of each list."""
    return [[items[i] for i in numbers] for items in lists]


def precision_recall(right: int, named: int, cells: int) -> dict[str, Any]:
    """Shares with exact intervals: of the cells named, and of those labelled."""
    return {"precision": proportion(right, named), "recall": proportion(min(right, cells), cells)}


def draw_cells(views: Sequence[View], most: int = MOST_CELLS, *, seed: int = 0) -> list[View]:
    """Draw views at random while their cells are at most `most`; a view that would go beyond is passed over."""
    drawn, cells = [], 0
    for number in np.random.default_rng(seed).permutation(len(views)):
        if views[number].cells and cells + len(views[number].cells) <= most:
            drawn.append(views[number])
            cells += len(views[number].cells)
    return drawn


def best_choice(views: Sequence[View], results: Sequence[Sequence[Found]], numbers: Iterable[int]) -> int:
    """Return which result types most cells right on the numbered views; ties go to the least change."""
    return int(np.argmax([typed_right(*of(numbers, views, found))[0] for found in results]))


def write_site(path: str | Path, site: Mapping[str, Any], weights: str | Path) -> None:
    """Store a laboratory's calibration as JSON with the SHA-256 of the weights that it holds for."""
    sha256 = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    Path(path).write_text(json.dumps({"weights_sha256": sha256, **site}, indent=1))
