"""How a run goes over time: how much of it is done, its learning rate and its share of composed canvases."""

import math
from collections.abc import Mapping
from typing import Any

from detection.lab.training.recipe import Recipe


def progress_share(recipe: Recipe, state: Mapping[str, Any]) -> float:
    """Return how much of the run is done, 0 to 1: by hours where they are given, else by epochs."""
    if recipe["hours"]:
        return min(1.0, state["seconds"] / (recipe["hours"] * 3600))
    return min(1.0, state["canvases"] / (recipe["epochs"] * recipe["canvases"]))


def is_done(recipe: Recipe, state: Mapping[str, Any], *, is_checked: bool) -> bool:
    """Whether a run has come to its end, or its figure of merit, where one is checked, has not risen for too long."""
    is_stale = state["epoch"] - state["best_epoch"] >= recipe["patience"]
    return progress_share(recipe, state) >= 1 or (is_checked and state["best"] >= 0 and is_stale)


def composed_share(recipe: Recipe, share: float) -> float:
    """Return the share of composed canvases: none for what is left of a run from 1 - close_composed on."""
    return 0.0 if share >= 1 - recipe["close_composed"] else recipe["composed"]


def learning_rate(recipe: Recipe, share: float) -> float:
    """Return the rate at a share of the run: a cosine from lr0 to lr0 * lr_end after a linear warm-up."""
    if share < recipe["warmup"]:
        return recipe["lr0"] * max(0.02, share / recipe["warmup"])
    turn = (share - recipe["warmup"]) / (1 - recipe["warmup"])
    return recipe["lr0"] * (recipe["lr_end"] + (1 - recipe["lr_end"]) * (1 + math.cos(math.pi * turn)) / 2)
