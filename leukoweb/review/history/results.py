"""Every signed result of a person in the order of time: one list for the chart and for its table; it draws nothing.

Figures are those that were sealed, with the reference range of that time; nothing is counted again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_noop

from leukoweb.accounts.models import User
from leukoweb.cases.cbc import PARAMETERS
from leukoweb.cases.cbc import UNITS as CBC_UNITS
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.wbc import GIGA_PER_L
from leukoweb.review.counting.table import lines_of
from leukoweb.review.counting.words import printed
from leukoweb.review.models import Report

AMENDED, WITHDRAWN, REJECTED = "amended", "withdrawn", "rejected"
FIRST_SHOWN = "film.neutrophils.%"
MOST = 500  # results of one person; the newest
PER_100, GIGA = "per 100 WBC", "10*9/L"
PERCENT, ABSOLUTE = gettext_noop("Percentages"), gettext_noop("Absolute counts")
BLOOD_COUNT = gettext_noop("Blood count")
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


@dataclass(frozen=True)
class Result:
    """The latest signed version of a case, or that its specimen was rejected.

    `state` is "" or one of amended, withdrawn and rejected; the last two have no values, for nothing of them holds.
    """

    case: Case
    taken_at: datetime
    is_collected: bool
    report: int | None = None
    version: int = 0
    state: str = ""
    values: dict[str, Value] = field(default_factory=dict)


def results_of(patient: Patient, user: User) -> list[Result]:
    """Return the signed results and rejections of a person that the user may see, oldest first."""
    cases = Case.objects.visible_to(user).filter(patient=patient).select_related("patient")
    newest = list(cases.filter(reports__state=Report.State.SIGNED).distinct()[:MOST])
    newest += cases.filter(rejected_at__isnull=False)[:MOST]
    signed = Report.objects.filter(case__in=newest, state=Report.State.SIGNED)
    rows = signed.exclude(amended_by__state=Report.State.SIGNED).values(
        "pk", "case_id", "version", "withdrawal", "content__differential", "content__policies__rules",
        "content__specimen", "content__cbc",
    )  # fmt: skip
    of_case = {row["case_id"]: row for row in rows}
    found = [_result_of(case, of_case.get(case.pk)) for case in newest]
    return sorted(found, key=lambda result: (result.taken_at, result.case.pk))


def _result_of(case: Case, row: Mapping[str, Any] | None) -> Result:
    if row is None:
        return Result(case, case.collected_at or case.received_at, case.collected_at is not None, state=REJECTED)
    specimen = row["content__specimen"]
    collected = specimen["collected_at"]
    taken_at = parse_datetime(collected or specimen["received_at"])
    assert taken_at is not None
    state = WITHDRAWN if row["withdrawal"] else AMENDED if row["version"] > 1 else ""
    values = {} if row["withdrawal"] else values_of(
        row["content__differential"], row["content__policies__rules"], specimen, row["content__cbc"]
    )  # fmt: skip
    return Result(case, taken_at, bool(collected), row["pk"], row["version"], state, values)


def values_of(
    differential: Mapping[str, Any],
    rules: Mapping[str, Any],
    specimen: Mapping[str, Any],
    cbc: Mapping[str, Any] | None,
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
            found[f"film.{key}.%"] = _of_film(line, row, "%", line["percent"], low, high)
        elif row["per_100"] is not None:
            found[f"film.{key}.{PER_100}"] = _of_film(line, row, PER_100, line["per_100"])
        if row["absolute"] is not None:
            found[f"film.{key}.{GIGA}"] = _of_film(line, row, GIGA, printed(row["absolute"], 2))
    return found | _of_cbc(specimen, cbc)


def _of_film(
    line: Mapping[str, Any],
    row: Mapping[str, Any],
    unit: str,
    text: str,
    low: float | None = None,
    high: float | None = None,
) -> Value:
    """The call of a line is that of its absolute count where a range of absolute counts applied."""
    number = row[{"%": "percent", PER_100: "per_100", GIGA: "absolute"}[unit]]
    range_ = row["absolute_range" if unit == GIGA else "percent_range"] or {"low": None, "high": None}
    by_absolute = row["absolute"] is not None and row["absolute_range"] is not None
    call = row["call"] if by_absolute == (unit == GIGA) else ""
    return Value(line["name"], unit, number, text, low, high, range_["low"], range_["high"], call)


def _of_cbc(specimen: Mapping[str, Any], cbc: Mapping[str, Any] | None) -> dict[str, Value]:
    """The analyser's values; the WBC also where it was typed in."""
    amounts = {
        value["key"]: (value["amount"], _SIGNS.get(value["note"], ""))
        for value in (cbc or {}).get("values", [])
        if value["amount"] is not None
    }
    wbc = specimen["wbc"]
    if wbc and wbc["unit"] in GIGA_PER_L:
        amounts.setdefault("WBC", (wbc["value"] * GIGA_PER_L[wbc["unit"]], ""))
    found = {}
    for key, parameter in PARAMETERS.items():
        if key in amounts:
            amount, sign = amounts[key]
            unit = next(iter(CBC_UNITS[parameter.kind]))
            found[f"cbc.{key}"] = Value(parameter.name, unit, amount, f"{sign}{amount:g}")
    return found


def parameters_of(results: Iterable[Result]) -> dict[str, list[tuple[str, Value]]]:
    """Return what can be shown of some results, in groups: key, and one value that has its name and unit.

    A type that was never seen is left out.
    """
    groups: dict[str, dict[str, Value]] = {name: {} for name in (PERCENT, ABSOLUTE, BLOOD_COUNT)}
    for result in results:
        for key, value in result.values.items():
            name = BLOOD_COUNT if key.startswith("cbc.") else ABSOLUTE if value.unit == GIGA else PERCENT
            if value.number or key in groups[name] or key == FIRST_SHOWN:
                groups[name][key] = value
    return {name: list(values.items()) for name, values in groups.items() if values}
