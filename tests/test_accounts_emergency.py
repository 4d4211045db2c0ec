"""Emergency access: a case of another laboratory for reading, with a reason, an alert and a follow-up (S7)."""

from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from leukoweb.accounts.models import EmergencyAccess
from leukoweb.audit.models import Event
from tests.test_permissions import cast  # noqa: F401  a fixture

WHY = "Patient is bleeding here, the smear was made there an hour ago."


@pytest.fixture
def case(make_case, make_slide):
    case = make_case()
    make_slide(case, {"NGS": 3})
    return case


@pytest.fixture
def ask(request):
    case = request.getfixturevalue("cast").case if "cast" in request.fixturenames else request.getfixturevalue("case")

    def asked(client, **more):
        form = {"laboratory": case.laboratory_id, "accession_number": case.accession_number, "reason": WHY}
        return client.post(reverse("emergency_open"), form | more)

    return asked


@pytest.mark.slow
def test_the_case_opens_for_reading_and_only_in_this_session(outsider, case, ask):
    page = reverse("case_detail", args=[case.pk])
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        client.force_login(outsider)
    assert here.get(page).status_code == 404
    assert ask(here).url == page
    assert here.get(page).status_code == 200
    assert here.get(reverse("slide_detail", args=[case.slides.get().pk])).status_code == 200
    assert elsewhere.get(page).status_code == 404


def test_nothing_can_be_changed_in_an_emergency(outsider, case, ask, client):
    client.force_login(outsider)
    ask(client)
    assert client.post(reverse("case_decisions", args=[case.pk]), {}).status_code == 404
    for form in ("case_sign", "case_edit", "case_reject", "slide_upload"):
        assert client.get(reverse(form, args=[case.pk])).status_code == 404
    assert client.post(reverse("case_sign", args=[case.pk]), {"act": "sign"}).status_code == 404
    assert client.post(reverse("case_edit", args=[case.pk]), {}).status_code == 404


@pytest.mark.slow
def test_no_page_that_writes_opens_in_an_emergency_whatever_its_name(outsider, cast, ask, client):  # noqa: F811
    """Every address of a case that a reader may also send a form to says itself that it writes."""
    from tests.test_permissions import OWN, SIGNER_OWN, TABLE, arguments, routes

    client.force_login(outsider)
    assert ask(client).status_code == 302
    forms = [
        (name, arguments(route, cast))
        for name, route, _ in routes()
        if {OWN, SIGNER_OWN} >= set(TABLE[name]) and not route.startswith("api/")
    ]
    assert {"case_sign", "case_hold", "reference_read"} <= {name for name, _ in forms}
    assert [name for name, values in forms if client.get(reverse(name, kwargs=values)).status_code != 404] == []


@pytest.mark.slow
def test_it_ends_after_four_hours_and_with_the_session(outsider, case, ask, client, settings):
    settings.IDLE_LIMIT_S = 10 * 3600
    client.force_login(outsider)
    ask(client)
    with time_machine.travel(timezone.now() + timedelta(hours=3, minutes=59), tick=True):
        assert client.get(reverse("case_detail", args=[case.pk])).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(hours=4, minutes=1), tick=True):
        assert client.get(reverse("case_detail", args=[case.pk])).status_code == 404
    client.post(reverse("sign_out"))
    client.force_login(outsider)
    assert client.get(reverse("case_detail", args=[case.pk])).status_code == 404


def test_a_reason_is_asked_and_a_wrong_number_is_recorded(outsider, ask, client):
    client.force_login(outsider)
    assert "at least 15" in ask(client, reason="quick").content.decode()
    assert "no case of this number" in ask(client, accession_number="A-9999").content.decode()
    assert Event.objects.filter(action="emergency.refused", actor=outsider).exists()
    assert not EmergencyAccess.objects.exists()


def test_administrators_are_alerted_and_follow_up_once(outsider, admin, ask, case):
    doctor, office = Client(), Client()
    doctor.force_login(outsider)
    office.force_login(admin)
    ask(doctor)
    assert "1 emergency access" in office.get("/manage/audit/").content.decode()
    assert WHY in office.get("/manage/emergencies/").content.decode()
    access = EmergencyAccess.objects.get()
    office.post(f"/manage/emergencies/{access.pk}/", {"finding": ""})
    assert EmergencyAccess.objects.get().followed_up_at is None
    office.post(f"/manage/emergencies/{access.pk}/", {"finding": "Justified, the ward confirms."})
    office.post(f"/manage/emergencies/{access.pk}/", {"finding": "Second thought"})
    assert EmergencyAccess.objects.get().finding == "Justified, the ward confirms."
    page = office.get("/manage/emergencies/").content.decode()
    assert "No accesses to follow up" in page
    assert "Justified" in page
    opened = Event.objects.get(action="emergency.open")
    assert (opened.actor, opened.case_id) == (outsider, case.pk)
    assert Event.objects.filter(action="emergency.close").count() == 1


def test_the_readers_of_the_case_see_it_in_its_history(outsider, ask, case, client):
    from leukoweb.audit.services import history_of

    client.force_login(outsider)
    ask(client)
    client.get(reverse("case_detail", args=[case.pk]))
    said = [(event.action, event.actor) for event in history_of(case)]
    assert ("emergency.open", outsider) in said
    assert ("case.read", outsider) in said
