"""Why a blood count needs a film: rules that a laboratory enters, each a condition with two cases (conditions.py).

Pure functions of values and texts. None is in force by itself (see review_rules_offered.py). The 41 rules of the
consensus group (Barnes and others, Laboratory Hematology 2005;11:83-90) are a laboratory's to enter, for their text
was not at hand to be checked.
"""

from dataclasses import dataclass

from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.conditions import OF_COUNT, ConditionRule, Facts, met_rules, problem_of_condition
from leukoweb.review.counting.table_checks import Row, problem_of_ages, problem_of_table, problem_of_texts

ACTIONS = {
    "film": "make a film", "rerun": "run again", "pathologist": "pathologist reviews", "critical": "critical value",
}  # fmt: skip
MOST_RULES = 100


class ReviewRule(ConditionRule):
    """Why a film is wanted, and what is to be done."""

    action: str


@dataclass(frozen=True)
class Reason:
    """A rule that is met, and by what."""

    title: str
    action: str
    words: str
    source: str


def reasons_for(rules: list[ReviewRule], facts: Facts, *, age: Age | None, sex: str) -> list[Reason]:
    """Return why a film is wanted: every rule that is for this person and is met, in the order of the table."""
    return [
        Reason(rule["title"], ACTIONS[rule["action"]], words, rule["source"])
        for rule, words in met_rules(rules, facts, age=age, sex=sex)
    ]


def problem_of(rules: object) -> str:
    """Return in a sentence what is wrong with a table of rules, or ""."""
    return problem_of_table(rules, ReviewRule, row="review rule", most=MOST_RULES, problem_of_row=_problem_of_rule)


def _problem_of_rule(rule: Row) -> str:
    limits = {"key": 40, "title": 60, "when": 300, "true_case": 300, "false_case": 300, "source": 300}
    if problem := problem_of_texts(rule, limits):
        return problem
    if rule["action"] not in ACTIONS or rule["sex"] not in ("any", "F", "M"):
        return f"the action is one of {', '.join(ACTIONS)}, the sex any, F or M."
    return problem_of_ages(rule) or problem_of_condition(rule, OF_COUNT)
