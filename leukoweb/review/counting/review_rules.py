"""Why a blood count needs a film: rules that a laboratory enters, each with a case that meets it and one that does not.

Pure functions of values and texts. No rule is shipped: the 41 rules of the consensus group (Barnes and others,
Laboratory Hematology 2005;11:83-90) are a laboratory's to enter, for their text was not at hand to be checked.

Notes
-----
A condition is a list of parts joined by "and", a case a list of parts joined by commas:

| part | of a condition | of a case |
|---|---|---|
| value of the analyser, in 10*9/L, 10*12/L, g/L, %, fL, pg | `WBC < 4`, `HGB >= 180` | `WBC 3.2` |
| percentage of the film | `film:MON > 10` | `film:MON 12` |
| mark beside a value | `PLT doubtful`, `PLT over range`, `PLT not measured` | the same |
| suspicion of the analyser, part of its words | `flag "Blasts"` | the same |
| no report of the patient was signed before | `first time` | the same |
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.cell_types import BY_CODE
from leukoweb.cases.cbc import NOT_MEASURED, OVER_RANGE, PARAMETERS, meets
from leukoweb.review.counting.ages import Age, is_judged
from leukoweb.review.counting.table_checks import problem_of_ages, problem_of_table, problem_of_texts

ACTIONS = {
    "film": "make a film", "rerun": "run again", "pathologist": "pathologist reviews", "critical": "critical value",
}  # fmt: skip
FIELDS = ("key", "title", "when", "action", "sex", "age_from", "age_under", "true_case", "false_case", "source")
MOST_RULES = 100
MARKS = {"doubtful": "doubtful", "over range": OVER_RANGE, "not measured": NOT_MEASURED}
FIRST = "first time"
_NAME = r"(?P<name>film:[A-Z]{3}|[A-Z]+[%#]?)"
_NUMBER = r"(?P<number>\d{1,6}(?:\.\d{1,4})?)"
_COMPARED = re.compile(rf"{_NAME}\s*(?P<sign><=|>=|<|>)\s*{_NUMBER}")
_VALUE = re.compile(rf"{_NAME}\s+{_NUMBER}")
_MARKED = re.compile(rf"{_NAME}\s+(?P<mark>{'|'.join(MARKS)})")
_FLAG = re.compile(r'flag\s+"(?P<words>[^",]{1,60})"')


@dataclass(frozen=True)
class Facts:
    """What a rule looks at: amounts in the first unit of each kind, percentages of the film, marks, suspicions."""

    values: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    is_first: bool = False


@dataclass(frozen=True)
class Reason:
    """A rule that is met, and by what."""

    title: str
    action: str
    words: str
    source: str


def reasons_for(rules: list[dict[str, Any]], facts: Facts, *, age: Age | None, sex: str) -> list[Reason]:
    """Return why a film is wanted: every rule that is for this person and is met, in the order of the table."""
    return [
        Reason(rule["title"], ACTIONS[rule["action"]], words, rule["source"])
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
        return part if facts.marks.get(match["name"]) == MARKS[match["mark"]] else ""
    if match := _FLAG.fullmatch(part):
        return next((flag for flag in facts.flags if match["words"].casefold() in flag.casefold()), "")
    return FIRST if part == FIRST and facts.is_first else ""


def facts_of(case: str) -> Facts | None:
    """Read a case of the table; None where it is none."""
    values, marks, flags, is_first = {}, {}, [], False
    for part in filter(None, map(str.strip, case.split(","))):
        if match := _VALUE.fullmatch(part):
            values[match["name"]] = float(match["number"])
        elif match := _MARKED.fullmatch(part):
            marks[match["name"]] = MARKS[match["mark"]]
        elif match := _FLAG.fullmatch(part):
            flags.append(match["words"])
        elif part == FIRST:
            is_first = True
        else:
            return None
    return None if _unknown_name(case) else Facts(values, marks, tuple(flags), is_first)


def problem_of(rules: object) -> str:
    """Return in a sentence what is wrong with a table of rules, or ""."""
    return problem_of_table(rules, row="review rule", fields=FIELDS, most=MOST_RULES, problem_of_row=_problem_of_rule)


def _problem_of_rule(rule: dict[str, Any]) -> str:
    limits = {"key": 40, "title": 60, "when": 300, "true_case": 300, "false_case": 300, "source": 300}
    if problem := problem_of_texts(rule, limits):
        return problem
    if rule["action"] not in ACTIONS or rule["sex"] not in ("any", "F", "M"):
        return f"the action is one of {', '.join(ACTIONS)}, the sex any, F or M."
    if problem := problem_of_ages(rule):
        return problem
    for part in map(str.strip, rule["when"].split(" and ")):
        if not (part == FIRST or any(form.fullmatch(part) for form in (_COMPARED, _MARKED, _FLAG))):
            return f'“{part[:60]}” is no part of a condition, such as WBC < 4, PLT doubtful, flag "Blasts", {FIRST}.'
    if unknown := _unknown_name(rule["when"]):
        return f"{unknown} is no parameter of a blood count and no cell type of a film."
    true, false = facts_of(rule["true_case"]), facts_of(rule["false_case"])
    if true is None or false is None:
        return 'write the cases as values with commas between them, such as WBC 3.2, flag "Blasts".'
    if not met_by(rule["when"], true):
        return "its true case does not meet it."
    if met_by(rule["when"], false):
        return "its false case meets it."
    return ""


def _unknown_name(text: str) -> str:
    """The first name of a condition or case that is no parameter or cell type; "" where all are."""
    plain = _FLAG.sub("", text)
    names = re.findall(r"film:[A-Z]{3}|[A-Z]+[%#]?", plain)
    known = {*PARAMETERS, *(f"film:{code}" for code in BY_CODE)}
    return next((name for name in names if name not in known), "")
