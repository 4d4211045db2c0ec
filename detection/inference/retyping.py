"""Type cells anew by what was fitted to one laboratory: a matrix and offsets on the logits of the 15 types.

How the fit is found, and whether it is worth anything, is left to `lab.measuring.typing_fit`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.cell_types import BLASTS, BY_CODE, CODES, PROMYELOCYTES

GRAVE = np.array([BY_CODE[code].index for code in (*BLASTS, *PROMYELOCYTES)])
LEAST_CHANCE = 1e-6  # of a score, so that its logit is finite


@dataclass(frozen=True)
class TypingFit:
    """What one laboratory's labelled cells say of the types that they show: `matrix` (15, 15), `offsets` (15,).

    Row and offset of a type outside `labelled` (15,), bool, are those of the identity.
    """

    matrix: np.ndarray
    offsets: np.ndarray
    labelled: np.ndarray


def logits(scores: np.ndarray) -> np.ndarray:
    """Return the logits of scores 0..1."""
    chances = np.clip(np.asarray(scores, float), LEAST_CHANCE, 1 - LEAST_CHANCE)
    return np.log(chances / (1 - chances))


def retype(scores: np.ndarray, fit: TypingFit | None) -> np.ndarray:
    """Return the scores of cells as a laboratory's fit changes them.

    Parameters
    ----------
    scores : ndarray, shape (n, 15)
        Of the network, 0..1, in class order.
    fit : TypingFit or None
        None changes nothing.

    Returns
    -------
    ndarray, shape (n, 15)

    Notes
    -----
    A fit knows only the types that it was shown and would learn that others do not occur. So a cell whose best type was
    not shown keeps all its scores; scores of types not shown, and lower scores of blasts and promyelocytes, are not
    taken; and the best score of a cell never falls, so that no cell falls below the threshold that showed it.
    """
    if fit is None or not len(scores):
        return scores
    before = logits(scores)
    after = np.where(fit.labelled, before @ fit.matrix.T + fit.offsets, before)
    after[:, GRAVE] = np.maximum(after[:, GRAVE], before[:, GRAVE])
    rows = np.arange(len(scores))
    best = after.argmax(1)
    after[rows, best] = np.maximum(after[rows, best], before.max(1))
    changed = 1 / (1 + np.exp(-after))
    return np.where(fit.labelled[before.argmax(1)][:, None], changed, scores).astype(scores.dtype)


def from_site(parts: dict[str, Any] | None) -> TypingFit | None:
    """Return the fit that `to_site` wrote into a calibration; None where it has none.

    Raises
    ------
    ValueError
        When it is no such thing.
    """
    if parts is None:
        return None
    try:
        types, matrix, offsets = parts["types"], np.array(parts["matrix"], float), np.array(parts["offsets"], float)
        fits = matrix.shape == (len(CODES),) * 2 and offsets.shape == (len(CODES),) and set(types) <= set(CODES)
    except (TypeError, KeyError, ValueError):
        fits = False
    if not fits or not np.isfinite(matrix).all() or not np.isfinite(offsets).all():
        raise ValueError("The typing of the calibration is no matrix of 15 x 15 numbers with 15 offsets.")
    return TypingFit(matrix, offsets, np.isin(CODES, types))


def to_site(fit: TypingFit) -> dict[str, Any]:
    """Return a fit as JSON-able lists."""
    return {
        "types": [code for code, is_labelled in zip(CODES, fit.labelled) if is_labelled],
        "matrix": np.round(fit.matrix, 4).tolist(),
        "offsets": np.round(fit.offsets, 4).tolist(),
    }
