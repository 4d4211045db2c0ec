"""The blood count of an analyser: units, odd values, what cannot be, and runs of a case; nothing is overwritten."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import contradictions_of, value_of
from leukoweb.refusals import Refused
from leukoweb.review.models import Report
from leukoweb.review.reports.changes import cbc_pairs
from leukoweb.review.reports.content import cbc_runs
from leukoweb.review.reports.seal import bundle_of, canonical, problems_of
from tests.test_reports import post_signature, reviewed, signed  # noqa: F401 (fixtures)


@pytest.mark.parametrize(
    ("key", "sent", "unit", "kept", "amount"),
    [
        ("WBC", "6.2", "10^3/μL", "10*3/uL", 6.2),
        ("WBC", "6200", "/uL", "/uL", 6.2),
        ("WBC", ".5", "10*3/uL", "10*3/uL", 0.5),
        ("PLT", "245", "x10^9/L", "10*9/L", 245.0),
        ("RBC", "4.92", "10^6/uL", "10*6/uL", 4.92),
        ("RBC", "4.92", "10*12/L", "10*12/L", 4.92),
        ("HGB", "14,2", "g/dL", "g/dL", 142.0),
        ("HGB", "8.7", "mmol/L", "mmol/L", 140.187),
        ("MCHC", "20.5", "mmol/l", "mmol/L", 330.325),
        ("MCH", "1.85", "fmol", "fmol", 29.81),
        ("HCT", "0.42", "L/L", "L/L", 42.0),
        ("NRBC", "3", "/100 WBC", "/100{WBCs}", 3.0),
    ],
)
def test_values_keep_their_unit_and_are_comparable_in_one(key, sent, unit, kept, amount):
    found = value_of(key, sent, unit)
    assert (found.unit, found.amount) == (kept, pytest.approx(amount, rel=1e-4))


@pytest.mark.parametrize(
    ("sent", "note"),
    [("----", "not measured"), ("", "not measured"), ("*", "not measured"), ("++++", "over the range of the analyser")],
)
def test_dashes_and_pluses_are_no_number_and_need_no_unit(sent, note):
    found = value_of("WBC", sent, "")
    assert (found.value, found.amount, found.note) == (None, None, note)


@pytest.mark.parametrize(("sent", "value", "note"), [("7.5*", 7.5, "doubtful"), ("<0.1", 0.1, "less than this")])
def test_marks_beside_a_number_are_kept(sent, value, note):
    found = value_of("WBC", sent, "10*3/uL")
    assert (found.value, found.note, found.sent) == (value, note, sent)


@pytest.mark.parametrize(
    ("key", "sent", "unit", "words"),
    [
        ("WBC", "6.2", "", "unit is missing"),
        ("HGB", "14", "mg/L", "no unit of it; use one of g/L, g/dL, mmol/L"),
        ("WBC", "6200", "10*9/L", "more than blood can hold"),
        ("WBC", "seven", "10*9/L", "no value of an analyser"),
        ("WBC", "NaN", "10*9/L", "no value of an analyser"),
        ("WBC", "+", "10*9/L", "no value of an analyser"),
        ("PLT", "-3", "10*9/L", "below 0"),
        ("LYM%", "130", "%", "more than the whole"),
        ("HGB", "145", "g/dL", "more than the blood weighs: check value and unit"),
        ("MCHC", "330", "g/dL", "more than the blood weighs"),
        ("PLT", "250000", "10*9/L", "more than an analyser reports: check the unit"),
        ("RBC", "45", "10*12/L", "more than an analyser reports"),
        ("NEU#", "3100", "10*9/L", "more than an analyser reports"),
        ("MCV", "890", "fL", "more than an analyser reports"),
    ],
)
def test_what_cannot_be_a_value_is_refused_in_a_sentence(key, sent, unit, words):
    with pytest.raises(Refused, match=words):
        value_of(key, sent, unit)


def test_red_cell_values_of_two_specimens_contradict_each_other():
    right = {"RBC": 4.92, "HGB": 148.0, "HCT": 43.2, "MCV": 87.8, "MCH": 30.1, "MCHC": 343.0}
    assert contradictions_of(right) == []
    assert "Mean cell volume 64 does not follow" in contradictions_of(right | {"MCV": 64.0})[0]
    assert contradictions_of({"RBC": 0.0, "HCT": 40.0, "MCV": 90.0}) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"HGB": 950.0, "HCT": 28.0}, "Haemoglobin 950 g/L is more than a haematocrit of 28 % can hold"),
        ({"RBC": 4_900.0, "MCV": 88.0}, "Red blood cells 4900 of 88 fL would fill"),
        ({"NEU%": 60.0, "LYM%": 55.0, "MON%": 7.0}, "add up to 122 %"),
        ({"NEU%": 60.0, "LYM%": 30.0, "MXD%": 20.0}, "add up to 110 %"),
        ({"WBC": 6.0, "NEU%": 60.0, "NEU#": 36.0}, "Neutrophils, absolute 36 does not follow from 60 %"),
        ({"WBC": 6.0, "NEU%": 60.0, "NEU#": 3.6, "LYM%": 31.0, "MON%": 9.4, "HGB": 95.0, "HCT": 28.0}, None),
        ({"PLT": 250.0, "MPV": 10.0, "MXD%": 10.0, "MON%": 7.0, "EOS%": 3.0, "NEU%": 60.0, "LYM%": 30.0}, None),
    ],
)
def test_what_contradicts_its_own_definition_is_said_and_kept(values, words):
    said = contradictions_of(values)
    assert len(said) == (words is not None)
    assert words is None or words in said[0]


RUN = BloodCount(
    analyser="Sysmex XN-1000",
    measured_at=None,
    is_final=True,
    values=(value_of("WBC", "7.2", "10*3/uL"), value_of("HGB", "148", "g/L"), value_of("PLT", "++++", "")),
    remarks=("Blasts?",),
)


def test_a_run_gives_the_case_its_wbc_and_a_second_run_is_kept_beside_it(make_case, technologist):
    case = make_case()
    store_blood_count(case, RUN, by=technologist)
    store_blood_count(case, RUN, by=technologist)
    again = replace(RUN, values=(value_of("WBC", "9.1", "10*3/uL"),))
    store_blood_count(case, again, by=technologist)
    case.refresh_from_db()
    assert (float(case.wbc), case.wbc_unit, case.wbc_source) == (9.1, "10*3/uL", "Sysmex XN-1000")
    assert [run["run"] for run in cbc_runs(case)] == [2, 1]


def test_a_preliminary_run_is_shown_and_gives_no_wbc(make_case, technologist):
    case = make_case()
    store_blood_count(case, RUN, by=technologist)
    store_blood_count(case, replace(RUN, is_final=False, values=(value_of("WBC", "1", "10*3/uL"),)), by=technologist)
    case.refresh_from_db()
    assert float(case.wbc) == 7.2
    assert cbc_runs(case)[0]["is_final"]


def test_a_wbc_that_a_person_typed_stays_and_the_difference_is_said(make_case, technologist):
    case = make_case(wbc="5.0", wbc_unit="10*9/L", wbc_source="by hand")
    result = store_blood_count(case, RUN, by=technologist)
    case.refresh_from_db()
    assert float(case.wbc) == 5.0
    assert "entered by a person and stays; this run has 7.2" in result.warnings[0]


@pytest.mark.parametrize(
    ("moved", "words"), [(timedelta(hours=1), "in the future"), (timedelta(days=-2), "before the specimen")]
)
def test_a_run_of_an_impossible_time_is_refused(make_case, technologist, moved, words):
    case = make_case(collected_at=timezone.now() - timedelta(days=1))
    with pytest.raises(Refused, match=words):
        store_blood_count(case, replace(RUN, measured_at=timezone.now() + moved), by=technologist)


@pytest.mark.slow
def test_the_report_holds_the_blood_count_under_its_seal_and_a_newer_one_asks_for_an_amendment(
    reviewed,  # noqa: F811
    technologist,
    pathologist,
    client,
):
    case = reviewed()
    store_blood_count(case, RUN, by=technologist)
    client.force_login(pathologist)
    post_signature(client, case)
    report = Report.objects.get(case=case, state="signed")
    assert report.content["cbc"]["analyser"] == "Sysmex XN-1000"
    bundle = bundle_of(report.content, sequence=report.sequence, previous_seal=report.previous_seal, seal=report.seal)
    assert problems_of(canonical(bundle)) == []
    bundle["content"]["cbc"]["values"][0]["value"] = 1.0
    assert "The section “cbc” was changed after signing." in problems_of(canonical(bundle))
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "over the range of the analyser" in page
    assert "Blasts?" in page
    assert "newer CBC" not in page
    store_blood_count(case, replace(RUN, values=(value_of("WBC", "70", "10*3/uL"),)), by=technologist)
    case.refresh_from_db()
    assert float(case.wbc) == 7.2
    for address in (reverse("report_detail", args=[report.pk]), reverse("case_detail", args=[case.pk])):
        assert "newer CBC arrived after the signature" in client.get(address).content.decode()


@pytest.mark.slow
def test_a_report_without_a_blood_count_has_no_such_section(signed):  # noqa: F811
    report, _ = signed
    assert "cbc" not in report.content


def test_an_amended_report_says_which_values_of_the_blood_count_changed():
    before = {"cbc": {"values": [value_of("WBC", "7.2", "10*3/uL").as_dict() | {"name": "White blood cells"}]}}
    now = {"cbc": {"values": [value_of("WBC", "9.1", "10*3/uL").as_dict() | {"name": "White blood cells"}]}}
    assert cbc_pairs(before, now) == [("White blood cells", "7.2 10*3/uL", "9.1 10*3/uL")]
    assert cbc_pairs({}, now) == [("White blood cells", "", "9.1 10*3/uL")]
