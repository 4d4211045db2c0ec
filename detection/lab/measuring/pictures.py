"""Pictures of an evaluation: curves, confusion, reliability and the cells that were called wrong with most confidence.

Measuring is left to `evaluation`, the page to `report`.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from detection.boxes import pairwise_iou
from detection.cell_types import CODES
from detection.lab.data.datasets import View, read_pixels
from detection.lab.measuring import calibration
from detection.lab.measuring.evaluation import Found, Match, truth

MOST_ERRORS = 12


def as_png(figure: Figure) -> str:
    """Return a figure as a data address for an <img>."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def draw_curves(matches: Sequence[Match]) -> str:
    """Draw precision over recall at IoU .5 for every type with labelled cells."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for code, match in zip(CODES, matches):
        labels = match.labels.sum()
        if labels and len(match.scores):
            true = np.cumsum(match.hits[:, 0])
            axes.plot(true / labels, true / np.arange(1, len(true) + 1), label=f"{code} (n={labels})", linewidth=1.2)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision and recall, IoU 0.5")
    if axes.lines:
        axes.legend(fontsize=7, ncols=2)
    return as_png(figure)


def draw_confusion(table: np.ndarray) -> str:
    """Draw the confusion counts, rows labelled, columns found."""
    names = [*CODES, "none"]
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table / np.maximum(table.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            if table[row, column]:
                dark = table[row, column] > 0.5 * table[row].sum()
                axes.text(
                    column,
                    row,
                    table[row, column],
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
    axes.set(
        xticks=range(len(names)),
        yticks=range(len(names)),
        xlabel="found",
        ylabel="labelled",
        title="Confusion (counts)",
    )
    axes.set_xticklabels(names, rotation=90, fontsize=8)
    axes.set_yticklabels(names, fontsize=8)
    return as_png(figure)


def draw_reliability(scores: np.ndarray, hits: np.ndarray, temperature: float) -> str:
    """Draw the share of right calls over the score, before and after the temperature."""
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for values, label in (
        (scores, "as scored"),
        (calibration.rescale(scores, temperature), f"temperature {temperature:.2f}"),
    ):
        place = np.minimum((values * 10).astype(int), 9)
        bins = np.unique(place)
        axes.plot(
            [values[place == b].mean() for b in bins], [hits[place == b].mean() for b in bins], marker="o", label=label
        )
    axes.set(xlabel="score", ylabel="share right", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    axes.legend()
    return as_png(figure)


def worst_errors(
    views: Sequence[View], found: Sequence[Found], levels: np.ndarray, *, most: int = MOST_ERRORS, iou: float = 0.5
) -> list[tuple]:
    """Find the cells that were called wrong at the highest scores.

    Parameters
    ----------
    views, found
        As in `evaluation.match_views`.
    levels : ndarray, shape (15,)
        Lowest score a type is shown at.
    most : int
    iou : float
        Least overlap with the labelled cell that a call is about.

    Returns
    -------
    list of (score, view, box, labelled, called)
        Highest score first; `labelled` is a code, or None where nothing is labelled. Empty where all is right.
    """
    errors = []
    for number, (view, cells) in enumerate(zip(views, found)):
        boxes, types = truth(view)
        for box, called, score in zip(cells.boxes, cells.types, cells.scores):
            overlaps = pairwise_iou(box[None], boxes)[0]
            labelled = types[overlaps.argmax()] if len(boxes) and overlaps.max() >= iou else None
            if score >= levels[called] and labelled != called:
                errors.append((float(score), number, box, None if labelled is None else CODES[labelled], CODES[called]))
    errors.sort(key=lambda error: -error[0])
    return [(score, views[number], *rest) for score, number, *rest in errors[:most]]


def draw_errors(errors: Sequence[tuple]) -> str | None:
    """Draw cells of `worst_errors` with what is around them, six in a row; None where there is none."""
    if not errors:
        return None
    rows = -(-len(errors) // 6)
    figure = Figure(figsize=(10, 2 * rows), layout="constrained")
    grid = figure.subplots(rows, 6, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (score, view, box, labelled, called) in zip(grid, errors):
        image, reach = read_pixels(view.path), 0.9 * max(box[2] - box[0], box[3] - box[1])
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        left, top = max(0, int(x - reach)), max(0, int(y - reach))
        axes.imshow(image[top : int(y + reach) + 1, left : int(x + reach) + 1])
        corners = np.array([box[[0, 2, 2, 0, 0]], box[[1, 1, 3, 3, 1]]]) - np.array([[left], [top]])
        axes.plot(*corners, color="black", linewidth=0.8)
        axes.set_title(f"{labelled or 'nothing'}, called {called} {score:.2f}", fontsize=8)
    return as_png(figure)
