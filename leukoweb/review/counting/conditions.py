"""Conditions over a blood count, a film, its findings and earlier results, as a laboratory writes them; pure.

Review rules and suggestions are made of them. Each rule carries a case that meets its condition and one that does not.

Notes
-----
A condition is a list of parts joined by "and", a case a list of parts joined by commas:

| part | of a condition | of a case |
|---|---|---|
| value of the analyser, in 10*9/L, 10*12/L, g/L, %, fL, pg | `WBC < 4`, `HGB >= 180` | `WBC 3.2` |
| percentage of the film (NRBC, smudge cells: per 100) | `film:MON > 10`, `film:blasts >= 5` | `film:MON 12` |
| absolute count of the film, 10*9/L; cells counted | `film:neutrophils# > 7`, `film:total < 100` | `film:total 60` |
| the film against the laboratory's own range, beyond its interval | `film:EOS# high`, `film:LYT low` | the same |
| percentage in the person's last signed result | `previous:film:blasts > 0` | `previous:film:blasts 3` |
| grade of a finding; seen is 1, not seen or normal is 0 | `finding:schistocytes >= 2` | `finding:schistocytes 2` |
| mark beside a value | `PLT doubtful`, `PLT over range`, `PLT not measured` | the same |
| suspicion of the analyser, part of its words | `flag "Blasts"` | the same |
| flag of the film, its title | `film flag "Left shift"` | the same |
| no report of the patient was signed before | `first time` | the same |
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

from detection.cell_types import BY_CODE
from leukoweb.cases.cbc import NOT_MEASURED, OVER_RANGE, PARAMETERS, CbcValuePart, meets
from leukoweb.review.counting.ages import Age, is_judged
from leukoweb.review.counting.groups import GROUPS
from leukoweb.review.counting.parts import DifferentialPart
from leukoweb.review.findings.table import GROUPS as FINDING_GROUPS
from leukoweb.review.findings.table import ITEMS as FINDINGS

FILM = (*BY_CODE, *GROUPS)
MARKS = {"doubtful": "doubtful", "over range": OVER_RANGE, "not measured": NOT_MEASURED}
CALLS = ("high", "low")
FIRST = "first time"
OF_COUNT = frozenset(
    {*PARAMETERS, "film:total", *(f"film:{key}" for key in FILM), *(f"film:{key}#" for key in FILM)}
)  # fmt: skip
EVERYTHING = OF_COUNT | {
    *(f"previous:film:{key}" for key in FILM), *(f"finding:{key}" for key in (*FINDINGS, *FINDING_GROUPS))
}  # fmt: skip
_NAMES = r"(?:previous:)?film:[A-Za-z]+#?|finding:[a-z_]+|[A-Z]+[%#]?"
_NAME = rf"(?P<name>{_NAMES})"
_NUMBER = r"(?P<number>\d{1,6}(?:\.\d{1,4})?)"
_COMPARED = re.compile(rf"{_NAME}\s*(?P<sign><=|>=|<|>)\s*{_NUMBER}")
_VALUE = re.compile(rf"{_NAME}\s+{_NUMBER}")
_MARKED = re.compile(rf"{_NAME}\s+(?P<mark>{'|'.join((*MARKS, *CALLS))})")
_FLAG = re.compile(r'(?P<film>film\s+)?flag\s+"(?P<words>[^",]{1,60})"')


@dataclass(frozen=True)
class Facts:
    """What a condition looks at: amounts in the first unit of each kind, marks and calls beside them, flags."""

    values: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    film_flags: tuple[str, ...] = ()
    is_first: bool = False


class ConditionRule(TypedDict):
    """A rule for persons of a sex and an age, with its condition, a case that meets it and one that does not."""

    key: str
    title: str
    when: str
    sex: str
    age_from: str
    age_under: str | None
    true_case: str
    false_case: str
    source: str


AnyRule = TypeVar("AnyRule", bound=ConditionRule)


def film_facts(differential: DifferentialPart) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values of a film, `Differential.as_dict()`, by name, and its calls that the interval leaves no doubt.

    A call is that of the absolute count where a range of absolute counts applied.
    """
    values: dict[str, float] = {"film:total": differential["total"]}
    calls = {}
    for row in (*differential["rows"], *differential["groups"].values()):
        name, share = f"film:{row['key']}", row["per_100"] if row["percent"] is None else row["percent"]
        if share is not None:
            values[name] = share
        if row["absolute"] is not None:
            values[f"{name}#"] = row["absolute"]
        if row["call"] and row["is_call_certain"]:
            by_absolute = row["absolute"] is not None and row["absolute_range"] is not None
            calls[f"{name}#" if by_absolute else name] = row["call"]
    return values, calls


def cbc_facts(values: Collection[CbcValuePart]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values of a blood count (cases/cbc.py) by name, and the marks beside them."""
    amounts = {value["key"]: amount for value in values if (amount := value["amount"]) is not None}
    return amounts, {value["key"]: value["note"] for value in values if value["note"]}


def met_rules(rules: list[AnyRule], facts: Facts, *, age: Age | None, sex: str) -> list[tuple[AnyRule, str]]:
    """Return each rule of a table that is for this person and is met, with what meets it."""
    return [
        (rule, words)
        for rule in rules
        if is_judged(age, rule["age_from"], rule["age_under"])
        and rule["sex"] in ("any", sex)
        and (words := met_by(rule["when"], facts))
    ]


def met_by(condition: str, facts: Facts) -> str:
    """Return what of a case meets a condition, such as "WBC 3.2 < 4"; "" where not every part is met."""
    found = [_part_met(part.strip(), facts) for part in condition.split(" and ")]
    return ", ".join(found) if all(found) else ""


def _part_met(part: str, facts: Facts) -> str:
    if match := _COMPARED.fullmatch(part):
        value, note = facts.values.get(match["name"]), facts.marks.get(match["name"], "")
        if not meets(value, note, match["sign"], float(match["number"])):
            return ""
        return f"{match['name']} {note if value is None else f'{value:g}'} {match['sign']} {match['number']}"
    if match := _MARKED.fullmatch(part):
        mark = match["mark"]
        return part if facts.marks.get(match["name"]) == MARKS.get(mark, mark) else ""
    if match := _FLAG.fullmatch(part):
        words = match["words"].casefold()
        if match["film"]:
            return next((part for title in facts.film_flags if words == title.casefold()), "")
        return next((flag for flag in facts.flags if words in flag.casefold()), "")
    return FIRST if part == FIRST and facts.is_first else ""


def facts_of(case: str, known: Collection[str] = EVERYTHING) -> Facts | None:
    """Read a case of a table; None where it is none."""
    values, marks, is_first = {}, {}, False
    flags: dict[bool, list[str]] = {True: [], False: []}
    for part in filter(None, map(str.strip, case.split(","))):
        if match := _VALUE.fullmatch(part):
            values[match["name"]] = float(match["number"])
        elif (match := _MARKED.fullmatch(part)) and _may_be_marked(match):
            marks[match["name"]] = MARKS.get(match["mark"], match["mark"])
        elif match := _FLAG.fullmatch(part):
            flags[bool(match["film"])].append(match["words"])
        elif part == FIRST:
            is_first = True
        else:
            return None
    if _unknown_name(case, known):
        return None
    return Facts(values, marks, tuple(flags[False]), tuple(flags[True]), is_first)


def problem_of_condition(rule: Mapping[str, Any], known: Collection[str]) -> str:
    """Return what is wrong with the `when` of a rule and its two cases, or ""; `known` names what may be compared."""
    for part in map(str.strip, rule["when"].split(" and ")):
        if not (part == FIRST or any(form.fullmatch(part) for form in (_COMPARED, _MARKED, _FLAG))):
            return f'“{part[:60]}” is no part of a condition, such as WBC < 4, PLT doubtful, flag "Blasts", {FIRST}.'
        if (match := _MARKED.fullmatch(part)) and not _may_be_marked(match):
            return f"“{part[:60]}” can never be: only the film is compared with ranges, only a count has marks."
    if unknown := _unknown_name(rule["when"], known):
        return f"{unknown} is no parameter of a blood count and no cell type of a film."
    true, false = facts_of(rule["true_case"], known), facts_of(rule["false_case"], known)
    if true is None or false is None:
        return 'write the cases as values with commas between them, such as WBC 3.2, flag "Blasts".'
    if not met_by(rule["when"], true):
        return "its true case does not meet it."
    if met_by(rule["when"], false):
        return "its false case meets it."
    return ""


def _may_be_marked(match: re.Match[str]) -> bool:
    """Say whether a name can have a mark: the film is called by ranges, a count is marked by its analyser."""
    return match["name"].startswith("film:") == (match["mark"] in CALLS)


def _unknown_name(text: str, known: Collection[str]) -> str:
    """The first name of a condition or case that is not known; "" where all are."""
    return next((name for name in re.findall(_NAMES, _FLAG.sub("", text)) if name not in known), "")
