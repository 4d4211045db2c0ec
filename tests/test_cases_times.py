"""Times of a case as typed and edited: the doubled hour of autumn, the missing one of spring, seconds (H19)."""

from datetime import UTC, datetime

import pytest
import time_machine
from django.urls import reverse

from leukoweb.cases.models import Case

BERLIN = "Europe/Berlin"


@pytest.fixture
def berlin(settings):
    settings.TIME_ZONE = BERLIN


def form_of(page, **changes):
    """The page's own form as a browser sends it back."""
    fields = [*page.context["patient"], *page.context["form"]]
    sent = {}
    for field in fields:
        value = field.value()
        shown = field.field.widget.format_value(value) if hasattr(field.field.widget, "format_value") else value
        sent[field.html_name] = shown[0] if isinstance(shown, list) else shown
    return {name: "" if value is None else value for name, value in (sent | changes).items()}


@pytest.mark.parametrize("received", ["2026-10-25T00:30:00+00:00", "2026-10-25T01:30:45+00:00"])
def test_a_case_received_in_the_doubled_hour_is_edited_and_keeps_its_moment(
    berlin, make_case, sign_in, technologist, received
):
    case = make_case(received_at=datetime.fromisoformat(received))
    client = sign_in(technologist)
    page = client.get(reverse("case_edit", args=[case.pk]))
    answer = client.post(reverse("case_edit", args=[case.pk]), form_of(page, clinical_note="Fever."))
    assert answer.status_code == 302, answer.context["form"].errors
    case.refresh_from_db()
    assert (case.clinical_note, case.received_at) == ("Fever.", datetime.fromisoformat(received))


def test_editing_only_the_note_leaves_seconds_as_they_are(make_case, sign_in, technologist):
    times = {
        "collected_at": datetime(2026, 11, 26, 10, 0, 30, tzinfo=UTC),
        "received_at": datetime(2026, 11, 26, 10, 0, 45, tzinfo=UTC),
    }
    case = make_case(**times)
    client = sign_in(technologist)
    page = client.get(reverse("case_edit", args=[case.pk]))
    assert client.post(reverse("case_edit", args=[case.pk]), form_of(page, clinical_note="x")).status_code == 302
    case.refresh_from_db()
    assert (case.collected_at, case.received_at) == (times["collected_at"], times["received_at"])


@pytest.mark.parametrize("now", ["2026-10-25T00:31:00+00:00", "2026-10-25T01:31:00+00:00"])
def test_the_prefilled_register_form_can_be_sent_in_the_doubled_hour(berlin, sign_in, technologist, now):
    with time_machine.travel(datetime.fromisoformat(now), tick=False):
        client = sign_in(technologist)
        page = client.get(reverse("case_register"))
        form = form_of(page, mrn="DS1", name="Doe, Jane", accession_number="DST-1")
    with time_machine.travel(datetime.fromisoformat(now.replace(":31:00", ":33:00")), tick=False):
        answer = client.post(reverse("case_register"), form)
    assert answer.status_code == 302, answer.context["form"].errors
    assert Case.objects.get().received_at == datetime.fromisoformat(now)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "typed", "meant"),
    [
        ("2026-10-25T01:30:00+00:00", "02:45", "2026-10-25T00:45:00+00:00"),  # in winter time it would be in the future
        ("2026-10-25T01:30:00+00:00", "02:10", "2026-10-25T01:10:00+00:00"),
        ("2026-10-25T01:30:00+00:00", "02:35", "2026-10-25T01:35:00+00:00"),  # two clocks may differ
        ("2026-10-25T00:30:00+00:00", "02:10", "2026-10-25T00:10:00+00:00"),
        ("2026-10-25T09:00:00+00:00", "02:10", "2026-10-25T01:10:00+00:00"),
    ],
)
def test_a_time_typed_in_the_doubled_hour_is_the_last_one_that_is_over(
    berlin, sign_in, technologist, now, typed, meant
):
    with time_machine.travel(datetime.fromisoformat(now), tick=False):
        client = sign_in(technologist)
        page = client.get(reverse("case_register"))
        own = {"mrn": "M-9", "name": "Doe, Jane", "accession_number": "T-9", "received_at": f"2026-10-25T{typed}"}
        assert client.post(reverse("case_register"), form_of(page, **own)).status_code == 302
    assert Case.objects.get().received_at == datetime.fromisoformat(meant)


def test_an_offset_that_no_place_has_is_refused(berlin, make_case, sign_in, technologist):
    case, client = make_case(), sign_in(technologist)
    page = client.get(reverse("case_edit", args=[case.pk]))
    answer = client.post(reverse("case_edit", args=[case.pk]), form_of(page, collected_at="2026-03-01T02:30+23:59"))
    assert (answer.status_code, "Enter a valid date/time." in answer.content.decode()) == (200, True)


def test_a_time_that_the_clocks_left_out_is_refused_in_a_sentence(berlin, make_case, sign_in, technologist):
    case = make_case()
    client = sign_in(technologist)
    page = client.get(reverse("case_edit", args=[case.pk]))
    form = form_of(page, collected_at="2026-03-29T02:30")
    answer = client.post(reverse("case_edit", args=[case.pk]), form)
    assert "The clocks went forward over this hour" in answer.content.decode()
