"""The figures of one result by parameter, such as `film.NGS.%` and `cbc.HGB`: for the chart, its table and delta rules.

Pure functions of the content of a report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from leukoweb.cases.cbc import PARAMETERS, CbcValuePart
from leukoweb.cases.cbc import UNITS as CBC_UNITS
from leukoweb.cases.wbc import GIGA_PER_L
from leukoweb.review.counting.differential import Wbc
from leukoweb.review.counting.parts import DifferentialPart, RowPart
from leukoweb.review.counting.table import lines_of
from leukoweb.review.counting.words import printed

PER_100, GIGA = "per 100 WBC", "10*9/L"
_SIGNS = {"less than this": "<", "more than this": ">"}


@dataclass(frozen=True)
class Value:
    """One figure of one result, with its 95 % interval and the reference range that it was signed with."""

    name: str
    unit: str
    number: float
    text: str
    low: float | None = None
    high: float | None = None
    range_low: float | None = None
    range_high: float | None = None
    call: str = ""

    @property
    def has_range(self) -> bool:
        """Whether a reference range applied."""
        return self.range_low is not None or self.range_high is not None


def values_of(
    differential: DifferentialPart, rules: Mapping[str, Any], wbc: Wbc | None, cbc: Iterable[CbcValuePart]
) -> dict[str, Value]:
    """Return every figure of a report's content, parameter to value; the film's in the order of its table."""
    rows = {row["key"]: row for row in differential["rows"]} | differential["groups"]
    if not differential["total"]:
        rows = {}
    lines = {line["key"]: line for line in lines_of(differential, rules)}
    found: dict[str, Value] = {}
    for key, line in lines.items():
        row = rows.get(key)
        if row is None:
            continue
        if row["percent"] is not None:
            low, high = (0.0, row["zero_upper"]) if row["zero_upper"] is not None else (row["low"], row["high"])
            found[f"film.{key}.%"] = _of_film(row, "%", row["percent"], line["percent"], low, high)
        elif row["per_100"] is not None:
            found[f"film.{key}.{PER_100}"] = _of_film(row, PER_100, row["per_100"], line["per_100"])
        if row["absolute"] is not None:
            found[f"film.{key}.{GIGA}"] = _of_film(row, GIGA, row["absolute"], printed(row["absolute"], 2))
    return found | _of_cbc(wbc, cbc)


def _of_film(
    row: RowPart, unit: str, number: float, text: str, low: float | None = None, high: float | None = None
) -> Value:
    """The call of a line is that of its absolute count where a range of absolute counts applied."""
    range_ = row["absolute_range"] if unit == GIGA else row["percent_range"]
    range_low, range_high = (range_["low"], range_["high"]) if range_ else (None, None)
    by_absolute = row["absolute"] is not None and row["absolute_range"] is not None
    call = row["call"] if by_absolute == (unit == GIGA) else ""
    return Value(row["name"], unit, number, text, low, high, range_low, range_high, call)


def _of_cbc(wbc: Wbc | None, cbc: Iterable[CbcValuePart]) -> dict[str, Value]:
    """The analyser's values; the WBC also where it was typed in."""
    amounts = {
        value["key"]: (amount, _SIGNS.get(value["note"], ""))
        for value in cbc
        if (amount := value["amount"]) is not None
    }
    if wbc and wbc.unit in GIGA_PER_L:
        amounts.setdefault("WBC", (wbc.value * GIGA_PER_L[wbc.unit], ""))
    found = {}
    for key, parameter in PARAMETERS.items():
        if key in amounts:
            amount, sign = amounts[key]
            unit = next(iter(CBC_UNITS[parameter.kind]))
            found[f"cbc.{key}"] = Value(parameter.name, unit, amount, f"{sign}{amount:g}")
    return found
