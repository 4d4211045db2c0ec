"""Divide views into training and validation, and see that no patient and no picture sits on both sides.

Reading files is left to `readers` and `prepare`.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detection.cell_types import CODES
from detection.lab.data.datasets import View
from detection.lab.data.files import Problem


def split_views(
    views: Sequence[View],
    *,
    seed: int,
    val_share: float,
    val_patients: Sequence[str] | None = None,
    keep: bool = False,
    decided: dict[str, str] | None = None,
) -> list[View]:
    """Divide views into "train" and "val", never one patient on both sides unless their source says so.

    Parameters
    ----------
    views : sequence of View
    seed : int
    val_share : float
        Share of each type's views for validation.
    val_patients : sequence of str or None
        Patients of the validation side, by name; None draws them.
    keep : bool
        True keeps the split that the source came with; views without one follow their patient, or are drawn.
    decided : dict of str to str or None
        Side of each patient that other sources share with this one and that was placed already.

    Returns
    -------
    list of View

    Raises
    ------
    ValueError
        When `val_patients` names somebody who is no patient of these views.

    Notes
    -----
    Stratified: views without a patient are shuffled within their first cell's type and every tenth goes to validation;
    patients are added, in shuffled order, while they bring the validation side nearer to its share of every type. Where
    none does, the one nearest to the share is taken, so that two patients suffice for two sides.
    """
    rng = np.random.default_rng(seed)
    given = [("val" if view.split in ("val", "test") else "train") if keep and view.split else "" for view in views]
    patients = sorted({view.patient for view in views if view.patient})
    sides = dict(decided or {})
    for view, side in zip(views, given):
        if view.patient and side and sides.get(view.patient) != "val":
            sides[view.patient] = side
    if val_patients is not None:
        chosen = {str(name) for name in val_patients}
        if strangers := sorted(chosen - set(patients)):
            raise ValueError(f"val_patients names {', '.join(strangers)}, of whom there is no view.")
        sides = dict.fromkeys(patients, "train") | sides | dict.fromkeys(chosen, "val")
    else:
        waiting = [name for name in patients if name not in sides]
        chosen = draw_patients(views, waiting, val_share, rng)
        sides |= {name: "val" if name in chosen else "train" for name in waiting}
    by_type = defaultdict(list)
    for index, view in enumerate(views):
        if not view.patient and not given[index]:
            by_type[view.cells[0][0] if view.cells else ""].append(index)
    held = set()
    for _, indices in sorted(by_type.items()):
        rng.shuffle(indices)
        held |= set(indices[: round(len(indices) * val_share)])
    drawn = ("val" if index in held else "train" for index in range(len(views)))
    return [
        replace(view, split=own or (sides[view.patient] if view.patient else other))
        for view, own, other in zip(views, given, drawn)
    ]


def draw_patients(
    views: Sequence[View], patients: Sequence[str], val_share: float, rng: np.random.Generator
) -> set[str]:
    """Draw patients until every type has about its share on the validation side, best fitting first."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in patients}
    for view in views:
        if view.patient in counts:
            counts[view.patient].update(code for code, _ in view.cells)
    total = sum(counts.values(), Counter())
    target = np.array([total[code] * val_share for code in CODES])
    scale = 1 / np.sqrt(np.maximum(target, 1))
    own = {name: np.array([counts[name][code] for code in CODES]) for name in patients}
    held, chosen = np.zeros(len(CODES)), set()
    order = rng.permutation(patients).tolist()
    for name in order:
        if np.abs((held + own[name] - target) * scale).sum() < np.abs((held - target) * scale).sum():
            held += own[name]
            chosen.add(name)
    if not chosen and len(patients) > 1 and val_share > 0:
        chosen = {min(order, key=lambda name: np.abs((own[name] - target) * scale).sum())}
    return chosen


def part_patients(views: Sequence[View], shared: Sequence[str] = ()) -> tuple[list[View], list[Problem]]:
    """Drop the training views of patients who sit on both sides.

    Parameters
    ----------
    views : sequence of View
    shared : collection of str
        Sources whose patients of one name are one person; those of any other source are its own.

    Returns
    -------
    views : list of View
    problems : list of Problem
    """
    sides: dict[tuple[str, str], dict[str, list[View]]] = defaultdict(lambda: defaultdict(list))
    for view in views:
        if view.patient:
            sides["" if view.source in shared else view.source, view.patient][view.split].append(view)
    problems, dropped = [], set()
    for (_, patient), own in sides.items():
        if len(own) > 1:
            first = own["train"][0]
            what = f"patient {patient} has {len(own['train'])} views in train and {len(own['val'])} in val"
            problems.append(Problem("patient-across-splits", f"{first.source}: {Path(first.path).name}", what))
            dropped |= {id(view) for view in own["train"]}
    return [view for view in views if id(view) not in dropped], problems


def drop_doubles(views: Sequence[View], contents: dict[str, str]) -> tuple[list[View], list[Problem]]:
    """Keep one view of each content: the validation one where both sides have it.

    Parameters
    ----------
    views : sequence of View
    contents : dict of str to str
        Hash of the pixels of each path.

    Returns
    -------
    views : list of View
    problems : list of Problem
        A pair whose cells are of other types is `conflicting-labels`, whatever its sides.
    """
    kept: dict[str, View] = {}
    problems = []
    for view in sorted(views, key=lambda view: view.split != "val"):
        first = kept.setdefault(contents[view.path], view)
        if first is view:
            continue
        kind = "duplicate" if first.split == view.split else "duplicate-across-splits"
        if types_of(first) != types_of(view):
            kind = "conflicting-labels"
        what = f"same content as {first.source}: {Path(first.path).name}"
        if kind == "conflicting-labels":
            what += f", but {named(types_of(view))} instead of {named(types_of(first))}"
        problems.append(Problem(kind, f"{view.source}: {Path(view.path).name}", what))
    return list(kept.values()), problems


def types_of(view: View) -> Any:
    """Return the sorted codes of a view's cells."""
    return sorted(code for code, _ in view.cells)


def named(codes: Any) -> str:
    """Return codes as words of a sentence."""
    return " ".join(codes) or "no cell"
