"""Fit the typing of a detector to a laboratory's labelled cells: 15 x 15 numbers on the logits, held near the identity.

What may become of a cell's scores is decided in `inference.retyping`; stains and thresholds in `calibration`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from detection.boxes import pairwise_iou
from detection.cell_types import CODES
from detection.inference.retyping import GRAVE, TypingFit, logits, retype
from detection.lab.data.datasets import View
from detection.lab.measuring.evaluation import Found, truth

LEAST_OF_TYPE = 3  # labelled cells; fewer say nothing of a type
LEAST_CELLS = 30  # on fewer no typing is fitted
LEAST_IOU = 0.3  # of a finding with its cell
RIDGE = 0.3


def fit_typing(scores: np.ndarray, types: np.ndarray, *, ridge: float = RIDGE) -> TypingFit | None:
    """Fit matrix and offsets to labelled cells.

    Parameters
    ----------
    scores : ndarray, shape (n, 15)
        Of the network, 0..1.
    types : ndarray, shape (n,), int
        What the cells are.
    ridge : float
        Pull towards the identity, against the mean loss of a cell.

    Returns
    -------
    TypingFit or None
        None where fewer than two types have LEAST_OF_TYPE cells.

    Notes
    -----
    Multinomial cross-entropy over all 15 types, so that types not shown keep their level among the others. A type
    counts by the square root of its cells: what a laboratory sees often must not swallow what it sees rarely.
    """
    counts = np.bincount(types, minlength=len(CODES))
    labelled = counts >= LEAST_OF_TYPE
    if labelled.sum() < 2:
        return None
    own = labelled[types]
    before, types = logits(scores[own]), types[own]
    weights = 1 / np.sqrt(counts[types])
    weights /= weights.sum()
    free, size = np.flatnonzero(labelled), len(CODES)
    is_own = np.eye(size)[types]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        change = flat.reshape(len(free), size + 1)
        after = before.copy()
        after[:, free] += before @ change[:, :size].T + change[:, size]
        rest = logsumexp(after, 1)
        gradient = (np.exp(after - rest[:, None]) - is_own) * weights[:, None]  # (n, 15)
        slopes = np.concatenate([gradient[:, free].T @ before, gradient[:, free].sum(0)[:, None]], 1)
        value = (weights * (rest - after[np.arange(len(types)), types])).sum() + ridge * (change**2).sum() / 2
        return float(value), (slopes + ridge * change).ravel()

    found = minimize(loss, np.zeros(len(free) * (size + 1)), jac=True, method="L-BFGS-B")
    matrix, offsets = np.eye(size), np.zeros(size)
    change = found.x.reshape(len(free), size + 1)
    matrix[free] += change[:, :size]
    offsets[free] = change[:, size]
    return TypingFit(matrix, offsets, labelled)


def retyped(found: Found, fit: TypingFit | None) -> Found:
    """Return findings as a fit types them, best first; boxes stay."""
    if fit is None or found.of_types is None or not len(found.boxes):
        return found
    of_types = retype(found.of_types, fit)
    order = np.argsort(-of_types.max(1), kind="stable")
    return Found(found.boxes[order], of_types.argmax(1)[order], of_types.max(1)[order], of_types[order])


def best_findings(views: Sequence[View], found: Sequence[Found]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best finding on each labelled cell (IoU .3: derived boxes are rough).

    Returns
    -------
    types, names : ndarray, shape (n,), int
        What the cells are and what they are called, -1 where nothing was found.
    scores : ndarray, shape (n, 15)
        Scores of all types, NaN where nothing was found or they are not known.
    """
    types, names, scores = [], [], []
    for view, cells in zip(views, found):
        boxes, own = truth(view)
        overlaps = pairwise_iou(boxes, cells.boxes)
        for k, index in enumerate(own):
            near = np.flatnonzero(overlaps[k] >= LEAST_IOU)
            best = near[cells.scores[near].argmax()] if len(near) else None
            types.append(index)
            names.append(-1 if best is None else cells.types[best])
            known = cells.of_types if best is not None else None
            scores.append(np.full(len(CODES), np.nan) if known is None else known[best])
    return np.array(types, int), np.array(names, int), np.array(scores).reshape(-1, len(CODES))


def fit_to_views(views: Sequence[View], found: Sequence[Found]) -> TypingFit | None:
    """Fit typing to the labelled cells of views on which something was found; None for fewer than LEAST_CELLS."""
    types, names, scores = best_findings(views, found)
    seen = names >= 0
    return fit_typing(scores[seen], types[seen]) if seen.sum() >= LEAST_CELLS else None


def is_better(types: np.ndarray, before: np.ndarray, after: np.ndarray) -> bool:
    """Whether more cells are typed right than before, and no fewer blasts and promyelocytes are called one."""
    grave = np.isin(types, GRAVE)
    kept = np.isin(after[grave], GRAVE).sum() >= np.isin(before[grave], GRAVE).sum()
    return bool((after == types).sum() > (before == types).sum() and kept)
