"""The analyser's white cell count: units, limits, times and the film beside it, by page and by programs (C8, C14)."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from leukoweb.cases.models import Case, Patient
from leukoweb.cases.wbc import unit_of
from tests.test_cases import FORM

NOW = timezone.localtime().replace(second=0, microsecond=0)


def page_form(**changes):
    """The form of a new case, received an hour ago."""
    at = (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    return FORM | {"received_at": at, "collected_at": at, "wbc_at": at} | changes


def registered_by_a_program(person, **fields):
    client = APIClient()
    client.force_authenticate(person)
    case = {"accession_number": "U-1", "patient": {"mrn": "U-1", "name": "Doe, Jo"}, **fields}
    return client.post("/api/v1/cases/", case, "json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("10*3/µL", "10*3/uL"), ("K/µL", "10*3/uL"), ("/nL", "10*9/L"), ("Gpt/L", "10*9/L"), ("x10^9/L", "10*9/L"),
        ("10^3/mm3", "10*3/uL"), ("10⁹/L", "10*9/L"), ("× 10⁹ / l", "10*9/L"), ("10E9/L", "10*9/L"), ("G/L", "10*9/L"),
        ("10³/μl", "10*3/uL"), ("x 10 3 / uL", "10*3/uL"), ("thou/uL", "10*3/uL"), ("/mm³", "/uL"), ("cells/µl", "/uL"),
        ("10*9/L", "10*9/L"), ("10*6/L", "/uL"), ("x10(9)/L", "10*9/L"), ("10*9{cells}/L", "10*9/L"),
        ("K/mcL", "10*3/uL"), ("×10⁹·L⁻¹", "10*9/L"), ("10^3.uL-1", "10*3/uL"), ("Tsd./µl", "10*3/uL"),
    ],
)  # fmt: skip
def test_a_unit_is_known_in_the_spellings_of_analysers(technologist, spelling, unit):
    """C14, through the API."""
    answer = registered_by_a_program(technologist, wbc=4500 if unit == "/uL" else 4.5, wbc_unit=spelling)
    assert answer.status_code == 201, answer.content
    assert Case.objects.get().wbc_unit == unit


@pytest.mark.parametrize("spelling", ["g/dL", "10*12/L", "/mL", "L", "", "10^9", "%", "²"])
def test_another_unit_is_never_taken_for_one_of_ours(spelling):
    assert unit_of(spelling) == spelling


@pytest.mark.parametrize(
    ("wbc", "unit"),
    [("0", "10*9/L"), ("6200", "10*9/L"), ("1500.001", "10*3/uL"), ("1500001", "/uL"), ("0.000", "/uL")],
)
def test_a_count_that_blood_cannot_have_is_refused_on_the_page_and_for_programs(sign_in, technologist, wbc, unit):
    """C14: 0 < WBC <= 1,500 × 10⁹/L, in any unit."""
    said = "must be more than 0" if float(wbc) == 0 else "more than blood can hold"
    answer = sign_in(technologist).post("/cases/new/", page_form(wbc=wbc, wbc_unit=unit))
    assert said in answer.content.decode()
    answer = registered_by_a_program(technologist, wbc=wbc, wbc_unit=unit)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not Case.objects.exists()


def test_the_highest_count_of_blood_is_taken_in_each_unit(technologist):
    for number, (wbc, unit) in enumerate([("1500", "10*9/L"), ("1500", "10*3/uL"), ("1500000", "/uL")]):
        answer = registered_by_a_program(technologist, wbc=wbc, wbc_unit=unit, accession_number=f"H-{number}")
        assert answer.status_code == 201, answer.content


@pytest.mark.parametrize(
    ("measured", "collected", "said"),
    [
        (timedelta(hours=2), timedelta(hours=-1), "lies in the future"),
        (timedelta(hours=-3), timedelta(hours=-1), "cannot be measured before the specimen was collected"),
    ],
)
def test_a_time_of_measurement_that_cannot_be_is_refused(sign_in, technologist, measured, collected, said):
    """C14: the future and the time before the collection."""
    form = page_form(
        wbc_at=(NOW + measured).strftime("%Y-%m-%dT%H:%M"), collected_at=(NOW + collected).strftime("%Y-%m-%dT%H:%M")
    )
    assert said in sign_in(technologist).post("/cases/new/", form).content.decode()
    answer = registered_by_a_program(
        technologist, wbc=4.5, wbc_unit="10*9/L", wbc_at=(NOW + measured).isoformat(),
        collected_at=(NOW + collected).isoformat(), received_at=NOW.isoformat(),
    )  # fmt: skip
    assert (answer.status_code, said in answer.content.decode()) == (400, True)
    assert not Case.objects.exists()


def test_an_edited_count_is_held_to_the_same_limits(sign_in, technologist):
    client = sign_in(technologist)
    client.post("/cases/new/", page_form())
    case = Case.objects.get()
    answer = client.post(f"/cases/{case.pk}/edit/", page_form(wbc="6200"))
    assert "more than blood can hold" in answer.content.decode()
    assert float(Case.objects.get().wbc) == 17.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wbc", "unit", "hours", "said"),
    [
        ("6.2", "/uL", 1, "The WBC is only 0.0062 × 10⁹/L. Check the unit."),
        ("6.2", "10*9/L", 144, "measured 6 days after the specimen was collected. Check both times."),
    ],
)
def test_a_count_that_is_hardly_right_is_taken_and_warned_of_until_it_is_corrected(
    sign_in, technologist, pathologist, make_slide, wbc, unit, hours, said
):
    """C14: on the case page, for programs, and without the instruction in the report (S13)."""
    collected = NOW - timedelta(hours=hours)
    answer = registered_by_a_program(
        technologist, wbc=wbc, wbc_unit=unit, wbc_at=NOW.isoformat(), wbc_source="XN",
        collected_at=collected.isoformat(), received_at=collected.isoformat(),
    )  # fmt: skip
    assert answer.status_code == 201, answer.content
    assert said in answer.json()["warnings"][0]
    case = Case.objects.get()
    client = sign_in(pathologist)
    assert said in client.get(f"/cases/{case.pk}/").content.decode()
    make_slide(case, {"NGS": 1})
    assert said in client.get(f"/cases/{case.pk}/").content.decode()
    paper = " ".join(client.get(f"/cases/{case.pk}/sign/").context["content"]["limits"])
    assert said.split(". ")[0] in paper
    assert "Check" not in paper


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wbc", "cells", "contradicts"),
    [("300", {"NGS": 1}, True), ("0.5", {"LYT": 400}, True), ("80", {}, True), ("8", {"NGS": 3}, False),
     ("0.5", {"NGS": 1}, False)],
)  # fmt: skip
def test_film_and_analyser_that_contradict_each_other_are_said(
    sign_in, pathologist, make_case, make_slide, wbc, cells, contradicts
):
    """C14: one field of 0.16 mm2; 0.48 × 10⁹/L for a leukocyte per mm2, tenfold apart."""
    case = make_case(wbc=wbc, wbc_unit="10*9/L", wbc_source="XN", wbc_at=timezone.now())
    make_slide(case, cells)
    page = sign_in(pathologist).get(f"/cases/{case.pk}/").content.decode()
    assert ("Film and analyser contradict each other" in page) is contradicts


@pytest.mark.slow
def test_the_age_on_the_case_page_is_exact_to_the_birthday(sign_in, technologist, make_case, laboratory):
    """C12."""
    baby = Patient.objects.create(laboratory=laboratory, mrn="B-1", name="Baby", birth_date="2026-01-10")
    for number, (day, words) in enumerate([("2026-01-13", "3 days"), ("2026-07-09", "5 months"),
                                           ("2028-01-09", "23 months"), ("2028-01-10", "2 years")]):  # fmt: skip
        at = timezone.make_aware(timezone.datetime.fromisoformat(f"{day}T08:00"))
        case = make_case(f"B-{number}", patient=baby, collected_at=at, received_at=at)
        assert f"({words})" in sign_in(technologist).get(f"/cases/{case.pk}/").content.decode()
