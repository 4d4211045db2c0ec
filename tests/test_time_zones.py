"""Each laboratory has its time zone: its pages, forms, messages and reports; what is signed keeps what it prints."""

from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.urls import reverse

from leukoweb.review.models import Report
from leukoweb.review.reports.changes import changes_between
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.ledger import problems_of_report
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import cancel_amendment
from leukoweb.review.services import age_of
from tests.test_reports import WBC, post_signature, reviewed  # noqa: F401  a fixture

EVENING = datetime(2026, 7, 1, 23, 30, tzinfo=UTC)  # the next day in Berlin, at half past one


@pytest.fixture
def berlin(laboratory, admin, sign_in):
    """The laboratory with the time zone that an administrator chose."""
    address = reverse("laboratory_edit", args=[laboratory.pk])
    form = {"name": laboratory.name, "is_active": "on", "time_zone": "Mars/Base"}
    assert "Select a valid choice" in sign_in(admin).post(address, form).content.decode()
    assert sign_in(admin).post(address, form | {"time_zone": "Europe/Berlin"}).status_code == 302
    laboratory.refresh_from_db()
    return laboratory


@pytest.mark.slow
def test_pages_and_reports_show_the_time_of_the_laboratory_and_signed_ones_keep_it(
    berlin, reviewed, sign_in, pathologist  # noqa: F811
):  # fmt: skip
    case = reviewed(**WBC, wbc_at=EVENING, collected_at=EVENING, received_at=EVENING)
    client = sign_in(pathologist)
    assert "2026-07-02 01:30" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    specimen = report.content["specimen"]
    assert {specimen["collected_at"], specimen["wbc"]["at"]} == {"2026-07-02T01:30:00+02:00"}
    assert report.content["signature"]["signed_at"][-6:] in ("+01:00", "+02:00")
    berlin.time_zone = "Asia/Kolkata"
    berlin.save()
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "2026-07-02 01:30 UTC+02:00" in page
    assert problems_of_report(report) == []
    call_command("verify_report", "--all")
    draft = amend_report(report, by=pathologist, reason="Words.")
    new = content_of(Report.objects.get(pk=draft.pk))
    assert new["specimen"]["collected_at"] == "2026-07-02T05:00:00+05:30"
    assert changes_between(report.content, new) == []
    cancel_amendment(draft, by=pathologist, reason="By mistake.")


def test_a_form_reads_the_time_of_the_laboratory_and_the_age_follows_its_calendar(
    berlin, make_case, sign_in, technologist
):  # fmt: skip
    case = make_case(collected_at=EVENING, received_at=EVENING)
    client, address = sign_in(technologist), reverse("case_edit", args=[case.pk])
    assert 'value="2026-07-02T01:30:00"' in client.get(address).content.decode()
    case.patient.birth_date = EVENING.date()
    case.patient.save()
    case.laboratory.time_zone = "Europe/Berlin"
    assert age_of(case).days == 1
    case.laboratory.time_zone = "America/New_York"
    assert age_of(case).days == 0


@pytest.mark.slow
def test_programs_get_utc(berlin, make_case, sign_in, technologist):
    case = make_case(received_at=EVENING)
    said = sign_in(technologist).get(reverse("api_case_by_id", args=[case.pk])).json()
    assert said["received_at"] == "2026-07-01T23:30:00Z"
