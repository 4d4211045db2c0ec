"""Counts of cell types become a differential: percentages, exact intervals, absolute counts and ranges (rules C2-C11).

Pure functions of counts and rules; nothing here knows cells, readers or a database.

References
----------
Clopper and Pearson 1934, Biometrika 26:404, in its form by beta quantiles; Rümke's table for n = 100 in CLSI H20.
"""

import math
from dataclasses import asdict, dataclass

from scipy.special import betaincinv

from detection.cell_types import BLASTS, CELL_TYPES, NOT_A_CELL, PROMYELOCYTES, UNIDENTIFIED
from leukoweb.review.counting.policies import Rules

CONFIDENCE = 0.95
GROUPS = {
    "neutrophils": ("Neutrophils", ("NGS", "NGB")),
    "blasts": ("Blasts", BLASTS),
    "promyelocytes": ("Promyelocytes", PROMYELOCYTES),
}
_GIGA_PER_L = {"10*9/L": 1.0, "10*3/uL": 1.0, "/uL": 0.001}


@dataclass(frozen=True)
class Wbc:
    """The analyser's white cell count; it counts only when unit, source and time are known (C8)."""

    value: float
    unit: str
    source: str
    at: str


@dataclass(frozen=True)
class Row:
    """One line of the differential; percentages are 0 to 100, absolute counts in 10*9/L.

    `count` is what readers and detector labelled, `counted` what enters the percentage (a policy may count smudge
    cells as lymphocytes). EBO and KSC have `per_100` in place of a percentage.
    """

    key: str
    name: str
    count: int
    counted: int
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    zero_upper: float | None = None
    per_100: float | None = None
    absolute: float | None = None
    percent_range: dict | None = None
    absolute_range: dict | None = None
    call: str = ""
    is_call_certain: bool = True
    is_grouped: bool = False


@dataclass(frozen=True)
class Differential:
    """The differential of one case: 15 rows in class order, the unidentified, the groups, and what they can say."""

    rows: tuple[Row, ...]
    unidentified: Row
    groups: dict[str, Row]
    total: int
    not_cells: int
    is_limited: bool
    rules: Rules
    wbc: Wbc | None = None
    wbc_giga_per_l: float | None = None
    corrected_wbc: float | None = None
    absolute_refusal: str = ""

    def __getitem__(self, key: str) -> Row:
        """Return the row of a type, of UNI or of a group; KeyError for anything else."""
        if key in self.groups:
            return self.groups[key]
        return {row.key: row for row in (*self.rows, self.unidentified)}[key]

    def as_dict(self) -> dict:
        """Return the figures as JSON values, numbers rounded to nine decimals; the rules are kept apart."""

        def plain(row):
            return {name: _plain(value) for name, value in asdict(row).items()}

        return {
            "rows": [plain(row) for row in self.rows],
            "unidentified": plain(self.unidentified),
            "groups": {key: plain(row) for key, row in self.groups.items()},
            "total": self.total,
            "not_cells": self.not_cells,
            "is_limited": self.is_limited,
            "wbc_giga_per_l": _plain(self.wbc_giga_per_l),
            "corrected_wbc": _plain(self.corrected_wbc),
            "absolute_refusal": self.absolute_refusal,
        }

    @property
    def is_empty(self) -> bool:
        """Whether there is no leukocyte to speak of."""
        return self.total == 0


def clopper_pearson(k, n, confidence=CONFIDENCE):
    """Return the exact two-sided interval of a proportion.

    Parameters
    ----------
    k : float or array
        Cells of the type, 0 <= k <= n. Fractions are allowed (a planned count), the beta quantiles are continuous in k.
    n : int or array
        Cells in all, n >= 1.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    tuple
        (low, high) as fractions of 1.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def upper_bound_of_zero(n: int, confidence=CONFIDENCE) -> float:
    """Return the one-sided upper bound (a fraction) of a type of which none was met in `n` cells (C3)."""
    return 1 - (1 - confidence) ** (1 / n)


def is_changed(before: dict, now: dict) -> bool:
    """Say whether two results differ beyond their intervals: overlapping ones are not called changed (C2).

    Parameters
    ----------
    before, now : dict
        With `low` and `high` in percent; None where there was nothing to count.

    Returns
    -------
    bool
        False also where either has no interval.
    """
    if before["low"] is None or now["low"] is None:
        return False
    return now["low"] > before["high"] or now["high"] < before["low"]


def cells_to_meet(fraction: float, chance=CONFIDENCE) -> int:
    """Return how many cells must be counted to meet a type of this `fraction` with this `chance` (C3)."""
    return math.ceil(math.log(1 - chance) / math.log(1 - fraction))


def cells_to_separate(k: int, n: int, limit: float, most: int = 10_000) -> int | None:
    """Return how many *more* cells would separate the observed proportion from a limit, if it stays as it is.

    Parameters
    ----------
    k, n : int
        Cells of the type and in all, n >= 1.
    limit : float
        The limit as a fraction, 0 < limit < 1.
    most : int
        Where to give up.

    Returns
    -------
    int or None
        0 when the interval already excludes the limit; None when even `most` cells in all would not do.

    Notes
    -----
    Bisection on the total; with a constant proportion the exact interval only narrows.
    """
    share = k / n

    def separates(total):
        low, high = clopper_pearson(share * total, total)
        return not low <= limit <= high

    if separates(n):
        return 0
    if n >= most or not separates(most):
        return None
    too_few, enough = n, most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if separates(middle) else (middle, enough)
    return enough - n


def percentages(counts: list[int], decimals: int = 1) -> list[float]:
    """Return percentages with `decimals` places that sum to exactly 100 (largest remainder, C11).

    Parameters
    ----------
    counts : list of int
        At least one above zero, else all percentages are 0.

    Returns
    -------
    list of float
        In the order of `counts`; a count of zero is always 0.

    Notes
    -----
    Whole units of 10**-decimals percent are handed out first, the rest to the largest remainders; ties go to the
    larger count, then to the earlier row. Integer arithmetic: no rounding error decides.
    """
    total, units = sum(counts), 100 * 10**decimals
    if total == 0:
        return [0.0] * len(counts)
    floors = [count * units // total for count in counts]
    remainders = [count * units % total for count in counts]
    by_need = sorted(range(len(counts)), key=lambda i: (-remainders[i], -counts[i], i))
    for i in by_need[: units - sum(floors)]:
        floors[i] += 1
    return [floor / 10**decimals for floor in floors]


def corrected_wbc(wbc: float, nrbc_per_100: float) -> float:
    """Return the white cell count without the nucleated red cells that an analyser counted in (C4).

    17.4 with 8 per 100 -> 16.111.
    """
    return wbc * 100 / (100 + nrbc_per_100)


def count_differential(counts, rules: Rules, *, wbc: Wbc | None = None, age_years: float | None = None, sex: str = "U"):
    """Turn counts of labels into a differential.

    Parameters
    ----------
    counts : mapping of str to int
        Cells by current label: the 15 codes, "UNI" (counted, blocks signing) and "NOT" (not counted).
    rules : Rules
        The laboratory's policy.
    wbc : Wbc, optional
        Without unit, source or time no absolute count is given (C8).
    age_years : float, optional
        Age at collection; without it no reference range applies.
    sex : str
        "F", "M" or "U".

    Returns
    -------
    Differential
        With no cell at all every percentage is None.

    Raises
    ------
    KeyError
        When `counts` holds an unknown label.
    """
    for label in counts:
        if label not in _LABELS:
            raise KeyError(label)
    counted = {t.code: counts.get(t.code, 0) if t.in_differential else 0 for t in CELL_TYPES}
    counted[UNIDENTIFIED] = counts.get(UNIDENTIFIED, 0)
    if rules.smudge_cells == "as_lymphocytes":
        counted["LYT"] += counts.get("KSC", 0)
    total = sum(counted.values())
    percent = dict(zip(counted, percentages(list(counted.values()), rules.decimals)))

    refusal, giga, corrected = _absolute_base(counts.get("EBO", 0), total, wbc, rules)

    def row(key, name, codes, *, in_differential=True, is_grouped=False):
        count, entering = sum(counts.get(c, 0) for c in codes), sum(counted[c] for c in codes)
        if total == 0:
            return Row(key, name, count, entering, is_grouped=is_grouped)
        if not in_differential:
            per_100 = 100 * count / total
            range_ = None if is_grouped else rules.range_for(key, "per 100 WBC", age_years, sex)
            absolute = per_100 / 100 * corrected if corrected is not None and key == "KSC" else None
            return Row(
                key, name, count, entering, per_100=per_100, absolute=absolute, percent_range=range_,
                call=_call(per_100, range_),
            )  # fmt: skip
        low, high = (100 * bound for bound in clopper_pearson(entering, total))
        shown = round(sum(percent[c] for c in codes), rules.decimals)
        absolute = entering / total * corrected if corrected is not None else None
        percent_range = absolute_range = None
        if not is_grouped:
            percent_range = rules.range_for(key, "%", age_years, sex)
            absolute_range = rules.range_for(key, "10*9/L", age_years, sex)
        # A laboratory that has both ranges judges by the absolute count where there is one.
        if absolute is not None and absolute_range:
            scale = corrected / 100
            call = _call(absolute, absolute_range)
            certain = call == _call(low * scale, absolute_range) == _call(high * scale, absolute_range)
        else:
            call = _call(100 * entering / total, percent_range)
            certain = call == _call(low, percent_range) == _call(high, percent_range)
        return Row(
            key, name, count, entering, shown, low, high,
            zero_upper=100 * upper_bound_of_zero(total) if entering == 0 else None,
            absolute=absolute, percent_range=percent_range, absolute_range=absolute_range,
            call=call, is_call_certain=certain, is_grouped=is_grouped,
        )  # fmt: skip

    groups_bands = rules.bands != "separate"
    return Differential(
        rows=tuple(
            row(
                t.code,
                t.name,
                (t.code,),
                in_differential=t.in_differential,
                is_grouped=groups_bands and t.code in GROUPS["neutrophils"][1],
            )
            for t in CELL_TYPES
        ),  # fmt: skip
        unidentified=row(UNIDENTIFIED, "unidentified", (UNIDENTIFIED,)),
        groups={key: row(key, name, codes) for key, (name, codes) in GROUPS.items()},
        total=total,
        not_cells=counts.get(NOT_A_CELL, 0),
        is_limited=total < rules.minimum_count,
        rules=rules,
        wbc=wbc,
        wbc_giga_per_l=giga,
        corrected_wbc=corrected,
        absolute_refusal=refusal,
    )


def wbc_from(stored: dict | None) -> Wbc | None:
    """Return a Wbc of JSON values, or None of none."""
    return Wbc(**stored) if stored else None


def _plain(value):
    """Return a number that reads the same from every database; other values as they are."""
    return round(value, 9) if isinstance(value, float) else value


_LABELS = {t.code for t in CELL_TYPES} | {UNIDENTIFIED, NOT_A_CELL}


def _absolute_base(nrbc, total, wbc, rules):
    """Return (why there are no absolute counts, WBC in 10*9/L as measured, WBC that absolute counts are taken from)."""
    if wbc is None:
        return "No analyser WBC was entered, so no absolute counts are given.", None, None
    missing = [name for name, value in (("unit", wbc.unit), ("source", wbc.source), ("time", wbc.at)) if not value]
    if missing:
        return f"The analyser WBC has no {' and no '.join(missing)}, so no absolute counts are given.", None, None
    giga = wbc.value * _GIGA_PER_L[wbc.unit]
    nrbc_per_100 = 100 * nrbc / total if total else 0.0
    if rules.corrects_wbc and nrbc_per_100 >= rules.nrbc_correction_from:
        return "", giga, corrected_wbc(giga, nrbc_per_100)
    return "", giga, giga


def _call(value, range_):
    """Say "high", "low" or "" of a value against a range."""
    if range_ is None:
        return ""
    if range_["high"] is not None and value > range_["high"]:
        return "high"
    return "low" if range_["low"] is not None and value < range_["low"] else ""
