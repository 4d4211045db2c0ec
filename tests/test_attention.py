"""The order in which cells ask for a person's look, and when none can change the report any more (S10, C7)."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.cell_types import CODES
from leukoweb.review.counting.attention import (
    MISTAKEN_FOR,
    cells_to_change,
    in_order,
    is_settled,
    must_look,
    reasons_to_look,
    together,
)

LEVELS = {"MON": "weak", "MOB": "weak", "PMB": "none"}


class Detector:
    def evidence(self, code):
        return LEVELS.get(code, "good")


@dataclass
class Seen:
    code: str
    score: float | None = 0.9
    decided_code: str = ""


@pytest.mark.parametrize(
    ("cell", "reasons"),
    [
        (Seen("NGS"), []),
        (Seen("NGS", 0.59), ["low score"]),
        (Seen("MYO"), ["blast or promyelocyte"]),
        (Seen("MON"), ["weak evidence for this type"]),
        (Seen("PMB", 0.1), ["blast or promyelocyte", "no evidence for this type", "low score"]),
        (Seen("PMB", 0.1, decided_code="PMB"), []),
        (Seen("NGS", None), []),
    ],
)
def test_why_a_cell_must_be_looked_at(cell, reasons):
    """S10, C7."""
    assert reasons_to_look(cell, Detector()) == reasons
    assert must_look([cell], Detector()) == ([cell] if reasons else [])


@pytest.mark.parametrize(
    ("cell", "most"),
    [
        (Seen("NGS"), 60),
        (Seen("NGS", 0.5), 1),
        (Seen("MON"), 12),  # weak
        (Seen("MYO"), 12),  # a blast of a proven type
        (Seen("MOB"), 1),  # a blast of a weak type
        (Seen("PMB"), 1),  # never trained
    ],
)
def test_how_many_cells_may_be_confirmed_at_once(cell, most):
    """S10: the less is known, the closer the look."""
    assert together(cell, Detector()) == most


def blasts_at_five_percent(counts):
    """Blasts are MYO and MOB; the call is "5 % or more of 100"."""
    return counts.get("MYO", 0) + counts.get("MOB", 0) >= 5


def test_how_few_cells_would_change_a_call_by_hand():
    """4 MYO among 100: one atypical lymphocyte that is a blast makes 5 %; 3 promyelocytes could make it too."""
    counts = {"MYO": 4, "LYA": 2, "PMO": 3, "NGS": 91}
    undecided = {"LYA": 2, "PMO": 3, "NGS": 91}
    assert cells_to_change(counts, undecided, blasts_at_five_percent) == {"LYA": 1, "PMO": 1}
    assert not is_settled(counts, undecided, blasts_at_five_percent)


def test_it_is_settled_when_the_cells_left_cannot_change_a_call():
    counts = {"MYO": 4, "LYA": 2, "NGS": 94}
    assert is_settled(counts, {"NGS": 94}, blasts_at_five_percent)
    assert is_settled(counts, {}, blasts_at_five_percent)


def test_it_is_not_settled_when_only_cells_of_several_types_together_change_a_call():
    """3 MYO need two more: one LYA and one PMO alone do not do it, both do."""
    counts = {"MYO": 3, "LYA": 1, "PMO": 1, "NGS": 95}
    undecided = {"LYA": 1, "PMO": 1}
    assert cells_to_change(counts, undecided, blasts_at_five_percent) == {}
    assert not is_settled(counts, undecided, blasts_at_five_percent)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(CODES), st.integers(0, 40), min_size=1),
    st.sampled_from(CODES),
    st.integers(1, 40),
)
def test_the_least_number_is_the_least(counts, code, limit):
    """Against counting up one by one."""

    def calls(c):
        return sum(c.get(o, 0) for o in MISTAKEN_FOR[code]) >= limit

    undecided = {code: counts.get(code, 0)}
    least = cells_to_change(counts, undecided, calls).get(code)
    slow = None
    for number in range(1, undecided[code] + 1):
        if any(
            calls({**counts, code: counts[code] - number, o: counts.get(o, 0) + number}) != calls(counts)
            for o in MISTAKEN_FOR[code]
        ):
            slow = number
            break
    assert least == slow


def test_the_order_is_effect_then_low_score_then_weak_type():
    able, low, weak, low_weak = Seen("LYA", 0.3), Seen("NGS", 0.4), Seen("MON", 0.9), Seen("MON", 0.5)
    decided = Seen("MON", 0.1, decided_code="MON")
    ordered = in_order([weak, decided, low, low_weak, able], Detector(), {"LYA": 1})
    assert ordered == [able, low_weak, low, weak]


def test_every_type_has_neighbours_that_are_types():
    assert set(MISTAKEN_FOR) == set(CODES)
    assert {o for others in MISTAKEN_FOR.values() for o in others} <= {*CODES, "NOT"}
