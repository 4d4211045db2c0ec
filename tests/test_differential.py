"""The differential against independent tools and worked examples; rule ids are those of the laboratory's rule list."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest

from detection.cell_types import BY_CODE, CELL_TYPES, CODES
from leukoweb.review.counting.ages import Age, age_at
from leukoweb.review.counting.differential import (
    Wbc,
    cells_to_separate,
    clopper_pearson,
    corrected_wbc,
    count_differential,
    percentages,
    upper_bound_of_zero,
)
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.table import lines_of
from leukoweb.review.counting.words import printed

IN_DIFFERENTIAL = [t.code for t in CELL_TYPES if t.in_differential]
COUNTS = st.dictionaries(st.sampled_from([*CODES, "UNI", "NOT"]), st.integers(0, 2000))
ADULT = Age(40 * 365, 480, 40)
WBC = Wbc(17.4, "10*9/L", "XN-1000", "2026-11-22T09:00:00+00:00")


@pytest.mark.slow
def test_intervals_are_those_of_an_independent_library_for_every_count_up_to_400():
    """C2: for all k at n = 1..400 the bounds leave 2.5 % in each binomial tail, and equal scipy's beta quantiles."""
    for n in range(1, 401):
        k = np.arange(n + 1)
        ours = np.array([clopper_pearson(int(i), n) for i in k])
        low = np.where(k > 0, beta.ppf(0.025, k, n - k + 1), 0.0)
        high = np.where(k < n, beta.ppf(0.975, k + 1, n - k), 1.0)
        np.testing.assert_allclose(ours, np.stack([low, high], axis=1), rtol=0, atol=1e-9)
        np.testing.assert_allclose(binom.sf(k[1:] - 1, n, ours[1:, 0]), 0.025, atol=1e-7)
        np.testing.assert_allclose(binom.cdf(k[:-1], n, ours[:-1, 1]), 0.025, atol=1e-7)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (5, 100), (37, 200), (399, 400)])
def test_intervals_are_those_of_binomtest(k, n):
    """C2: the named reference, `binomtest().proportion_ci('exact')`."""
    reference = binomtest(k, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(k, n) == pytest.approx((reference.low, reference.high), abs=1e-9)


@pytest.mark.parametrize(("k", "low", "high"), [(5, 1, 12), (9, 4, 17), (10, 4, 18), (15, 8, 24)])
def test_intervals_rounded_outward_are_the_published_table(k, low, high):
    """C2: Rümke's table at n = 100."""
    row = count_differential({"EOS": k, "NGS": 100 - k}, Rules())["EOS"]
    assert (math.floor(row.low), math.ceil(row.high)) == (low, high)


@pytest.mark.parametrize(("n", "bound"), [(100, 2.95), (200, 1.49), (400, 0.75)])
def test_a_zero_count_prints_its_one_sided_upper_bound(n, bound):
    """C3."""
    assert round(100 * upper_bound_of_zero(n), 2) == bound
    row = count_differential({"NGS": n}, Rules())["MYO"]
    assert (row.percent, round(row.zero_upper, 2)) == (0.0, bound)
    assert count_differential({"NGS": n}, Rules())["NGS"].zero_upper is None


def test_299_cells_meet_a_one_percent_population_with_95_percent_chance():
    """C3: by hand, .99**298 = .05004 and .99**299 = .04954."""
    assert upper_bound_of_zero(299) < 0.01 < upper_bound_of_zero(298)


def test_erythroblasts_stand_beside_the_differential_and_correct_the_wbc():
    """C4: 17.4 with 8 per 100 -> 16.111; the erythroblasts are in no denominator."""
    differential = count_differential({"NGS": 60, "LYT": 40, "EBO": 8}, Rules(), wbc=WBC)
    assert round(corrected_wbc(17.4, 8), 3) == round(differential.corrected_wbc, 3) == 16.111
    assert differential.total == 100
    assert differential["EBO"].per_100 == 8.0
    assert differential["EBO"].percent is differential["EBO"].low is None
    assert differential["NGS"].absolute == pytest.approx(0.6 * 16.1111, abs=1e-4)


def test_the_wbc_is_corrected_from_five_per_hundred_and_never_where_the_analyser_does_it():
    """C4."""
    four = count_differential({"NGS": 100, "EBO": 4}, Rules(), wbc=WBC)
    five = count_differential({"NGS": 100, "EBO": 5}, Rules(), wbc=WBC)
    switched_off = count_differential({"NGS": 100, "EBO": 50}, Rules(corrects_wbc=False), wbc=WBC)
    assert four.corrected_wbc == switched_off.corrected_wbc == 17.4
    assert five.corrected_wbc == pytest.approx(17.4 / 1.05)


def test_smudge_cells_stand_outside_unless_the_signer_counts_them_as_lymphocytes():
    """C5: then the table adds up, and says how many of the lymphocytes are smudge cells."""
    counts = {"LYT": 60, "NGS": 40, "KSC": 100}
    apart = count_differential(counts, Rules())
    counted = count_differential(counts, Rules(), smudge_as_lymphocytes=True)
    assert (apart.total, apart["LYT"].percent, apart["KSC"].per_100) == (100, 60.0, 100.0)
    assert (counted.total, counted["LYT"].percent, counted["LYT"].count) == (200, 80.0, 60)
    lines = {x["key"]: x for x in lines_of(counted.as_dict(), counted.rules.as_dict())}
    assert (lines["LYT"]["count"], lines["LYT"]["count_note"]) == (160, "100 of them smudge cells")
    assert (lines["KSC"]["per_100"], lines["KSC"]["count_note"]) == ("", "counted as lymphocytes")
    assert sum(x["count"] for x in lines.values() if x["kind"] in ("group", "type")) == counted.total


def test_bands_are_grouped_by_default_and_keep_their_own_count():
    """C6."""
    differential = count_differential({"NGS": 50, "NGB": 10, "LYT": 40}, Rules())
    assert differential["NGB"].is_grouped
    assert differential["NGB"].count == 10
    assert differential["neutrophils"].percent == 60.0
    assert not count_differential({"NGS": 50, "NGB": 10}, Rules(bands="separate"))["NGB"].is_grouped


@pytest.mark.slow
@given(COUNTS, st.sampled_from(["grouped", "separate", "grouped_left_shift"]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_policy_never_changes_what_was_counted(counts, bands, smudge):
    """C6: the counts of every row are the labels, whatever the policy."""
    before = dict(counts)
    differential = count_differential(counts, Rules(bands=bands), smudge_as_lymphocytes=smudge)
    assert counts == before
    assert {row.key: row.count for row in differential.rows} == {code: counts.get(code, 0) for code in CODES}


@pytest.mark.parametrize(
    "wbc",
    [None, Wbc(7.0, "", "XN", "2026-01-01"), Wbc(7.0, "10*9/L", "", "2026-01-01"), Wbc(7.0, "10*9/L", "XN", "")],
)
def test_absolute_counts_are_never_invented(wbc):
    """C8: no WBC, or one without unit, source or time: no absolute count, and a sentence says why."""
    differential = count_differential({"NGS": 100}, Rules(), wbc=wbc)
    assert all(row.absolute is None for row in differential.rows)
    assert differential.absolute_refusal


@pytest.mark.parametrize(("value", "unit"), [(6.2, "10*9/L"), (6.2, "10*3/uL"), (6200, "/uL")])
def test_absolute_counts_are_percent_times_wbc_in_any_unit(value, unit):
    """C8."""
    differential = count_differential({"NGS": 75, "LYT": 25}, Rules(), wbc=Wbc(value, unit, "XN", "2026-01-01"))
    assert differential["LYT"].absolute == pytest.approx(1.55)


@pytest.mark.slow
@given(COUNTS)
@settings(max_examples=400, deadline=None)
def test_printed_percentages_sum_to_one_hundred(counts):
    """C11: largest remainder, over the types of the differential and the unidentified cells."""
    differential = count_differential(counts, Rules())
    rows = [row for row in differential.rows if row.key in IN_DIFFERENTIAL] + [differential.unidentified]
    if differential.total == 0:
        assert {row.percent for row in rows} == {None}
        return
    # A counted cell that rounds to 0 keeps its exact share and is printed as "<0.1" (C12).
    assert sum(round(row.percent * 10) for row in rows if row.percent >= 0.1 - 1e-9) == 1000
    for row in rows:
        assert abs(row.percent - 100 * row.counted / differential.total) < 0.1 + 1e-9
        assert row.low <= 100 * row.counted / differential.total <= row.high
        assert (row.percent == 0.0) == (row.counted == 0)


def test_rounding_gives_the_missing_tenth_to_the_largest_remainder():
    """C11: worked by hand, 1/3 each: 33.4 33.3 33.3."""
    assert percentages([1, 1, 1]) == [33.4, 33.3, 33.3]
    assert percentages([2, 1]) == [66.7, 33.3]
    assert percentages([0, 0]) == [0.0, 0.0]


def test_unidentified_cells_are_in_the_denominator_and_what_is_no_cell_is_not():
    """Rule list, section 1: unidentified is counted, not a cell is not."""
    differential = count_differential({"NGS": 95, "UNI": 5, "NOT": 40}, Rules())
    assert (differential.total, differential["NGS"].percent, differential["UNI"].percent) == (100, 95.0, 5.0)
    assert differential.not_cells == 40


def test_fewer_than_a_hundred_cells_are_a_limited_count():
    """C3."""
    assert count_differential({"NGS": 99, "EBO": 50}, Rules()).is_limited
    assert not count_differential({"NGS": 100}, Rules()).is_limited


@pytest.mark.parametrize(("k", "n", "limit"), [(8, 100, 0.05), (3, 100, 0.05), (18, 100, 0.20), (25, 100, 0.20)])
def test_the_number_of_cells_to_count_more_is_the_smallest_that_separates(k, n, limit):
    """C3: at that total the exact interval excludes the limit, one cell earlier it does not."""
    more = cells_to_separate(k, n, limit)
    share = k / n
    low, high = clopper_pearson(share * (n + more), n + more)
    assert not low <= limit <= high
    low, high = clopper_pearson(share * (n + more - 1), n + more - 1)
    assert low <= limit <= high


def test_no_count_separates_a_share_from_itself():
    """C3."""
    assert cells_to_separate(5, 100, 0.05) is None
    assert cells_to_separate(50, 100, 0.05) == 0


def test_an_unknown_label_is_refused():
    with pytest.raises(KeyError):
        count_differential({"XYZ": 1}, Rules())


def test_myeloblast_and_myelocyte_are_not_swapped():
    """Rule list, section 1: a swap turns acute leukaemia into a left shift."""
    assert (BY_CODE["MYO"].name, BY_CODE["MYB"].name) == ("myeloblast", "myelocyte")
    differential = count_differential({"MYO": 30, "MYB": 1, "NGS": 69}, Rules())
    assert differential["blasts"].count == 30


def test_a_value_outside_its_range_is_called_and_the_call_says_whether_the_interval_agrees():
    """C2, C7: 4.5 % eosinophils of 200 are above 1-4 %, but the interval reaches into the range."""
    near = count_differential({"EOS": 9, "NGS": 110, "LYT": 81}, Rules(), age=ADULT)
    far = count_differential({"EOS": 60, "NGS": 140}, Rules(), age=ADULT)
    assert (near["EOS"].call, near["EOS"].is_call_certain) == ("high", False)
    assert (far["EOS"].call, far["EOS"].is_call_certain) == ("high", True)


def test_a_child_is_not_judged_by_the_ranges_of_adults():
    """No range of the defaults is for children: no call is better than a wrong one."""
    child = count_differential({"LYT": 80, "NGS": 20}, Rules(), age=Age(730, 24, 2))
    unknown = count_differential({"LYT": 80, "NGS": 20}, Rules())
    assert child.range_refusal == "No reference ranges: this laboratory has none for an age of 2 years."
    assert unknown.range_refusal == "No reference ranges: the birth date is not known."
    assert count_differential({"LYT": 80, "NGS": 20}, Rules(), age=ADULT).range_refusal == ""
    assert child["LYT"].call == unknown["LYT"].call == ""
    assert child["LYT"].percent_range is None


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_one_blast_in_2100_is_printed_as_less_than_one_step_and_never_as_zero(decimals):
    """C12: in the table, its groups, the absolute counts and per 100 leukocytes."""
    rules = Rules(decimals=decimals)
    wbc = Wbc(1.0, "10*9/L", "XN", "2026-01-01")
    differential = count_differential({"MYO": 1, "NGS": 20_999, "KSC": 1}, rules, wbc=wbc)
    lines = {x["key"]: x for x in lines_of(differential.as_dict(), rules.as_dict())}
    least = {0: "<1", 1: "<0.1", 2: "<0.01"}[decimals]
    assert (lines["MYO"]["percent"], lines["blasts"]["percent"]) == (least, least)
    assert (lines["MYO"]["absolute"], lines["KSC"]["per_100"]) == ("<0.01", "<0.1")
    assert lines["MOB"]["percent"] == printed(0.0, decimals)


def test_whole_percent_add_up_to_one_hundred():
    """C11 with a policy of no decimals."""
    differential = count_differential({"NGS": 1, "LYT": 1, "MON": 1}, Rules(decimals=0))
    lines = lines_of(differential.as_dict(), differential.rules.as_dict())
    assert sorted(x["percent"] for x in lines if x["key"] in ("NGS", "LYT", "MON")) == ["33", "33", "34"]


@pytest.mark.parametrize(
    ("birth", "on", "bound", "has_reached"),
    [
        ("2024-05-10", "2026-05-09", "2y", False),
        ("2024-05-10", "2026-05-10", "2y", True),
        ("2024-02-29", "2026-02-28", "2y", False),
        ("2024-02-29", "2026-03-01", "2y", True),
        ("2026-01-31", "2026-02-28", "1m", False),
        ("2026-01-31", "2026-03-01", "1m", True),
        ("2026-05-10", "2026-11-09", "6m", False),
        ("2026-05-10", "2026-11-10", "6m", True),
        ("2026-05-10", "2026-05-12", "3d", False),
        ("2026-05-10", "2026-05-13", "3d", True),
    ],
)
def test_an_age_is_reached_on_the_birthday_itself(birth, on, bound, has_reached):
    """C12: half open and exact, in days, months and years."""
    assert age_at(date.fromisoformat(birth), date.fromisoformat(on)).reached(bound) is has_reached


def test_a_range_of_days_months_and_years_is_half_open():
    """C12: `3d` to under `6m`, then `6m` to under `2y`."""
    one = {"key": "LYT", "unit": "%", "low": 1, "sex": "any", "source": "x"}
    ranges = [
        {**one, "high": 70, "age_from": "3d", "age_under": "6m"},
        {**one, "high": 60, "age_from": "6m", "age_under": "2y"},
    ]
    rules, birth = rules_from({"ranges": ranges}), date(2026, 1, 10)

    def high(day):
        found = rules.range_for("LYT", "%", age_at(birth, date.fromisoformat(day)), "F")
        return found and found["high"]

    days = ("2026-01-12", "2026-01-13", "2026-07-09", "2026-07-10", "2028-01-09", "2028-01-10")
    assert [high(day) for day in days] == [None, 70, 70, 60, 60, None]
