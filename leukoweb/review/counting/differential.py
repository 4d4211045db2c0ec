"""Counts of cell types become a differential: percentages, exact intervals, absolute counts and ranges (rules C2-C11).

Pure functions of counts and rules.

References
----------
Clopper and Pearson 1934, Biometrika 26:404, in its form by beta quantiles; Rümke's table for n = 100 in CLSI H20.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

from scipy.special import betaincinv

from detection.cell_types import CELL_TYPES, NOT_A_CELL, UNIDENTIFIED
from leukoweb.cases.wbc import GIGA_PER_L
from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.groups import GROUPS
from leukoweb.review.counting.parts import DifferentialPart, IntervalPart, ReferenceRange, RowPart
from leukoweb.review.counting.policies import Rules

CONFIDENCE = 0.95


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

    `count` is what readers and detector labelled, `counted` what enters the percentage (the signer may count smudge
    cells as lymphocytes). EBO and KSC have `per_100` in place of a percentage. A counted cell never has the percentage
    0: where rounding would give it, the exact share stands there and is printed as “<0.1” (C12).
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
    percent_range: ReferenceRange | None = None
    absolute_range: ReferenceRange | None = None
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
    range_refusal: str = ""
    smudge_as_lymphocytes: bool = False
    age: Age | None = None
    sex: str = "U"

    def __getitem__(self, key: str) -> Row:
        """Return the row of a type, of UNI or of a group; KeyError for anything else."""
        return self._by_key[key]

    @cached_property
    def _by_key(self) -> dict[str, Row]:
        return {row.key: row for row in (*self.rows, self.unidentified)} | self.groups

    def with_counts(self, counts: Mapping[str, int]) -> "Differential":
        """Return what other counts of the same specimen would give."""
        return count_differential(
            counts, self.rules, wbc=self.wbc, age=self.age, sex=self.sex,
            smudge_as_lymphocytes=self.smudge_as_lymphocytes,
        )  # fmt: skip

    def as_dict(self) -> DifferentialPart:
        """Return the figures as JSON values, numbers rounded to nine decimals; the rules are kept apart."""

        def plain(row: Row) -> RowPart:
            return cast(RowPart, {name: _plain(value) for name, value in asdict(row).items()})

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
            "range_refusal": self.range_refusal,
            "smudge_as_lymphocytes": self.smudge_as_lymphocytes,
        }

    @property
    def is_empty(self) -> bool:
        """Whether there is no leukocyte to speak of."""
        return self.total == 0


@lru_cache(maxsize=10_000)  # the search for what would change a call asks for the same few again and again
def clopper_pearson(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion.

    Parameters
    ----------
    k : float
        Cells of the type, 0 <= k <= n. Fractions are allowed (a planned count), the beta quantiles are continuous in k.
    n : float
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


def upper_bound_of_zero(n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound (a fraction) of a type of which none was met in `n` cells (C3)."""
    return 1 - (1 - confidence) ** (1 / n)


def is_changed(before: IntervalPart, now: IntervalPart) -> bool:
    """Say whether two results differ beyond their intervals: overlapping ones are not called changed (C2).

    Parameters
    ----------
    before, now : IntervalPart
        In percent; None where there was nothing to count.

    Returns
    -------
    bool
        False also where either has no interval.
    """
    if before["low"] is None or before["high"] is None or now["low"] is None or now["high"] is None:
        return False
    return now["low"] > before["high"] or now["high"] < before["low"]


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

    def separates(total: int) -> bool:
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


def count_differential(
    counts: Mapping[str, int],
    rules: Rules,
    *,
    wbc: Wbc | None = None,
    age: Age | None = None,
    sex: str = "U",
    smudge_as_lymphocytes: bool = False,
) -> Differential:
    """Turn counts of labels into a differential.

    Parameters
    ----------
    counts : mapping of str to int
        Cells by current label: the 15 codes, "UNI" (counted, blocks signing) and "NOT" (not counted).
    rules : Rules
        The laboratory's policy.
    wbc : Wbc, optional
        Without unit, source or time no absolute count is given (C8).
    age : Age, optional
        Age at collection; without it only ranges of every age apply.
    sex : str
        "F", "M" or "U".
    smudge_as_lymphocytes : bool
        The signer's choice for this one report (C5).

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
    if smudge_as_lymphocytes:
        counted["LYT"] += counts.get("KSC", 0)
    total = sum(counted.values())
    refusal, giga, corrected = _absolute_base(counts.get("EBO", 0), total, wbc, rules)
    percent = dict(zip(counted, percentages(list(counted.values()), rules.decimals)))
    line = _Lines(counts, counted, percent, total, rules, corrected, age, sex)
    groups_bands = rules.bands != "separate"
    rows = tuple(
        line.beside(t.code, t.name)
        if not t.in_differential
        else line.within(t.code, t.name, (t.code,), is_grouped=groups_bands and t.code in GROUPS["neutrophils"][1])
        for t in CELL_TYPES
    )
    groups = {key: line.within(key, name, codes) for key, (name, codes) in GROUPS.items()}
    return Differential(
        rows=rows,
        unidentified=line.within(UNIDENTIFIED, "unidentified", (UNIDENTIFIED,)),
        groups=groups,
        total=total,
        not_cells=counts.get(NOT_A_CELL, 0),
        is_limited=total < rules.minimum_count,
        rules=rules,
        wbc=wbc,
        wbc_giga_per_l=giga,
        corrected_wbc=corrected,
        absolute_refusal=refusal,
        range_refusal=_range_refusal(rules, age, sex),
        smudge_as_lymphocytes=smudge_as_lymphocytes,
        age=age,
        sex=sex,
    )


@dataclass(frozen=True)
class _Lines:
    """Makes the rows of one differential: `counts` are the labels, `counted` what enters the rounded percentages."""

    counts: Mapping[str, int]
    counted: Mapping[str, int]
    percent: Mapping[str, float]
    total: int
    rules: Rules
    corrected_wbc: float | None
    age: Age | None
    sex: str

    def beside(self, key: str, name: str) -> Row:
        """Return the row of a type outside of the 100 %: per 100 leukocytes."""
        count, entering = self.counts.get(key, 0), self.counted[key]
        if self.total == 0:
            return Row(key, name, count, entering)
        per_100 = 100 * count / self.total
        range_ = self.rules.range_for(key, "per 100 WBC", self.age, self.sex)
        absolute = per_100 / 100 * self.corrected_wbc if self.corrected_wbc is not None and key == "KSC" else None
        return Row(
            key, name, count, entering, per_100=per_100, absolute=absolute, percent_range=range_,
            call=_call(per_100, range_),
        )  # fmt: skip

    def within(self, key: str, name: str, codes: tuple[str, ...], *, is_grouped: bool = False) -> Row:
        """Return the row of a type or group of the 100 %."""
        count, entering = sum(self.counts.get(c, 0) for c in codes), sum(self.counted[c] for c in codes)
        total = self.total
        if total == 0:
            return Row(key, name, count, entering, is_grouped=is_grouped)
        low, high = (100 * bound for bound in clopper_pearson(entering, total))
        absolute = entering / total * self.corrected_wbc if self.corrected_wbc is not None else None
        percent_range = absolute_range = None
        if not is_grouped:
            percent_range = self.rules.range_for(key, "%", self.age, self.sex)
            absolute_range = self.rules.range_for(key, "10*9/L", self.age, self.sex)
        # A laboratory that has both ranges judges by the absolute count where there is one.
        if self.corrected_wbc is not None and absolute is not None and absolute_range:
            scale = self.corrected_wbc / 100
            call = _call(absolute, absolute_range)
            certain = call == _call(low * scale, absolute_range) == _call(high * scale, absolute_range)
        else:
            call = _call(100 * entering / total, percent_range)
            certain = call == _call(low, percent_range) == _call(high, percent_range)
        return Row(
            key, name, count, entering, self._percent(codes, entering), low, high,
            zero_upper=100 * upper_bound_of_zero(total) if entering == 0 else None,
            absolute=absolute, percent_range=percent_range, absolute_range=absolute_range,
            call=call, is_call_certain=certain, is_grouped=is_grouped,
        )  # fmt: skip

    def _percent(self, codes: tuple[str, ...], entering: int) -> float:
        """Return the rounded percentage of one or more types, or the exact share where that would be 0 (C11, C12)."""
        shown = round(sum(self.percent[c] for c in codes), self.rules.decimals)
        return 100 * entering / self.total if entering and shown == 0 else shown


def wbc_from(stored: dict[str, Any] | None) -> Wbc | None:
    """Return a Wbc of JSON values, or None of none."""
    return Wbc(**stored) if stored else None


def _plain(value: Any) -> Any:
    """Return a number that reads the same from every database; other values as they are."""
    return round(value, 9) if isinstance(value, float) else value


_LABELS = {t.code for t in CELL_TYPES} | {UNIDENTIFIED, NOT_A_CELL}


def _range_refusal(rules: Rules, age: Age | None, sex: str) -> str:
    """Say why reference ranges do not apply to this person; "" where each limited type has one."""
    limited = {entry["key"] for entry in rules.ranges}
    units = ("%", "10*9/L", "per 100 WBC")
    without = {key for key in limited if not any(rules.range_for(key, unit, age, sex) for unit in units)}
    if not without:
        return ""
    if age is None:
        return "No reference ranges: the birth date is not known."
    if without == limited:
        return f"No reference ranges: this laboratory has none for an age of {age.words()}."
    names = {t.code: t.name for t in CELL_TYPES} | {key: name.lower() for key, (name, _) in GROUPS.items()}
    return f"No reference range for an age of {age.words()}: {', '.join(names[key] for key in sorted(without))}."


def _absolute_base(nrbc: int, total: int, wbc: Wbc | None, rules: Rules) -> tuple[str, float | None, float | None]:
    """Return (why there are no absolute counts, WBC in 10*9/L as measured, WBC that absolute counts are taken from)."""
    if wbc is None:
        return "No analyser WBC was entered, so no absolute counts are given.", None, None
    missing = [name for name, value in (("unit", wbc.unit), ("source", wbc.source), ("time", wbc.at)) if not value]
    if missing:
        return f"The analyser WBC has no {' and no '.join(missing)}, so no absolute counts are given.", None, None
    giga = wbc.value * GIGA_PER_L[wbc.unit]
    nrbc_per_100 = 100 * nrbc / total if total else 0.0
    if rules.corrects_wbc and nrbc_per_100 >= rules.nrbc_correction_from:
        return "", giga, corrected_wbc(giga, nrbc_per_100)
    return "", giga, giga


def _call(value: float, range_: ReferenceRange | None) -> str:
    """Say "high", "low" or "" of a value against a range."""
    if range_ is None:
        return ""
    if range_["high"] is not None and value > range_["high"]:
        return "high"
    return "low" if range_["low"] is not None and value < range_["low"] else ""
