"""Flags and plain sentences of a differential (rules C3, C7, C12, C14, S13)."""

import csv
from pathlib import Path

import pytest

from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.differential import Wbc, count_differential
from leukoweb.review.counting.flag_rules import defaults
from leukoweb.review.counting.flags import flag_keys_of, flags_of, sentences_of
from leukoweb.review.counting.policies import Rules, rules_from

ADULT, CHILD, INFANT = Age(40 * 365, 480, 40), Age(5 * 365, 60, 5), Age(300, 9, 0)


def flags(counts, *, wbc=None, age=ADULT, sex="F", confirmed=None, lya_meaning="", **rules):
    measured = Wbc(wbc, "10*9/L", "XN", "2026-01-01") if wbc else None
    differential = count_differential(counts, rules_from(rules), wbc=measured, age=age, sex=sex)
    found = {flag.key: flag for flag in flags_of(differential, confirmed=confirmed, lya_meaning=lya_meaning)}
    assert flag_keys_of(differential, lya_meaning=lya_meaning) == found.keys()
    return found


def said(counts, **rules):
    found = sentences_of(count_differential(counts, Rules(**rules)))
    return " ".join(one.bench for one in found), " ".join(one.report for one in found)


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


@pytest.mark.parametrize("counts", [{"PMB": 1, "NGS": 99}, {"PMO": 30, "MYO": 2, "NGS": 68}, {"PMO": 3, "MOB": 1}])
def test_bilobed_promyelocytes_or_prevailing_promyelocytes_are_possible_apl(counts):
    """C7."""
    assert next(iter(flags(counts))) == "possible_apl"
    assert flags(counts)["possible_apl"].is_urgent


@pytest.mark.parametrize(
    "counts",
    [
        {"PMO": 1, "MYO": 1, "NGS": 98},
        {"PMO": 1, "NGS": 99},
        {"PMO": 17, "MYO": 65, "MOB": 2, "MMZ": 1, "NGS": 1},
        {"PMO": 2, "MYB": 2, "MMZ": 3, "NGS": 193},
        {"PMO": 5, "MYB": 20, "MMZ": 15, "NGB": 20, "NGS": 40},
    ],
    ids=["one beside one blast", "one alone", "AML with some", "left shift", "chronic myeloid leukaemia"],
)
def test_few_promyelocytes_beside_blasts_or_with_complete_maturation_are_not_possible_apl(counts):
    """C7: one promyelocyte beside blasts is not enough."""
    assert "possible_apl" not in flags(counts)


# Labels of leukocyte-yolov5s-3 on the twelve whole fields of Sidhom 2021, as the worker reads them.
FIELDS = {
    "APL 00": {"EBO": 2},
    "APL 19": {"EOS": 1, "EBO": 5, "PMO": 1, "LYA": 1, "MON": 1},
    "APL 39": {"EBO": 12, "KSC": 3, "MYO": 8, "NGS": 1, "MON": 3, "LYA": 1, "LYT": 1},
    "APL 62": {"EBO": 6, "MYO": 1, "KSC": 1},
    "AML 08a": {"KSC": 44, "EBO": 3, "MON": 27, "MYO": 64, "LYT": 8, "PMO": 21, "LYA": 5, "MMZ": 2, "BAS": 1,
                "NGS": 1, "EOS": 1},
    "AML 08b": {"KSC": 64, "MYO": 112, "EBO": 2, "MON": 26, "LYT": 3, "EOS": 11, "NGS": 3, "PMO": 9, "LYA": 1,
                "NGB": 1},
    "AML 08c": {"KSC": 29, "EBO": 2, "MYO": 48, "MON": 19, "NGS": 4, "PMO": 29, "LYT": 6, "LYA": 3, "EOS": 2,
                "MOB": 1, "MMZ": 1},
    "AML 23": {},
    "AML 35": {"LYT": 16, "KSC": 1, "MYO": 7, "NGS": 4, "MYB": 4, "PMO": 3, "NGB": 11, "MMZ": 3},
    "AML 36": {"EBO": 5, "MON": 26, "KSC": 14, "LYT": 3, "BAS": 1, "PMO": 1, "MMZ": 1},
    "AML 56": {"LYT": 1, "KSC": 2, "MYO": 2, "MON": 2, "LYA": 1, "NGB": 1, "EOS": 1},
    "AML 58": {"NGS": 11, "KSC": 30, "EBO": 2, "MON": 58, "EOS": 2, "LYT": 6, "MYO": 2, "NGB": 2, "PMO": 2, "LYA": 4,
                "MMZ": 1},
}  # fmt: skip


def test_no_field_of_another_leukaemia_raises_possible_apl_by_the_labels_of_the_detector():
    """C7: 0 of 8 fields of other AML, and 0 of 4 fields of APL, as by version 2 of the detector.

    The fields of APL hold hardly any leukocyte that this detector finds: no rule of counts can see APL there.
    """
    assert [name for name, counts in FIELDS.items() if "possible_apl" in flags(counts)] == []


def test_possible_apl_by_the_labels_of_people():
    """C7: 11 of 22 patients with APL and 3 of 60 with other AML; of the 12 with two promyelocytes or more, 11."""
    hit = {"APL": [], "AML": []}
    with (Path(__file__).parent / "data" / "apl_patients.csv").open() as file:
        for row in csv.DictReader(file):
            counts = {code: int(row[code]) for code in row if code not in ("patient", "diagnosis")}
            hit[row["diagnosis"]].append((counts["PMO"], "possible_apl" in flags(counts)))
    assert [len(patients) for patients in hit.values()] == [22, 60]
    assert [sum(is_hit for _, is_hit in patients) for patients in hit.values()] == [11, 3]
    assert sum(count >= 2 for count, _ in hit["APL"]) == 12


def test_a_flag_gives_the_share_that_the_table_of_the_same_report_prints():
    """H32: shares in the table sum to 100, so that 10 of 108 are 9.2 % there; the flag said 9.3 %."""
    counts = {"MYO": 30, "PMO": 10, "NGS": 50, "LYT": 10, "LYA": 8}
    rows = {row.key: row.percent for row in count_differential(counts, Rules()).rows}
    assert rows["PMO"] == 9.2
    assert "9.2% of leukocytes" in flags(counts)["promyelocytes"].report


def test_of_two_limits_under_one_title_that_are_met_the_gravest_is_the_flag_whatever_their_order():
    """H26: a milder limit in another unit, further down in a laboratory's table, took the place of the urgent one."""
    rows = defaults()
    mild = {**rows[0], "key": "blasts_absolute", "unit": "10*9/L", "limit": 0.01, "severity": "note", "bench": ""}
    found = flags({"MYO": 1, "NGS": 99}, wbc=10, flag_rules=[*rows, mild])
    assert [(name, flag.urgency) for name, flag in found.items() if flag.title == "Blasts"] == [("blasts", "urgent")]


def test_promyelocytes_alone_are_for_the_pathologist_but_not_possible_apl():
    """C7."""
    assert set(flags({"PMO": 2, "MYB": 2, "MMZ": 3, "NGS": 193})) == {"promyelocytes"}


def test_promyelocytes_without_myelocytes_and_metamyelocytes_are_a_maturation_gap():
    """C7."""
    assert "maturation_gap" in flags({"PMO": 2, "NGS": 198})
    assert "maturation_gap" not in flags({"PMO": 2, "MYB": 1, "NGS": 197})


def test_atypical_lymphocytes_are_flagged_above_five_percent():
    """C7: more than 5 %, not 5 %."""
    assert "atypical_lymphocytes" not in flags({"LYA": 5, "LYT": 95})
    assert flags({"LYA": 6, "LYT": 94})["atypical_lymphocytes"].codes == ("LYA",)


def test_one_lymphocyte_that_the_reader_calls_abnormal_goes_to_the_pathologist():
    """C7."""
    counts = {"LYA": 1, "LYT": 99}
    assert "abnormal_lymphocytes" not in flags(counts, lya_meaning="variant")
    flag = flags(counts, lya_meaning="abnormal")["abnormal_lymphocytes"]
    assert (flag.urgency, flag.codes) == ("review", ("LYA",))


def test_erythroblasts_are_flagged_from_five_per_hundred():
    """C7."""
    assert "erythroblasts" not in flags({"NGS": 100, "EBO": 4})
    assert "erythroblasts" in flags({"NGS": 100, "EBO": 5})


def test_many_smudge_cells_ask_for_a_film_with_albumin():
    """C7: on screen; the report states the number alone (S13)."""
    assert "smudge_cells" not in flags({"LYT": 100, "KSC": 10})
    flag = flags({"LYT": 100, "KSC": 11})["smudge_cells"]
    assert "albumin" in flag.bench
    assert flag.report == "11 smudge cells, 11.0 per 100 leukocytes, above 10."


def test_a_left_shift_follows_the_policy_on_bands():
    """C6, C7: bands that the laboratory does not report apart raise no flag; immature neutrophils do."""
    counts = {"NGB": 12, "MMZ": 2, "NGS": 86}
    assert "left_shift" not in flags(counts)
    assert flags(counts, bands="separate")["left_shift"].codes == ("NGB", "MMZ")
    assert "left_shift" in flags(counts, bands="grouped_left_shift")
    assert flags({"MMZ": 8, "MYB": 4, "NGS": 88})["left_shift"].codes == ("MMZ", "MYB")


@pytest.mark.parametrize(
    ("counts", "wbc", "key", "urgency"),
    [
        ({"LYT": 90, "NGS": 10}, 85.0, "lymphocytosis", "review"),
        ({"LYT": 100}, 3.0, "neutropenia_severe", "urgent"),
        ({"LYT": 60, "NGS": 40}, 3.0, "neutropenia", "review"),
        ({"NGS": 90, "LYT": 10}, 40.0, "neutrophilia", "review"),
        ({"MON": 30, "NGS": 70}, 8.0, "monocytosis", "review"),
        ({"EOS": 30, "NGS": 70}, 8.0, "eosinophilia", "review"),
        ({"BAS": 20, "NGS": 80}, 8.0, "basophilia", "review"),
        ({"NGS": 100}, 1.9, "leukopenia", "note"),
    ],
)
def test_limits_on_absolute_counts_raise_flags(counts, wbc, key, urgency):
    """C7: and none of them without an analyser's WBC (C8)."""
    found = flags(counts, wbc=wbc)
    assert found[key].urgency == urgency
    assert key not in flags(counts)


def test_the_lymphocytes_of_an_infant_are_judged_by_another_limit():
    """C12: 10.5 × 10⁹/L are above 10 at five years and under 10.7 at nine months; without an age as an adult."""
    counts = {"LYT": 100}
    assert "lymphocytosis" in flags(counts, wbc=10.5, age=CHILD)
    assert not {"lymphocytosis", "lymphocytosis_infant"} & set(flags(counts, wbc=10.5, age=INFANT))
    assert "lymphocytosis_infant" in flags(counts, wbc=10.8, age=INFANT)
    assert "judged as an adult" in flags(counts, wbc=76.5, age=None)["lymphocytosis"].bench


def test_a_limit_of_one_sex_is_for_that_sex_only():
    """C7: by age and sex."""
    row = next(row for row in Rules().flag_rules if row["key"] == "neutrophilia") | {"sex": "M"}
    assert "neutrophilia" in flags({"NGS": 100}, wbc=30.0, sex="M", flag_rules=[row])
    assert "neutrophilia" not in flags({"NGS": 100}, wbc=30.0, sex="F", flag_rules=[row])


def test_a_flag_of_the_detector_alone_says_so_until_a_person_confirms_a_cell():
    """C7."""
    counts = {"MYO": 3, "NGS": 97}
    suspected = flags(counts, confirmed={"NGS": 97})["blasts"]
    assert suspected.is_machine_only
    assert suspected.bench.endswith("Suspected by the detector, not confirmed by a person.")
    assert not flags(counts, confirmed={"MYO": 1})["blasts"].is_machine_only
    assert not flags(counts)["blasts"].is_machine_only


@pytest.mark.parametrize("counts", [*FIELDS.values(), {"LYA": 10, "LYT": 90}, {"NGS": 100}, {"KSC": 50, "LYT": 90}, {}])
def test_no_instruction_for_the_bench_is_on_paper(counts):
    """S13: flags and limits carry two sentences."""
    differential = count_differential(counts, Rules(), wbc=Wbc(1.2, "10*9/L", "XN", "2026-01-01"))
    paper = [flag.report for flag in flags_of(differential, lya_meaning="abnormal")]
    paper += [one.report for one in sentences_of(differential)]
    orders = ("must review", "Upload", "add the cells", "Count ", "more cells", "further cells", "Scan", "Make a film")
    assert [sentence for sentence in paper if any(order in sentence for order in orders)] == []


def test_limits_come_from_the_policy():
    """C7: editable defaults; a single limit of an earlier version is one of the table."""
    assert "atypical_lymphocytes" in flags({"LYA": 3, "LYT": 97}, lya_limit=2.0)


def test_a_normal_smear_has_no_flag_and_an_empty_one_neither():
    assert flags({"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3}, wbc=7.0) == {}
    assert flags({}) == {}


def test_the_reader_is_told_what_the_count_cannot_say():
    """C3: worked numbers at n = 100 and a limited count at 12."""
    assert "No blasts in 100 cells (95% upper limit 2.95%)." in said({"NGS": 100})[0]
    bench, report = said({"NGS": 12})
    assert "Limited count: 12 leukocytes, fewer than 100." in report
    assert "Upload another field" in bench
    assert said({})[0].startswith("No leukocytes detected")


def test_the_reader_is_told_how_many_cells_more_would_settle_the_blast_decision():
    """C3, S13: 8 % of 100 against 5 %; over 1,000 further cells are not practical; paper says what is not settled."""
    bench, report = said({"MYO": 8, "NGS": 92})
    assert "more cells needed to place blasts (8.0%) above the 5% limit" in bench
    assert "Blasts (8.0%) cannot be told from the 5% limit by this count." in report
    for counts in ({"MYO": 5, "NGS": 95}, {"MYO": 9, "NGS": 191}):
        bench, report = said(counts)
        assert "More than 1,000 further cells would be needed" in bench
        assert "not practical" in bench
        assert "practical" not in report
