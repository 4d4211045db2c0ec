"""Measure a detector on labelled views: average precision with intervals, precision and recall, confusion, speed.

Pages are left to `report`, thresholds to `calibration`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from detection.boxes import pairwise_iou
from detection.cell_types import BY_CODE, CELL_TYPES, CODES
from detection.inference.detector import Detector, FoundCell
from detection.inference.reading import ScaleUnknown, read_field
from detection.lab.data.datasets import View, read_pixels

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_FOUND = 100  # per view and type, as COCO counts
LOWEST_SCORE = 0.001


@dataclass(frozen=True)
class Found:
    """Findings on one view, best first: `boxes` (n, 4) xyxy in view px, `types` (n,) class indices, `scores` (n,).

    `of_types` (n, 15) holds the scores of all types where they are known.
    """

    boxes: np.ndarray
    types: np.ndarray
    scores: np.ndarray
    of_types: np.ndarray | None = None


@dataclass(frozen=True)
class Match:
    """Detections of one type held against its labels, best score first.

    `scores` (n,); `hits` (n, 10), bool, for each IoU of .5 to .95; `view` (n,), number of the view; `labels` (views,),
    labelled cells of each view.
    """

    scores: np.ndarray
    hits: np.ndarray
    view: np.ndarray
    labels: np.ndarray


def truth(view: View, codes: Sequence[str] = CODES) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled boxes (n, 4) and class indices (n,) of a view; `codes` are the classes in their order."""
    boxes = np.array([box for _, box in view.cells], float).reshape(-1, 4)
    return boxes, np.array([codes.index(code) for code, _ in view.cells], int)


def find_on_views(
    detector: Detector,
    views: Sequence[View],
    *,
    floor: float | None = LOWEST_SCORE,
    several_types: bool = False,
    pixels: Callable[[str], np.ndarray] = read_pixels,
) -> tuple[list[Found], float]:
    """Read views as the product reads the images of a slide (`inference.reading.read_field`).

    Parameters
    ----------
    detector : Detector
    views : sequence of View
        A view of unknown scale is measured by its red cells.
    floor : float or None
        Least score of all types; None takes the detector's thresholds, as the product does.
    several_types : bool
        True lets one box carry several types, as articles measure; False gives every cell one type.
    pixels : callable(path) -> ndarray
        Reader of a view's picture.

    Returns
    -------
    found : list of Found
    images_per_s : float
        Views a second through the whole reading, without decoding files.

    Raises
    ------
    ScaleUnknown
        Where a view states no scale and its red cells do not tell it; the message names the picture.
    """
    found, seconds = [], 0.0
    for view in tqdm(views, desc="views", mininterval=10, leave=False):
        image = pixels(view.path)
        began = time.monotonic()
        try:
            reading = read_field(image, detector, view.um_per_px, floor=floor, several_types=several_types)
        except ScaleUnknown as unknown:
            raise ScaleUnknown(f"{Path(view.path).name}: {unknown} State um_per_px for its source.") from unknown
        seconds += time.monotonic() - began
        found.append(found_of(reading.cells))
    return found, len(views) / max(seconds, 1e-9)


def found_of(cells: Sequence[FoundCell]) -> Found:
    """Return cells as arrays, best first."""
    return Found(
        np.array([cell.xyxy for cell in cells], float).reshape(-1, 4),
        np.array([BY_CODE[cell.code].index for cell in cells], int),
        np.array([cell.score for cell in cells], float),
        np.array([cell.scores for cell in cells], float).reshape(-1, len(CODES)),
    )


def match_views(views: Sequence[View], found: Sequence[Found], codes: Sequence[str] = CODES) -> list[Match]:
    """Match detections to labels as COCO does, per type and IoU.

    Parameters
    ----------
    views : sequence of View
    found : sequence of Found
        One for each view.
    codes : sequence of str
        The classes in their order; without them the 15 types.

    Returns
    -------
    list of Match
        One for each class.
    """
    return [_match_type(index, views, found, codes) for index in range(len(codes))]


def _match_type(index: int, views: Sequence[View], found: Sequence[Found], codes: Sequence[str]) -> Match:
    """Match the detections of one type to its labels on all views."""
    labels = np.zeros(len(views), int)
    parts = [(np.zeros(0), np.zeros((0, len(IOUS)), bool), np.zeros(0, int))]
    for number, (view, cells) in enumerate(zip(views, found)):
        boxes, types = truth(view, codes)
        own, mine = boxes[types == index], np.flatnonzero(cells.types == index)
        mine = mine[np.argsort(-cells.scores[mine], kind="stable")][:MAX_FOUND]
        labels[number] = len(own)
        if len(mine):
            parts.append((cells.scores[mine], _hits(cells.boxes[mine], own), np.full(len(mine), number)))
    scores, hits, view_numbers = (np.concatenate(part) for part in zip(*parts))
    order = np.argsort(-scores, kind="stable")
    return Match(scores[order], hits[order], view_numbers[order], labels)


def _hits(boxes: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Tell which boxes, best first, take a labelled cell that is still free, at each IoU: (n, 10), bool."""
    hits = np.zeros((len(boxes), len(IOUS)), bool)
    if not len(labelled):
        return hits
    iou = pairwise_iou(boxes, labelled)
    for t, least in enumerate(IOUS):
        free = np.ones(len(labelled), bool)
        for d in range(len(boxes)):
            best = np.where(free, iou[d], -1).argmax()
            if free[best] and iou[d, best] >= least:
                free[best], hits[d, t] = False, True
    return hits


def average_precisions(match: Match, weights: np.ndarray | None = None) -> np.ndarray:
    """Compute the AP of one type at each IoU with COCO's 101 recall points.

    Parameters
    ----------
    match : Match
        One entry of `match_views`.
    weights : ndarray, shape (views,), or None
        How often each view counts (for the bootstrap).

    Returns
    -------
    ndarray, shape (10,)
        NaN where the type has no labelled cell.
    """
    weights = np.ones(len(match.labels)) if weights is None else weights
    labels = float((match.labels * weights).sum())
    if not labels:
        return np.full(len(IOUS), np.nan)
    w = weights[match.view][:, None]
    true, false = np.cumsum(match.hits * w, 0), np.cumsum(~match.hits * w, 0)
    out = np.zeros(len(IOUS))
    for t in range(len(IOUS)):
        recall = true[:, t] / labels
        precision = true[:, t] / np.maximum(true[:, t] + false[:, t], 1e-12)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, RECALLS, side="left")
        out[t] = (
            np.where(at < len(precision), precision[np.minimum(at, len(precision) - 1)], 0).mean()
            if len(precision)
            else 0
        )
    return out


def ap_table(
    views: Sequence[View],
    matches: Sequence[Match],
    *,
    repeats: int = 200,
    seed: int = 0,
    codes: Sequence[str] = CODES,
) -> dict[str, Any]:
    """Tabulate AP per type with bootstrap intervals by patient, or by view where no patient is known.

    Parameters
    ----------
    views : sequence of View
    matches : list of Match
        Of `match_views`.
    repeats : int
        Bootstrap draws; 0 gives no interval.
    seed : int
        Random seed.
    codes : sequence of str
        The classes in their order; without them the 15 types.

    Returns
    -------
    dict
        `types`: {code: {n, ap50, ap50_95, ap50_low, ap50_high}} of types with n > 0; `macro`: ap50 and ap50_95 with
        interval over all these; `macro_n10`: over those with n >= 10; `by`: "patient", "view" or "patient or view".
    """
    groups = sample_numbers(views)
    rng = np.random.default_rng(seed)
    present = [k for k, match in enumerate(matches) if match.labels.sum()]
    base = {k: average_precisions(matches[k]) for k in present}
    draws: dict[int, list[np.ndarray]] = {k: [] for k in present}
    for _ in range(repeats):
        weights = np.bincount(rng.integers(groups.max() + 1, size=groups.max() + 1), minlength=groups.max() + 1)[groups]
        for k in present:
            draws[k].append(average_precisions(matches[k], weights))
    types = {}
    for k in present:
        row = {"n": int(matches[k].labels.sum()), "ap50": round4(base[k][0]), "ap50_95": round4(base[k].mean())}
        if repeats:
            row["ap50_low"], row["ap50_high"] = interval([draw[0] for draw in draws[k]])
            row["ap50_95_low"], row["ap50_95_high"] = interval([draw.mean() for draw in draws[k]])
        types[codes[k]] = row
    known = {bool(view.patient) for view in views}
    by = "patient or view" if len(known) == 2 else "patient" if known == {True} else "view"
    table = {"types": types, "by": by, "bootstrap": repeats}
    for name, least in (("macro", 1), ("macro_n10", 10)):
        chosen = [k for k in present if matches[k].labels.sum() >= least]
        if chosen:
            row = {
                "types": len(chosen),
                "ap50": round4(np.mean([base[k][0] for k in chosen])),
                "ap50_95": round4(np.mean([base[k].mean() for k in chosen])),
            }
            if repeats:
                row["ap50_low"], row["ap50_high"] = interval(
                    np.nanmean([[draw[0] for draw in draws[k]] for k in chosen], 0)
                )
                row["ap50_95_low"], row["ap50_95_high"] = interval(
                    np.nanmean([[draw.mean() for draw in draws[k]] for k in chosen], 0)
                )
            table[name] = row
    return table


def sample_names(views: Sequence[View]) -> list[tuple[str, str | int]]:
    """Name the sample of each view: (source, patient), as two sources may number alike, or the view by itself."""
    return [(view.source, view.patient) if view.patient else (view.source, k) for k, view in enumerate(views)]


def sample_numbers(views: Sequence[View]) -> np.ndarray:
    """Number the samples from 0 in the order of their first views; the number of each view's sample, shape (n,)."""
    names = sample_names(views)
    places = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], int)


def interval(values: Any) -> tuple[float | None, ...]:
    """Middle 95 % of bootstrap values."""
    return tuple(round4(v) for v in np.nanpercentile(values, [2.5, 97.5]))


def round4(value: float | None) -> float | None:
    """Round for a table; NaN becomes None, which JSON can hold."""
    return None if value is None or np.isnan(value) else round(float(value), 4)


def as_one_type(views: Sequence[View], found: Sequence[Found]) -> tuple[list[View], list[Found]]:
    """Return views and findings with every type replaced by the first: for labels that only say "leukocyte"."""
    views = [replace(view, cells=tuple((CODES[0], box) for _, box in view.cells)) for view in views]
    return views, [Found(own.boxes, np.zeros(len(own.boxes), int), own.scores) for own in found]


def confusion(views: Sequence[View], found: Sequence[Found], thresholds: np.ndarray, *, iou: float = 0.5) -> np.ndarray:
    """Count what each labelled cell was called, by place alone.

    Parameters
    ----------
    views, found
        As in `match_views`.
    thresholds : ndarray, shape (15,)
        Lowest score a type is shown at.
    iou : float
        Least overlap of a detection with its cell.

    Returns
    -------
    ndarray, shape (16, 16), int
        Rows: labelled type, last row nothing labelled; columns: type found, last column nothing found.
    """
    table = np.zeros((len(CODES) + 1, len(CODES) + 1), int)
    for view, cells in zip(views, found):
        boxes, types = truth(view)
        shown = cells.scores >= np.asarray(thresholds)[cells.types] if len(cells.types) else np.zeros(0, bool)
        places, called = match_places(cells.boxes[shown], cells.scores[shown], boxes, iou=iou), cells.types[shown]
        for place, code in zip(places, called):
            table[types[place] if place >= 0 else -1, code] += 1
        for index in np.delete(types, places[places >= 0]):
            table[index, -1] += 1
    return table


def match_places(own: np.ndarray, scores: np.ndarray, boxes: np.ndarray, *, iou: float = 0.5) -> np.ndarray:
    """Return which labelled box each detection lies on, by place alone; each box is taken once, by the best score.

    Parameters
    ----------
    own : ndarray, shape (n, 4)
    scores : ndarray, shape (n,)
    boxes : ndarray, shape (m, 4)
        Labelled.
    iou : float
        Least overlap.

    Returns
    -------
    ndarray, shape (n,), int
        Index into `boxes`, or -1 where nothing is labelled.
    """
    places = np.full(len(own), -1)
    if not len(own) or not len(boxes):
        return places
    overlaps, free = pairwise_iou(own, boxes), np.ones(len(boxes), bool)
    for detection in np.argsort(-scores, kind="stable"):
        best = np.where(free, overlaps[detection], -1).argmax()
        if free[best] and overlaps[detection, best] >= iou:
            free[best], places[detection] = False, best
    return places


def stages_apart(table: np.ndarray) -> dict[int, int]:
    """Count the neutrophil line of a confusion table by how many stages the call was off: {0: n, 1: n, ...}."""
    counts: dict[int, int] = {}
    line = [cell_type for cell_type in CELL_TYPES if cell_type.stage]
    for own in line:
        for called in line:
            apart = abs((own.stage or 0) - (called.stage or 0))
            counts[apart] = counts.get(apart, 0) + int(table[own.index, called.index])
    return dict(sorted(counts.items()))


def precision_recall(table: np.ndarray) -> dict[str, dict[str, Any]]:
    """Precision and recall of each labelled type of a confusion table with exact (Clopper-Pearson) 95 % intervals."""
    rows = {}
    for k, code in enumerate(CODES):
        labelled, called, right = int(table[k].sum()), int(table[:, k].sum()), int(table[k, k])
        if labelled:
            rows[code] = {
                "n": labelled,
                "right": right,
                "recall": proportion(right, labelled),
                "precision": proportion(right, called),
            }
    return rows


def proportion(hits: int, count: int) -> list[float | None] | None:
    """A share with its exact 95 % interval: [value, low, high], or None for an empty count."""
    if not count:
        return None
    ci = binomtest(hits, count).proportion_ci(0.95, "exact")
    return [round4(hits / count), round4(ci.low), round4(ci.high)]


def macro_ap50(network: Any, views: Sequence[View], recipe: Mapping[str, Any]) -> float | None:
    """Return the figure of merit of a run: macro AP@.5 of the types with n >= 10, else of all; None without a cell."""
    if not any(view.cells for view in views):
        return None
    found, _ = find_on_views(Detector.of_network(network, recipe["um_per_px"]), views)
    table = ap_table(views, match_views(views, found), repeats=0)
    return (table.get("macro_n10") or table["macro"])["ap50"]
