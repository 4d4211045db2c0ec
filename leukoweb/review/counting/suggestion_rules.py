"""Which phrases are proposed for the interpretation: rules of a laboratory, each a condition with two cases and a text.

Pure functions of values and texts. What is shipped says in words what the table of the same report says in figures, by
the laboratory's own ranges and flag limits; it never names a disease (S11).
"""

from collections.abc import Collection
from dataclasses import dataclass

from django.utils.translation import gettext, gettext_noop

from leukoweb.cases.cbc import CbcValuePart
from leukoweb.review.counting.ages import FROM_BIRTH, Age
from leukoweb.review.counting.conditions import EVERYTHING, ConditionRule, Facts, met_rules, problem_of_condition
from leukoweb.review.counting.parts import DifferentialPart
from leukoweb.review.counting.phrases import filled, unknown_places
from leukoweb.review.counting.table_checks import (
    Row,
    problem_of_ages,
    problem_of_key,
    problem_of_table,
    problem_of_texts,
)

MOST_RULES, MOST_TEXT = 100, 200
_RANGES, _LIMITS = "the laboratory's own reference ranges", "the laboratory's own flag limits"
_COUNTED, _MARKED = "what was counted", "what a reader marked"


class SuggestionRule(ConditionRule):
    """Which phrase is proposed."""

    text: str


def _row(key: str, title: str, when: str, text: str, source: str, *, true: str = "", false: str) -> SuggestionRule:
    return {
        "key": key, "title": title, "when": when, "text": text, "sex": "any", "age_from": FROM_BIRTH,
        "age_under": None, "true_case": true or when, "false_case": false, "source": source,
    }  # fmt: skip


def _by_range(key: str, title: str, name: str, call: str, text: str) -> SuggestionRule:
    false = f"film:{name}# {'low' if call == 'high' else 'high'}"
    return _row(key, title, f"film:{name}# {call}", text, _RANGES, false=false)


DEFAULTS = [
    _row("blasts", "Blasts", "film:blasts > 0", gettext_noop("Blasts {blasts}% of {total} leukocytes."), _COUNTED,
         true="film:blasts 23", false="film:blasts 0"),
    _row("promyelocytes", "Promyelocytes", "film:promyelocytes > 0", gettext_noop("Promyelocytes {promyelocytes}%."),
         _COUNTED, true="film:promyelocytes 2", false="film:promyelocytes 0"),
    _row("left_shift", "Left shift", 'film flag "Left shift"',
         gettext_noop("Left shift: metamyelocytes {MMZ}%, myelocytes {MYB}%."), _LIMITS, false='film flag "Blasts"'),
    _row("nucleated_red_cells", "Nucleated red cells", 'film flag "Nucleated red cells"',
         gettext_noop("Nucleated red cells {EBO} per 100 leukocytes."), _LIMITS, false='film flag "Blasts"'),
    _row("smudge_cells", "Smudge cells", 'film flag "Smudge cells"',
         gettext_noop("Smudge cells {KSC} per 100 leukocytes."), _LIMITS, false='film flag "Blasts"'),
    _by_range("neutrophilia", "Neutrophilia", "neutrophils", "high",
              gettext_noop("Absolute neutrophilia, {neutrophils#} × 10⁹/L.")),
    _by_range("neutropenia", "Neutropenia", "neutrophils", "low",
              gettext_noop("Absolute neutropenia, {neutrophils#} × 10⁹/L.")),
    _by_range("lymphocytosis", "Lymphocytosis", "LYT", "high", gettext_noop("Lymphocytosis, {LYT#} × 10⁹/L.")),
    _by_range("lymphopenia", "Lymphopenia", "LYT", "low", gettext_noop("Lymphopenia, {LYT#} × 10⁹/L.")),
    _by_range("monocytosis", "Monocytosis", "MON", "high", gettext_noop("Monocytosis, {MON#} × 10⁹/L.")),
    _by_range("eosinophilia", "Eosinophilia", "EOS", "high", gettext_noop("Eosinophilia, {EOS#} × 10⁹/L.")),
    _by_range("basophilia", "Basophilia", "BAS", "high", gettext_noop("Basophilia, {BAS#} × 10⁹/L.")),
    _row("platelet_clumps", "Platelet clumps", "finding:platelet_clumps >= 1",
         gettext_noop("Platelet clumps on the film."), _MARKED, true="finding:platelet_clumps 2",
         false="finding:platelet_clumps 0"),
    _row("parasites", "Parasites", "finding:parasites >= 1", gettext_noop("Parasites seen."), _MARKED,
         true="finding:parasites 1", false="finding:parasites 0"),
]  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A phrase that a rule proposes for one case, and what meets the rule."""

    key: str
    title: str
    text: str
    because: str
    source: str


def defaults() -> list[SuggestionRule]:
    """Return a fresh copy of the table that a laboratory starts from."""
    return [row.copy() for row in DEFAULTS]


def proposals_of(
    rules: list[SuggestionRule],
    facts: Facts,
    differential: DifferentialPart,
    cbc: Collection[CbcValuePart],
    *,
    decimals: int,
    age: Age | None,
    sex: str,
) -> list[Proposal]:
    """Return the phrases for a case in the order of the table, in the active language; one that lacks a figure is none.

    Parameters
    ----------
    rules : list of SuggestionRule
        The laboratory's table, checked.
    facts : Facts
    differential : DifferentialPart
    cbc : collection of CbcValuePart
        The values of the blood count.
    decimals : int
        Of percentages.
    age : Age or None
    sex : str
    """
    return [
        Proposal(rule["key"], rule["title"], text, words, rule["source"])
        for rule, words in met_rules(rules, facts, age=age, sex=sex)
        if "{" not in (text := filled(gettext(rule["text"]), differential, decimals, cbc))
    ]


def problem_of(rules: object) -> str:
    """Return in a sentence what is wrong with a table of rules, or ""."""
    return problem_of_table(
        rules, SuggestionRule, row="suggestion rule", most=MOST_RULES, problem_of_row=_problem_of_rule
    )  # fmt: skip


def _problem_of_rule(rule: Row) -> str:
    limits = {"key": 40, "title": 60, "when": 300, "text": MOST_TEXT, "true_case": 300, "false_case": 300,
              "source": 300}  # fmt: skip
    if problem := problem_of_texts(rule, limits) or problem_of_key(rule["key"]):
        return problem
    if unknown := unknown_places(rule["text"]):
        return f"there is no figure for {{{unknown[0]}}}."
    if rule["text"] != " ".join(rule["text"].split()):
        return "write the text in one line."
    if rule["sex"] not in ("any", "F", "M"):
        return "the sex must be any, F or M."
    return problem_of_ages(rule) or problem_of_condition(rule, EVERYTHING)
