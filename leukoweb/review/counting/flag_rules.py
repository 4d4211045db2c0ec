"""The limits at which a differential raises a flag, as a table that a laboratory edits; it counts nothing.

Each row is one limit with its source. Of the rows under one title that are met, the last of the gravest is the flag:
blasts at 20 % are one flag, not three.

References
----------
Criteria for pathologist review: medicalalgorithms.com/criteria-for-pathologist-review-of-peripheral-smear-test.
Children: Davis's Laboratory and Diagnostic Tests, labdxtest.com, "White Blood Cell Count and Differential".
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from leukoweb.review.counting.ages import FROM_BIRTH, days_of
from leukoweb.review.counting.table_checks import (
    Row,
    is_limit,
    problem_of_ages,
    problem_of_key,
    problem_of_table,
    problem_of_texts,
)

URGENT, REVIEW, NOTE = "urgent", "review", "note"
SEVERITIES = {URGENT: "urgent", REVIEW: "pathologist reviews", NOTE: "note"}
COMPARISONS = {">=": "at or above", ">": "above", "<=": "at or below", "<": "below"}
UNITS = {"cells": "cells counted", "%": "%", "per 100 WBC": "per 100 WBC", "10*9/L": "× 10⁹/L"}
# What can be limited: (singular, plural, codes). LYA_abnormal are the atypical lymphocytes of a case whose reader calls
# them abnormal; the codes of a left shift follow the policy on bands (flags.py).
ITEMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "blasts": ("blast", "blasts", ("MYO", "MOB")),
    "promyelocytes": ("promyelocyte", "promyelocytes", ("PMO", "PMB")),
    "neutrophils": ("neutrophil", "neutrophils", ("NGS", "NGB")),
    "lymphocytes": ("lymphocyte", "lymphocytes", ("LYT", "LYA")),
    "left_shift": ("immature neutrophil", "immature neutrophils", ("MMZ", "MYB", "PMO")),
    "LYA": ("atypical lymphocyte", "atypical lymphocytes", ("LYA",)),
    "LYA_abnormal": ("abnormal lymphocyte", "abnormal lymphocytes", ("LYA",)),
    "MON": ("monocyte", "monocytes", ("MON",)),
    "EOS": ("eosinophil", "eosinophils", ("EOS",)),
    "BAS": ("basophil", "basophils", ("BAS",)),
    "NGB": ("band neutrophil", "band neutrophils", ("NGB",)),
    "MMZ": ("metamyelocyte", "metamyelocytes", ("MMZ",)),
    "MYB": ("myelocyte", "myelocytes", ("MYB",)),
    "PMO": ("promyelocyte", "promyelocytes", ("PMO",)),
    "PMB": ("bilobed promyelocyte", "bilobed promyelocytes", ("PMB",)),
    "MYO": ("myeloblast", "myeloblasts", ("MYO",)),
    "MOB": ("monoblast", "monoblasts", ("MOB",)),
    "EBO": ("nucleated red cell", "nucleated red cells", ("EBO",)),
    "KSC": ("smudge cell", "smudge cells", ("KSC",)),
    "WBC": ("white cell count", "WBC", ()),
}
_UNITS_OF = {"WBC": ("10*9/L",), "EBO": ("cells", "per 100 WBC"), "KSC": ("cells", "per 100 WBC", "10*9/L")}
# Flags that weigh several types and have no row here.
PATTERNS = ("possible_apl", "maturation_gap")
MOST_RULES = 100


class FlagRule(TypedDict):
    """One limit: of an item of ITEMS in a unit of UNITS; `bench` and `report` are said behind the flag's sentence."""

    key: str
    title: str
    item: str
    unit: str
    comparison: str
    limit: float
    sex: str
    age_from: str
    age_under: str | None
    severity: str
    bench: str
    report: str
    source: str


_REVIEW = "medicalalgorithms.com, criteria for pathologist review of a peripheral smear"
_CHILDREN = "Davis's Laboratory and Diagnostic Tests, labdxtest.com, white blood cell count and differential"
_PATHOLOGIST = "The pathologist must review."


def _row(
    key: str,
    title: str,
    item: str,
    unit: str,
    comparison: str,
    limit: float,
    severity: str,
    source: str,
    *,
    bench: str = "",
    age_from: str = FROM_BIRTH,
    age_under: str | None = None,
) -> FlagRule:
    if not bench and severity != NOTE:
        bench = _PATHOLOGIST
    return {
        "key": key, "title": title, "item": item, "unit": unit, "comparison": comparison, "limit": limit, "sex": "any",
        "age_from": age_from, "age_under": age_under, "severity": severity, "bench": bench, "report": "",
        "source": source,
    }  # fmt: skip


DEFAULTS: list[FlagRule] = [
    _row("blasts", "Blasts", "blasts", "cells", ">=", 1, URGENT, f"{_REVIEW}, item 8: leukemic cells present"),
    _row("blasts_first_limit", "Blasts", "blasts", "%", ">=", 5, URGENT,
         "Taylor & Francis, doi 10.1201/9781498712965, chapter 2: 5 % or more is rare without a neoplasm"),
    _row("blasts_second_limit", "Blasts", "blasts", "%", ">=", 20, URGENT,
         "haematologyetc.co.uk and bloodref.com on WHO's classification: acute myeloid leukemia from 20 %"),
    _row("promyelocytes", "Promyelocytes", "promyelocytes", "cells", ">=", 1, REVIEW,
         f"{_REVIEW}, item 9: atypical myeloid cells"),
    _row("abnormal_lymphocytes", "Abnormal lymphocytes", "LYA_abnormal", "cells", ">=", 1, REVIEW,
         f"{_REVIEW}, item 8: lymphoma cells present"),
    _row("atypical_lymphocytes", "Atypical lymphocytes", "LYA", "%", ">", 5, REVIEW, f"{_REVIEW}, item 7"),
    _row("neutrophilia", "Neutrophilia", "neutrophils", "10*9/L", ">", 20, REVIEW, f"{_REVIEW}, item 1"),
    _row("neutropenia", "Neutropenia", "neutrophils", "10*9/L", "<", 1.5, REVIEW, f"{_REVIEW}, item 2"),
    _row("neutropenia_severe", "Neutropenia", "neutrophils", "10*9/L", "<", 0.5, URGENT,
         "ASCO and IDSA 2018, doi 10.1200/jco.18.00374: severe below 500 per microlitre"),
    _row("lymphocytosis", "Lymphocytosis", "lymphocytes", "10*9/L", ">", 10, REVIEW, f"{_REVIEW}, item 3",
         age_from="2y"),
    _row("lymphocytosis_infant", "Lymphocytosis", "lymphocytes", "10*9/L", ">", 10.7, REVIEW,
         f"{_CHILDREN}: upper end at 1 to 23 months", age_under="2y"),
    _row("monocytosis", "Monocytosis", "MON", "10*9/L", ">", 2, REVIEW, f"{_REVIEW}, item 4"),
    _row("eosinophilia", "Eosinophilia", "EOS", "10*9/L", ">", 1, REVIEW, f"{_REVIEW}, item 5"),
    _row("basophilia", "Basophilia", "BAS", "10*9/L", ">", 1, REVIEW, f"{_REVIEW}, item 6"),
    _row("leukopenia", "Leukopenia", "WBC", "10*9/L", "<", 2, NOTE,
         "Whole-film counting found blasts in 17 of 17 leukopenic cases, 200 cells in 9 of 17: PMC12619778; limit: "
         "alarm value of lmhslab.testcatalog.org/show/CBC",
         bench="Scan the whole film for blasts."),
    _row("left_shift", "Left shift", "left_shift", "%", ">", 10, NOTE,
         "Starting value of this product; bands count only where the laboratory reports them (CAP survey: between "
         "laboratories they vary by 55.8 %)"),
    _row("erythroblasts", "Nucleated red cells", "EBO", "per 100 WBC", ">=", 5, NOTE,
         "ormedmedical.us, insulin-resistance/table-201-o-estimated-wbc-count: the WBC is corrected above 5 per 100"),
    _row("smudge_cells", "Smudge cells", "KSC", "per 100 WBC", ">", 10, NOTE,
         "Gulati 2016, doi 10.1093/ajcp/aqw151.021: many smudge cells make a count unreliable without albumin; the "
         "number is a starting value of this product",
         bench="Make a film with albumin and count that."),
]  # fmt: skip

# Before version 1.3 these limits were single rules.
OLD_LIMITS = {
    "blasts_first_limit": "blasts_first_limit",
    "blasts_second_limit": "blasts_second_limit",
    "lya_limit": "atypical_lymphocytes",
    "left_shift_limit": "left_shift",
    "nrbc_limit": "erythroblasts",
}


def units_of(item: str) -> tuple[str, ...]:
    """Return the units in which an item is limited."""
    return _UNITS_OF.get(item, ("cells", "%", "10*9/L"))


def defaults() -> list[FlagRule]:
    """Return a fresh copy of the table that a laboratory starts from."""
    return [row.copy() for row in DEFAULTS]


def with_old_limits(limits: Mapping[str, Any]) -> list[FlagRule]:
    """Return the default table with the limits that a laboratory had set before there was a table."""
    changed = {OLD_LIMITS[name]: limit for name, limit in limits.items()}
    return [{**row, "limit": changed.get(row["key"], row["limit"])} for row in DEFAULTS]


def problem_of(rows: object) -> str:
    """Return in a sentence what is wrong with a table, or ""."""
    problem = problem_of_table(rows, FlagRule, row="flag limit", most=MOST_RULES, problem_of_row=_problem_of_row)
    if problem or not isinstance(rows, list):
        return problem
    for number, row in enumerate(rows, 1):
        for other in rows[: number - 1]:
            if _compete(other, row) and not _is_farther(row, other):
                return (
                    f"Flag limit {number} ({row['title']}): the limits under one title must go outward, the gravest "
                    f"last; {row['limit']:g} must lie beyond {other['limit']:g}."
                )
    return ""


def _problem_of_row(row: Row) -> str:
    if problem := problem_of_texts(row, {"key": 40, "title": 60, "source": 300}) or problem_of_key(row["key"]):
        return problem
    if row["key"] in PATTERNS:
        return f"the id must not be one of {', '.join(PATTERNS)}."
    if any(not isinstance(row[name], str) or len(row[name]) > 300 for name in ("bench", "report")):
        return "the sentences must be texts of at most 300 characters."
    for name, known in (("item", ITEMS), ("unit", UNITS), ("comparison", COMPARISONS), ("severity", SEVERITIES)):
        if row[name] not in known:
            return f"the {name} must be one of {', '.join(known)}."
    if row["sex"] not in ("any", "F", "M"):
        return "the sex must be any, F or M."
    units = units_of(row["item"])
    if row["unit"] not in units:
        return f"{ITEMS[row['item']][1]} are limited in {' or '.join(units)}."
    if not is_limit(row["limit"], 100 if row["unit"] == "%" else 100_000):
        return "the limit must be a number, zero or more, and at most 100 where it is a percentage."
    if row["comparison"] == ">=" and row["limit"] == 0:
        return "at or above 0 is always met."
    return problem_of_ages(row)


def _compete(one: FlagRule, other: FlagRule) -> bool:
    """Say whether two rows of one title limit the same figure of the same person."""
    return (
        (one["title"], one["item"], one["unit"]) == (other["title"], other["item"], other["unit"])
        and (one["sex"] == other["sex"] or "any" in (one["sex"], other["sex"]))
        and one["comparison"][0] == other["comparison"][0]
        and days_of(one["age_from"]) < days_of(other["age_under"])
        and days_of(other["age_from"]) < days_of(one["age_under"])
    )


def _is_farther(row: FlagRule, before: FlagRule) -> bool:
    return row["limit"] > before["limit"] if row["comparison"][0] == ">" else row["limit"] < before["limit"]
