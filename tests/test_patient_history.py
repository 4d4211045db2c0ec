"""The page of one person: every signed result over time, as a chart and a table of the same figures (C2, S9)."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, Patient
from leukoweb.review.history.chart import BOTTOM, LEFT, RIGHT, TOP, Point, chart_of
from leukoweb.review.models import Report
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, WBC, post_signature, reviewed  # noqa: F401  a fixture

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def points(*values, days=10, **more):
    return [Point(START + timedelta(days=days * n), value, **more) for n, value in enumerate(values)]


def test_points_lie_at_their_true_times_and_the_bands_meet():
    drawn = chart_of(
        [Point(START, 50, 40, 60, 40, 60), Point(START + timedelta(days=1), 70, 60, 79, 40, 60),
         Point(START + timedelta(days=10), 20, 12, 29, 35, 65)], from_zero=True
    )  # fmt: skip
    first, second, third = (mark.x for mark in drawn.marks)
    assert (second - first) / (third - first) == pytest.approx(0.1, abs=0.01)
    assert drawn.numbers == [(BOTTOM, 0), *[(pytest.approx(BOTTOM - n * (BOTTOM - TOP) / 4, abs=0.1), 20 * n)
                                            for n in range(1, 5)]]  # fmt: skip
    assert [band[0] for band in drawn.bands] == [LEFT, second, third]
    assert sum(band[2] for band in drawn.bands) == pytest.approx(RIGHT - LEFT, abs=0.3)
    assert drawn.marks[0].low > drawn.marks[0].y > drawn.marks[0].high


@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize("values", [(0,), (88.5,), (5, 5), (0, 0), (1e-4, 3e5), (142, 141.9)])
def test_every_point_is_within_the_drawing(values, from_zero):
    drawn = chart_of(points(*values), from_zero=from_zero)
    assert all(TOP <= mark.y <= BOTTOM and LEFT <= mark.x <= RIGHT for mark in drawn.marks)
    assert len(drawn.numbers) >= 2


@pytest.mark.parametrize("hours", [0, 1, 7, 30, 100, 24 * 17, 24 * 50, 24 * 200, 24 * 400, 24 * 3650, 24 * 30000])
def test_ticks_are_few_and_within_the_span(hours):
    last = START + timedelta(hours=hours)
    drawn = chart_of([Point(START, 1), Point(last, 2)], from_zero=True)
    assert 1 <= len(drawn.times) <= 6
    assert all(START <= at <= last for _, at in drawn.times)


@pytest.fixture
def three(reviewed, sign_in, pathologist):  # noqa: F811
    """Three signed results of one person, 40, 10 and 0 days old, the second amended."""
    client = sign_in(pathologist)
    now = timezone.now()
    for name, days, cells in (("A-1", 40, NORMAL), ("A-2", 10, {**NORMAL, "NGS": 30}), ("A-3", 0, NORMAL)):
        at = now - timedelta(days=days, hours=1)
        case = reviewed(cells, name, collected_at=at, received_at=at, **WBC)
        assert post_signature(client, case).status_code == 302, name
    report = Report.objects.get(case__accession_number="A-2")
    client.post(reverse("report_amend", args=[report.pk]), {"reason": "Comment."})
    assert post_signature(client, report.case, comment="Another.").status_code == 302
    return client


@pytest.mark.slow
def test_the_table_and_the_chart_hold_the_latest_version_of_each_report(three):
    patient = Patient.objects.get()
    answer = three.get(reverse("patient_detail", args=[patient.pk]))
    rows = answer.context["rows"]
    assert [(result.case.accession_number, result.version, result.state) for result, _ in rows] == [
        ("A-3", 1, ""), ("A-2", 2, "amended"), ("A-1", 1, "")
    ]  # fmt: skip
    assert [value.text for _, value in rows] == ["60.0", "42.8", "60.0"]
    assert [value for _, _, value in answer.context["drawing"]["marks"]] == [value for _, value in rows[::-1]]
    page = answer.content.decode()
    assert page.count('class="history-point') == 3
    assert page.count("is-amended") == 1
    assert "3 results from" in page
    assert Event.objects.filter(action="patient.read", object_id=str(patient.pk)).count() == 1
    absolute = three.get(reverse("patient_detail", args=[patient.pk]), {"show": "film.neutrophils.10*9/L"})
    assert absolute.context["rows"][0][1].number == pytest.approx(17.4 * 0.6)
    assert [key for key, _ in absolute.context["groups"]["Blood count"]] == ["cbc.WBC"]


@pytest.mark.slow
def test_withdrawn_and_rejected_are_named_and_not_plotted(three, make_case, pathologist):
    report = Report.objects.get(case__accession_number="A-1")
    answer = three.post(reverse("report_withdraw", args=[report.pk]), {"reason": "Wrong tube.", "password": PASSWORD})
    assert answer.status_code == 302
    make_case("A-4", rejected_at=timezone.now(), rejected_by=pathologist, rejection_reason="Clotted.")
    answer = three.get(reverse("patient_detail", args=[report.case.patient_id]))
    assert [(r.case.accession_number, r.state, value is None) for r, value in answer.context["rows"]] == [
        ("A-4", "rejected", True), ("A-3", "", False), ("A-2", "amended", False), ("A-1", "withdrawn", True)
    ]  # fmt: skip
    assert len(answer.context["drawing"]["marks"]) == 2
    assert "Specimen rejected" in answer.content.decode()


def test_without_a_signed_report_the_page_says_so_and_drafts_are_no_results(
    make_case, make_slide, sign_in, technologist
):
    case = make_case()
    make_slide(case, NORMAL)
    page = sign_in(technologist).get(reverse("patient_detail", args=[case.patient_id])).content.decode()
    assert "No report of this patient is signed yet." in page
    assert "<svg" not in page


@pytest.mark.slow
def test_one_result_is_drawn_in_the_middle_and_an_odd_parameter_is_ignored(reviewed, sign_in, pathologist):  # noqa: F811
    client = sign_in(pathologist)
    case = reviewed()
    post_signature(client, case)
    answer = client.get(reverse("patient_detail", args=[case.patient_id]), {"show": "film.<x>"})
    assert answer.context["chosen"] == "film.neutrophils.%"
    assert "1 result of" in answer.content.decode()


@pytest.mark.slow
def test_case_and_report_lead_to_the_page(three):
    case = Case.objects.get(accession_number="A-1")
    address = f'href="{reverse("patient_detail", args=[case.patient_id])}"'
    for page in (reverse("case_detail", args=[case.pk]), reverse("workbench", args=[case.pk]),
                 reverse("report_detail", args=[case.reports.get().pk])):  # fmt: skip
        assert address in three.get(page).content.decode()
