"""The recipe of a training run: its numbers, how the command line changes them, and which may change in a resumed run.

What each number does to canvases and weights is left to `sampling` and `training`.
"""

import argparse
import json
from typing import Any, TypedDict

SCALES = ("n", "s", "m", "full")


class Recipe(TypedDict):
    """Everything that a run is trained by; it is stored in `run.json` and on the card."""

    canvas_px: int
    um_per_px: float
    batch: int
    epochs: int
    canvases: int  # of an epoch
    hours: float | None  # in place of epochs
    lr0: float  # start of the cosine
    lr_end: float  # its end, as a share of lr0
    warmup: float  # share of the run
    weight_decay: float
    ema_decay: float
    smoothing: float  # of the target, given to neighbouring types
    cls: float  # weight of typing against placing
    composed: float  # share of canvases with copy-paste augmentation
    close_composed: float  # share of the run, at its end, without it
    empty: float  # share of canvases from views without cells
    guessed: float  # share of canvases from views whose types a detector guessed
    strong: float  # share of canvases re-stained at full strength
    stains: tuple[str, ...] | list[str]  # folders whose stains are transferred
    transferred: float  # share of canvases with one of these stains
    mosaic: float  # share of canvases of four quarters with a labelled cell each
    neighbour_weight: float  # in typing, of cells beside the central one of a crop
    frozen: int  # how many first layers stay as they are
    frozen_norms: int  # 1 keeps means and variances of all layers
    seed: int
    patience: int
    check_every: int


RECIPE: Recipe = {
    "canvas_px": 320, "um_per_px": 0.115, "batch": 32, "epochs": 40, "canvases": 4000, "hours": None, "lr0": 0.001,
    "lr_end": 0.02, "warmup": 0.03, "weight_decay": 0.0005, "ema_decay": 0.998, "smoothing": 0.05, "cls": 0.5,
    "composed": 0.45, "close_composed": 0.15, "empty": 0.04, "guessed": 0.08, "strong": 0.45, "stains": (),
    "transferred": 0.35, "mosaic": 0.0, "neighbour_weight": 1.0, "frozen": 0, "frozen_norms": 0, "seed": 7,
    "patience": 12, "check_every": 1,
}  # fmt: skip
MAY_CHANGE = ("epochs", "hours", "patience", "check_every", "frozen")  # in a run that is resumed


def add_recipe(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Add the options that change the recipe and say how much of the machine a training takes."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"change the recipe{of}, e.g. epochs=20 lr0=0.002 hours=1.5 seed=3",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that draw canvases (default 1)")
    parser.add_argument("--threads", type=int, help="torch threads (default: all cores)")


def changes_of(pairs: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE pairs that change the recipe of training.

    Parameters
    ----------
    pairs : list of str
        Values are JSON: 20, 0.5, null, ["a", "b"].

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        When a name is not in the recipe, or a value is missing, no JSON or of another kind than the recipe's.
    """
    changes = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in RECIPE:
            raise ValueError(f"The recipe has no {name}. It has {', '.join(RECIPE)}.")
        try:
            changes[name] = json.loads(text)
        except ValueError:
            raise ValueError(f"--set {pair} gives no value: write {name}=VALUE, a number, null or a list.") from None
        wanted: tuple[type, ...] = (int, float)
        if name in ("stains", "hours"):
            wanted = (list, str) if name == "stains" else (int, float, type(None))
        if isinstance(changes[name], bool) or not isinstance(changes[name], wanted):
            raise ValueError(f"--set {pair}: {name} is {'a list' if name == 'stains' else 'a number'}.")
    return changes
