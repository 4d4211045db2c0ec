"""Which change against the earlier result raises an alarm: rules that a laboratory enters, each with a source.

Pure functions of two results. No rule is shipped: no source with limits was at hand to be checked.

Notes
-----
A percentage of the film has changed only where the two exact intervals do not overlap (C2); its limit comes on top. A
value of an analyser that is a bound ("<10") is compared with nothing.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict

from detection.cell_types import BY_CODE
from leukoweb.cases.cbc import PARAMETERS
from leukoweb.cases.cbc import UNITS as CBC_UNITS
from leukoweb.review.counting.flag_rules import ITEMS
from leukoweb.review.counting.table_checks import Row, is_limit, problem_of_key, problem_of_table, problem_of_texts

if TYPE_CHECKING:
    from leukoweb.review.counting.values import Value  # which imports the rules

MIX_UP, CHANGE = "mix_up", "change"
ACTIONS = {MIX_UP: "possible sample mix-up", CHANGE: "change to be looked at"}
DIRECTIONS = {"any": "up or down", "up": "up", "down": "down"}
AMOUNT, SHARE = "amount", "percent"
MEASURES = {AMOUNT: "in its unit", SHARE: "% of the earlier value"}
MOST_RULES = 100
_SPAN = re.compile(r"([1-9]\d{0,3})([hd])")


class DeltaRule(TypedDict):
    """One change that raises an alarm: `limit` in the unit of the subject or in percent, `span` as in 72h or 30d."""

    key: str
    title: str
    subject: str
    direction: str
    limit: float
    measure: str
    span: str
    action: str
    source: str


def subjects() -> dict[str, tuple[str, str]]:
    """Return what can be compared: parameter to name and unit."""
    film = {}
    for code, cell_type in BY_CODE.items():
        for unit in ("%", "10*9/L") if cell_type.in_differential else ("per 100 WBC",):
            film[f"film.{code}.{unit}"] = (cell_type.label, unit)
    for key in ("neutrophils", "blasts", "promyelocytes"):
        film |= {f"film.{key}.{unit}": (ITEMS[key][1].capitalize(), unit) for unit in ("%", "10*9/L")}
    blood = {f"cbc.{key}": (p.name, next(iter(CBC_UNITS[p.kind]))) for key, p in PARAMETERS.items()}
    return blood | film


def span_of(text: str) -> timedelta:
    """Return a span such as 72h or 30d; ValueError where it is none."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is no span.")
    return timedelta(**{"hours" if found[2] == "h" else "days": int(found[1])})


def change_by(rule: DeltaRule, now: "Value", before: "Value") -> float | None:
    """Return by how much a figure changed, in its unit and with its sign; None where the rule is not met."""
    if rule["subject"].startswith("cbc.") and (now.text[0] in "<>" or before.text[0] in "<>"):
        return None
    change = now.number - before.number
    if not change or (rule["direction"] == "up" and change < 0) or (rule["direction"] == "down" and change > 0):
        return None
    ends = (now.low, now.high, before.low, before.high)
    if None not in ends and not (now.low > before.high or now.high < before.low):  # type: ignore[operator]
        return None
    size = abs(change)
    if rule["measure"] == SHARE:
        size = size / before.number * 100 if before.number else float("inf")
    return change if size >= rule["limit"] - 1e-9 else None


def problem_of(rules: object) -> str:
    """Return in a sentence what is wrong with a table of rules, or ""."""
    known = subjects()
    return problem_of_table(
        rules, DeltaRule, row="delta rule", most=MOST_RULES, problem_of_row=lambda rule: _problem(rule, known)
    )


def _problem(rule: Row, known: Mapping[str, object]) -> str:
    if problem := problem_of_texts(rule, {"key": 40, "title": 60, "source": 300}) or problem_of_key(rule["key"]):
        return problem
    if rule["subject"] not in known:
        return "choose what is compared."
    for name, choices in (("direction", DIRECTIONS), ("measure", MEASURES), ("action", ACTIONS)):
        if rule[name] not in choices:
            return f"the {name} must be one of {', '.join(choices)}."
    if not is_limit(rule["limit"]):
        return "the limit must be a number from 0 to 100,000."
    if rule["limit"] == 0 and not rule["subject"].endswith(".%"):
        return "0 is a limit of percentages of the film only, where the intervals decide."
    if not isinstance(rule["span"], str) or not _SPAN.fullmatch(rule["span"]):
        return "write the span as 72h or 30d."
    return ""
