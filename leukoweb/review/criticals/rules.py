"""Which values are critical, as a table that a laboratory edits, and which facts of a count meet it; it stores nothing.

A row limits a figure of the film, a value of the blood count or the grade of a finding, or names a flag. Every row
names its source.

References
----------
South Tees Hospitals NHS Foundation Trust, southtees.nhs.uk/services/pathology/haematology-lab/
classification-critical-results: neutrophils, platelets, haemoglobin.
Hakimi laboratory, hakimilab.com/hematology: blasts (first time or relapse only), acute promyelocytic leukaemia, WBC.
Codes of HL7 table 0078: https://terminology.hl7.org/CodeSystem/v2-0078.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypedDict

from django.utils.translation import gettext as _

from leukoweb.cases.cbc import OVER_RANGE, PARAMETERS, SIGNS, CbcValuePart, meets
from leukoweb.cases.cbc import UNITS as CBC_UNITS
from leukoweb.cases.wbc import NAMES
from leukoweb.review.counting.ages import FROM_BIRTH, Age, is_judged
from leukoweb.review.counting.differential import Differential
from leukoweb.review.counting.flag_rules import COMPARISONS, ITEMS, PATTERNS, UNITS, FlagRule, units_of
from leukoweb.review.counting.flags import Flag, figure_of, is_machine_only
from leukoweb.review.counting.table_checks import (
    Row,
    is_limit,
    problem_of_ages,
    problem_of_key,
    problem_of_table,
    problem_of_texts,
)
from leukoweb.review.counting.words import printed
from leukoweb.review.findings.table import GROUPS, PARASITES, amount_of
from leukoweb.review.findings.table import ITEMS as ITEMS_OF_FINDINGS
from leukoweb.sentences import translated

FLAG, FILM, CBC, FINDING = "flag", "film", "cbc", "finding"
# HL7 table 0078 and what each code means there.
CODES = {"AA": "critical abnormal", "HH": "critical high", "LL": "critical low"}
MOST_RULES, MOST_DAYS = 100, 3650
_SOUTH_TEES = "South Tees Hospitals NHS, classification of critical results"
_HAKIMI = "hakimilab.com/hematology"
_DAYS = "; the days are a starting value of this product"


class CriticalRule(TypedDict):
    """One limit: `subject` is one of `subjects`, `code` one of CODES; 0 days say every time."""

    key: str
    title: str
    subject: str
    comparison: str
    limit: float
    age_from: str
    age_under: str | None
    first_only_days: int
    may_except: bool
    code: str
    source: str


def _row(
    key: str, title: str, subject: str, comparison: str, limit: float, code: str, source: str, days: int = 0,
    *, may_except: bool = False,
) -> CriticalRule:  # fmt: skip
    return {
        "key": key, "title": title, "subject": subject, "comparison": comparison, "limit": limit,
        "age_from": FROM_BIRTH, "age_under": None, "first_only_days": days, "may_except": may_except, "code": code,
        "source": source,
    }  # fmt: skip


DEFAULTS: list[CriticalRule] = [
    _row("blasts", "Blasts", "film.blasts.cells", ">=", 1, "AA",
         f"{_HAKIMI}: blasts on the smear, first time or relapse only{_DAYS}", 30, may_except=True),
    _row("possible_apl", "Possible APL", "flag.possible_apl", ">=", 1, "AA", f"{_HAKIMI}: morphology findings"),
    _row("neutrophils_low", "Neutropenia", "film.neutrophils.10*9/L", "<", 0.5, "LL",
         f"{_SOUTH_TEES}: new patients{_DAYS}", 30, may_except=True),
    _row("platelets_low", "Platelets low", "cbc.PLT", "<", 20, "LL", f"{_SOUTH_TEES}: new patients{_DAYS}", 30,
         may_except=True),
    _row("haemoglobin_low", "Haemoglobin low", "cbc.HGB", "<", 75, "LL", _SOUTH_TEES),
    _row("wbc_high", "White blood cells high", "cbc.WBC", ">=", 100, "HH", f"{_HAKIMI}: upper alert{_DAYS}", 30),
]  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A value that meets a row of the table: what is kept of it as it was when it was detected.

    `figure` is the key of the figure of a result message that carries the code, "" for none; `codes` are the types of
    the cells.
    """

    key: str
    title: str
    sentence: str
    limit: str
    value: float | None
    unit: str
    code: str
    source: str
    figure: str
    codes: tuple[str, ...]
    is_machine_only: bool
    first_only_days: int
    may_except: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return JSON values."""
        return asdict(self) | {"codes": list(self.codes)}


def defaults() -> list[CriticalRule]:
    """Return a fresh copy of the table that a laboratory starts from."""
    return [row.copy() for row in DEFAULTS]


def subjects(flag_rules: list[FlagRule]) -> dict[str, str]:
    """Return what can be critical, subject to words: the flags of a laboratory, figures of the film, blood counts."""
    flags = {f"{FLAG}.{key}": _("Flag: %(name)s") % {"name": key.replace("_", " ")} for key in PATTERNS}
    flags |= {f"{FLAG}.{row['key']}": _("Flag: %(name)s") % {"name": row["key"].replace("_", " ")}
              for row in flag_rules}  # fmt: skip
    film = {
        f"{FILM}.{item}.{unit}": _("Film: %(name)s (%(unit)s)")
        % {"name": translated(many), "unit": translated(UNITS[unit])}
        for item, (_one, many, _codes) in ITEMS.items()
        for unit in units_of(item)
    }
    cbc = {
        f"{CBC}.{key}": _("Blood count: %(name)s (%(unit)s)")
        % {"name": translated(p.name), "unit": next(iter(CBC_UNITS[p.kind]))}
        for key, p in PARAMETERS.items()
    }
    names = {PARASITES: GROUPS[PARASITES].name} | {key: item.name for key, item in ITEMS_OF_FINDINGS.items()}
    findings = {
        f"{FINDING}.{key}": _("Finding: %(name)s (grade; seen is 1)") % {"name": translated(name)}
        for key, name in names.items()
    }
    return flags | film | cbc | findings


def facts_of(
    rows: list[CriticalRule],
    differential: Differential,
    flags: list[Flag],
    *,
    confirmed: Mapping[str, int],
    lya_meaning: str,
    cbc: list[CbcValuePart],
    age: Age | None,
    findings: Mapping[str, str] = MappingProxyType({}),
) -> list[Fact]:
    """Return the critical facts of a case, in the order of the table.

    Parameters
    ----------
    rows : list of CriticalRule
        The laboratory's table, checked.
    differential, flags : Differential, list of Flag
        Of the cells as they are labelled now.
    confirmed : mapping of str to int
        Cells by label that a person decided on.
    lya_meaning : str
        "abnormal" where the reader calls the atypical lymphocytes abnormal.
    cbc : list of CbcValuePart
        The values of the reported blood count (cases/cbc.py), and a WBC that a person entered.
    age : Age or None
    findings : mapping of str to str
        What is marked, key of the finding or group to value (findings/table.py).

    Returns
    -------
    list of Fact
        A row of certain ages is left out where the age is not known, unless it has no upper age: judged as an adult.
    """
    raised = {flag.key: flag for flag in flags}
    found = []
    for row in rows:
        if not is_judged(age, row["age_from"], row["age_under"]):
            continue
        kind, _dot, subject = row["subject"].partition(".")
        if kind == FLAG:
            fact = _of_flag(row, raised.get(subject))
        elif kind == FILM:
            fact = _of_film(row, subject, differential, confirmed, lya_meaning)
        elif kind == FINDING:
            fact = _of_finding(row, subject, findings.get(subject, ""))
        else:
            fact = _of_counts(row, subject, cbc)
        if fact:
            found.append(fact)
    return found


def facts_of_counts(rows: list[CriticalRule], cbc: list[CbcValuePart], *, age: Age | None) -> list[Fact]:
    """Return the critical facts of a blood count alone, in the order of the table."""
    own = [row for row in rows if row["subject"].startswith(f"{CBC}.")]
    own = [row for row in own if is_judged(age, row["age_from"], row["age_under"])]
    return [fact for row in own if (fact := _of_counts(row, row["subject"].partition(".")[2], cbc))]


def _of_counts(row: CriticalRule, subject: str, cbc: list[CbcValuePart]) -> Fact | None:
    facts = (_of_cbc(row, value) for value in cbc if value["key"] == subject)
    return next((fact for fact in facts if fact), None)


def _fact(row: CriticalRule, sentence: str, value: float | None, unit: str, **more: Any) -> Fact:
    limit = "" if row["subject"].startswith(f"{FLAG}.") else f"{COMPARISONS[row['comparison']]} {row['limit']:g}"
    return Fact(
        key=row["key"], title=row["title"], sentence=sentence, limit=limit, value=value, unit=unit, code=row["code"],
        source=row["source"], first_only_days=row["first_only_days"],
        may_except=row.get("may_except", False),
        **{"figure": "", "codes": (), "is_machine_only": False, **more},
    )  # fmt: skip


def _of_flag(row: CriticalRule, flag: Flag | None) -> Fact | None:
    if flag is None:
        return None
    return _fact(row, flag.report, None, "", codes=flag.codes, is_machine_only=flag.is_machine_only)


def _of_film(
    row: CriticalRule, subject: str, d: Differential, confirmed: Mapping[str, int], lya_meaning: str
) -> Fact | None:
    if d.is_empty:
        return None
    item, _dot, unit = subject.partition(".")
    value, codes = figure_of(item, unit, d, lya_meaning)
    if value is None or not SIGNS[row["comparison"]](value, row["limit"]):
        return None
    amount = f"{value:g}" if unit == "cells" else printed(value, 2)
    sentence = f"{ITEMS[item][1][0].upper()}{ITEMS[item][1][1:]}: {amount} {UNITS[unit]}."
    if unit == "cells":
        sentence = f"{sentence[:-1]} of {d.total} leukocytes."
    figure = "" if item in ("WBC", "left_shift") else item.removesuffix("_abnormal")
    if figure and unit == "10*9/L":
        figure += "#"
    return _fact(row, sentence, round(value, 3), unit, figure=figure, codes=codes,
                 is_machine_only=is_machine_only(codes, d, confirmed))  # fmt: skip


def _of_cbc(row: CriticalRule, value: CbcValuePart) -> Fact | None:
    if not meets(value["amount"], value["note"], row["comparison"], row["limit"]):
        return None
    parameter = PARAMETERS[value["key"]]
    unit = next(iter(CBC_UNITS[parameter.kind]))
    sent = OVER_RANGE if value["note"] == OVER_RANGE else f"{value['sent']} {NAMES.get(value['unit'], value['unit'])}"
    sentence = f"{parameter.name}: {sent} (analyser)."
    return _fact(row, sentence, value["amount"], unit)


def _of_finding(row: CriticalRule, subject: str, value: str) -> Fact | None:
    """A grade as a number; what was not marked or not looked for meets nothing."""
    grade = amount_of(subject, value)
    if grade is None or not SIGNS[row["comparison"]](grade, row["limit"]):
        return None
    known = GROUPS.get(subject) or ITEMS_OF_FINDINGS[subject]
    return _fact(row, f"{known.name}: {known.values[value]}.", grade, "")


def problem_of(rows: object, flag_rules: list[FlagRule]) -> str:
    """Return in an English sentence what is wrong with a table, or ""."""
    known = subjects(flag_rules)
    return problem_of_table(
        rows, CriticalRule, row="critical limit", most=MOST_RULES,
        problem_of_row=lambda row: _problem_of_row(row, known),
    )  # fmt: skip


def _problem_of_row(row: Row, known: Mapping[str, str]) -> str:
    if problem := problem_of_texts(row, {"key": 40, "title": 60, "source": 300}) or problem_of_key(row["key"]):
        return problem
    if row["subject"] not in known:
        return "choose what is limited; a flag that was removed cannot be critical."
    if row["comparison"] not in COMPARISONS or row["code"] not in CODES:
        return f"choose the comparison and one of the codes {', '.join(CODES)}."
    days = row["first_only_days"]
    if not isinstance(row["may_except"], bool):
        return "say yes or no whether a patient may be excepted."
    if not is_limit(row["limit"]):
        return "the limit must be a number from 0 to 100,000."
    if row["comparison"] == ">=" and row["limit"] == 0:
        return "at or above 0 is always met."
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_DAYS:
        return f"the days must be a whole number from 0 (every time) to {MOST_DAYS}."
    return problem_of_ages(row)
