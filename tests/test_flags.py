"""Flags and plain sentences of a differential (rule C7 and C3)."""

import pytest

from leukoweb.review.counting.differential import count_differential
from leukoweb.review.counting.flags import flags_of, limits_of_the_count
from leukoweb.review.counting.policies import Rules


def flags(counts, **rules):
    return {flag.key: flag for flag in flags_of(count_differential(counts, Rules(**rules)))}


@pytest.mark.parametrize("code", ["MYO", "MOB"])
def test_a_single_blast_is_urgent_and_names_its_code(code):
    """C7."""
    found = flags({"NGS": 199, code: 1})
    assert found["blasts"].is_urgent
    assert found["blasts"].codes == (code,)


@pytest.mark.parametrize(
    ("count", "key"),
    [(4, "blasts"), (5, "blasts_first_limit"), (19, "blasts_first_limit"), (20, "blasts_second_limit")],
)
def test_each_limit_of_blasts_is_a_flag_of_its_own(count, key):
    """C7: at 5 % and at 20 % the case must be acknowledged anew."""
    found = flags({"MYO": count, "NGS": 100 - count})
    assert [name for name in found if name.startswith("blasts")] == [key]


@pytest.mark.parametrize("counts", [{"PMB": 1, "NGS": 99}, {"PMO": 1, "MYO": 1, "NGS": 98}, {"PMO": 2, "MOB": 1}])
def test_bilobed_promyelocytes_or_promyelocytes_with_blasts_are_possible_apl(counts):
    """C7."""
    assert next(iter(flags(counts))) == "possible_apl"
    assert flags(counts)["possible_apl"].is_urgent


def test_promyelocytes_alone_are_for_the_pathologist_but_not_possible_apl():
    """C7."""
    found = flags({"PMO": 2, "MYB": 2, "MMZ": 3, "NGS": 193})
    assert set(found) == {"promyelocytes"}


def test_promyelocytes_without_myelocytes_and_metamyelocytes_are_a_maturation_gap():
    """C7."""
    assert "maturation_gap" in flags({"PMO": 2, "NGS": 198})
    assert "maturation_gap" not in flags({"PMO": 2, "MYB": 1, "NGS": 197})


def test_atypical_lymphocytes_are_flagged_above_five_percent():
    """C7: more than 5 %, not 5 %."""
    assert "atypical_lymphocytes" not in flags({"LYA": 5, "LYT": 95})
    assert flags({"LYA": 6, "LYT": 94})["atypical_lymphocytes"].codes == ("LYA",)


def test_erythroblasts_are_flagged_from_five_per_hundred():
    """C7."""
    assert "erythroblasts" not in flags({"NGS": 100, "EBO": 4})
    assert "erythroblasts" in flags({"NGS": 100, "EBO": 5})


def test_left_shift_names_only_types_that_are_there():
    """C7."""
    assert flags({"NGB": 12, "MMZ": 2, "NGS": 86})["left_shift"].codes == ("NGB", "MMZ")


def test_limits_come_from_the_policy():
    """C7: editable defaults."""
    assert "atypical_lymphocytes" in flags({"LYA": 3, "LYT": 97}, lya_limit=2.0)


def test_a_normal_smear_has_no_flag_and_an_empty_one_neither():
    assert flags({"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3}) == {}
    assert flags({}) == {}


def test_the_reader_is_told_what_the_count_cannot_say():
    """C3: worked numbers at n = 100 and a limited count at 12."""
    said = " ".join(limits_of_the_count(count_differential({"NGS": 100}, Rules())))
    assert "Blasts under 2.95 % cannot be excluded" in said
    said = " ".join(limits_of_the_count(count_differential({"NGS": 12}, Rules())))
    assert "Limited count: 12 leukocytes" in said
    assert limits_of_the_count(count_differential({}, Rules()))[0].startswith("No leukocyte was found")


def test_the_reader_is_told_how_many_cells_more_would_settle_the_blast_decision():
    """C3: 8 % of 100 against 5 %."""
    said = " ".join(limits_of_the_count(count_differential({"MYO": 8, "NGS": 92}, Rules())))
    assert "more to separate 8.0 % blasts from 5 %" in said
    said = " ".join(limits_of_the_count(count_differential({"MYO": 5, "NGS": 95}, Rules())))
    assert "cannot be separated from 5 % by counting more" in said
