"""Which cells a person must look at, and in what order: by what a cell could change in the report.

Pure: it takes cells with their labels, what a detector's card says, and a function from counts to calls.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from detection.cell_types import NOT_A_CELL
from detection.looks import GRAVE, LOW_SCORE, UNPROVEN, reasons_to_look_at

NEVER = 10**6
PAGE, CLOSE_PAGE = 60, 12

# What a type is plausibly mistaken for: one stage of maturation off, and the confusions that the detector's card names.
MISTAKEN_FOR = {
    "BAS": ("LYT", "EOS"),
    "EBO": ("LYT", NOT_A_CELL),
    "EOS": ("NGS", "BAS"),
    "KSC": ("LYT", NOT_A_CELL),
    "LYA": ("LYT", "MON", "MYO"),
    "LYT": ("LYA", "EBO"),
    "MMZ": ("NGB", "MYB"),
    "MOB": ("MON", "MYO"),
    "MON": ("MOB", "LYA"),
    "MYB": ("MMZ", "PMO"),
    "MYO": ("MOB", "PMO", "LYA"),
    "NGB": ("NGS", "MMZ"),
    "NGS": ("NGB",),
    "PMB": ("PMO", "MON", "MYO"),
    "PMO": ("PMB", "MYB", "MYO"),
}


class Labelled(Protocol):
    """A cell with its label now, the one that a person gave ("" for none), and the detector's score."""

    code: str
    decided_code: str
    score: float | None


class Proven(Protocol):
    """What says how well a type is proven: a detector version, or the least proven of several."""

    def evidence(self, code: str) -> str:
        """none, weak, fair or good."""


AnyCell = TypeVar("AnyCell", bound=Labelled)
Calls = Callable[[Mapping[str, int]], Any]


def reasons_to_look(cell: Labelled, detector: Proven) -> list[str]:
    """Say why a person must look at a cell; [] when somebody has, or when nothing speaks for it.

    Parameters
    ----------
    cell : Cell
        With `code`, `decided_code` and `score`.
    detector : DetectorVersion
        Whose `evidence(code)` is none, weak, fair or good.

    Returns
    -------
    list of str
        Short phrases, the weightiest first.
    """
    if cell.decided_code:
        return []
    return reasons_to_look_at(cell.code, cell.score, detector.evidence(cell.code))


def must_look(cells: Iterable[AnyCell], detector: Proven) -> list[AnyCell]:
    """Return the cells that no person has decided on and that must not pass unseen (S10); empty: none is left.

    Parameters
    ----------
    cells : iterable of Cell
    detector : DetectorVersion

    Returns
    -------
    list of Cell
        In the order given.
    """
    return [cell for cell in cells if reasons_to_look(cell, detector)]


def together(cell: Labelled, detector: Proven) -> int:
    """Say how many cells like this one a person may confirm at once, all of them before the eyes (S10).

    Parameters
    ----------
    cell : Cell
    detector : DetectorVersion

    Returns
    -------
    int
        1 for a low score, a type without evidence, or a blast or promyelocyte on weak evidence; `CLOSE_PAGE` for the
        other cells that must be looked at; `PAGE` for the rest.
    """
    evidence = detector.evidence(cell.code)
    if (cell.score is not None and cell.score < LOW_SCORE) or evidence == "none":
        return 1
    if evidence == "weak":
        return 1 if cell.code in GRAVE else CLOSE_PAGE
    return CLOSE_PAGE if cell.code in GRAVE else PAGE


def cells_to_change(counts: Mapping[str, int], undecided: Mapping[str, int], calls: Calls) -> dict[str, int]:
    """Say, per type, how few undecided cells would have to be of a neighbouring type to change any call.

    Parameters
    ----------
    counts : mapping of str to int
        All cells by current label.
    undecided : mapping of str to int
        Those of them that no person has decided on.
    calls : callable
        From counts to anything comparable: the flags, range calls and blast decision that these counts lead to.

    Returns
    -------
    dict
        Code -> 1 upward; a code is absent when even all of its undecided cells change nothing.

    Notes
    -----
    Each percentage moves one way as more cells change from one type to another, so bisection finds the least number.
    """
    now = calls(counts)

    def changes(code: str, other: str, number: int) -> bool:
        moved = Counter(counts)
        moved[code] -= number
        moved[other] += number
        return calls(moved) != now

    least: dict[str, int] = {}
    for code, most in undecided.items():
        for other in MISTAKEN_FOR.get(code, ()):
            if most < 1 or not changes(code, other, most):
                continue
            too_few, enough = 0, most
            while enough - too_few > 1:
                middle = (too_few + enough) // 2
                too_few, enough = (too_few, middle) if changes(code, other, middle) else (middle, enough)
            least[code] = min(enough, least.get(code, enough))
    return least


def is_settled(counts: Mapping[str, int], undecided: Mapping[str, int], calls: Calls) -> bool:
    """Say whether no undecided cell can change any call any more.

    Parameters
    ----------
    counts, undecided, calls
        As for `cells_to_change`.

    Returns
    -------
    bool
        True when neither the undecided cells of one type, nor those of all types together that could be of one other
        type, change a call; True when none is undecided.
    """
    if cells_to_change(counts, undecided, calls):
        return False
    now = calls(counts)
    for other in {other for code in undecided for other in MISTAKEN_FOR.get(code, ())}:
        moved = Counter(counts)
        for code, number in undecided.items():
            if other in MISTAKEN_FOR.get(code, ()):
                moved[code] -= number
                moved[other] += number
        if calls(moved) != now:
            return False
    return True


def in_order(cells: Iterable[AnyCell], detector: Proven, least: Mapping[str, int]) -> list[AnyCell]:
    """Sort the cells that must be looked at: most able to change a call, then low scores, then unproven types.

    Parameters
    ----------
    cells : iterable of Cell
    detector : DetectorVersion
    least : dict
        Of `cells_to_change`.

    Returns
    -------
    list of Cell
    """

    def key(cell: AnyCell) -> tuple[int, bool, bool, float]:
        score = 1.0 if cell.score is None else cell.score
        return (least.get(cell.code, NEVER), score >= LOW_SCORE, detector.evidence(cell.code) not in UNPROVEN, score)

    return sorted(must_look(cells, detector), key=key)
