"""Idle sign-out by the server, the stay button, polling, listed and revocable sessions (S7)."""

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event
from tests.conftest import PASSWORD

POLL = {"HTTP_X_LEUKOWEB_POLL": "1"}
PAGE = "/account/sessions/"


@pytest.fixture
def later():
    """Travel to so many minutes from the start of the test."""
    start = timezone.now()

    def at(minutes):
        return time_machine.travel(start + timedelta(minutes=minutes), tick=True)

    return at


def test_nothing_for_fifteen_minutes_signs_out(sign_in, technologist, later):
    client = sign_in(technologist)
    assert client.get(PAGE).status_code == 200
    with later(14):
        assert client.get(PAGE).status_code == 200
    with later(28):
        assert client.get(PAGE).status_code == 200
    with later(44):
        assert client.get(PAGE).url == "/sign-in/?idle=1&next=%2Faccount%2Fsessions%2F"
        assert "nothing happened for a while" in client.get("/sign-in/?idle=1").content.decode()
    assert Event.objects.get(action="sign_out", actor=technologist).changes == {"why": "idle"}


def test_polling_is_no_activity(sign_in, technologist, later):
    client = sign_in(technologist)
    client.get(PAGE)
    for minute in range(1, 15):
        with later(minute):
            assert client.get(PAGE, **POLL).status_code == 200
    with later(15.1):
        assert client.get(PAGE, **POLL).status_code == 302


def test_the_stay_button_starts_the_clock_anew_and_asking_does_not(sign_in, technologist, later):
    client = sign_in(technologist)
    client.get(PAGE)
    with later(14):
        left = client.get("/account/session/", **POLL).json()["seconds_left"]
        assert 50 <= left <= 61
        assert client.post("/account/session/stay/").json()["seconds_left"] == 900
    with later(28):
        assert client.get(PAGE).status_code == 200


def test_what_a_page_asks_after_the_end_is_answered_so_that_it_can_leave(sign_in, technologist, later):
    for headers, expected in (
        ({"HTTP_HX_REQUEST": "true"}, 200),
        ({"HTTP_ACCEPT": "application/json"}, 401),
        ({}, 302),
    ):
        client = sign_in(technologist)
        client.get(PAGE)
        with later(16):
            answer = client.get(PAGE, **headers)
            assert answer.status_code == expected
            assert client.get("/account/session/").json() == {"seconds_left": 0}
        if "HTTP_HX_REQUEST" in headers:
            assert answer["HX-Redirect"] == "/sign-in/?idle=1"


def test_the_limit_is_a_setting(sign_in, technologist, later, settings):
    settings.IDLE_LIMIT_S = 60
    client = sign_in(technologist)
    client.get(PAGE)
    with later(1.1):
        assert client.get(PAGE).status_code == 302


def test_every_page_of_a_signed_in_person_has_the_warning(sign_in, technologist, client):
    assert 'id="idle"' in sign_in(technologist).get(PAGE).content.decode()
    assert 'id="idle"' not in Client().get("/sign-in/").content.decode()


def test_last_seen_is_kept(sign_in, technologist, later):
    client = sign_in(technologist)
    with later(5):
        client.get(PAGE)
    assert timedelta(minutes=4) < User.objects.get().last_seen_at - timezone.now() < timedelta(minutes=6)


def test_sessions_are_listed_and_can_be_ended_one_by_one(technologist, outsider):
    here, elsewhere = Client(), Client(HTTP_USER_AGENT="Other browser")
    for client in (here, elsewhere):
        client.post("/sign-in/", {"username": "tess", "password": PASSWORD})
    page = here.get(PAGE).content.decode()
    assert "Other browser" in page
    other = UserSession.objects.get(user_agent="Other browser")
    stranger = Client()
    stranger.post("/sign-in/", {"username": "olaf", "password": PASSWORD})
    assert stranger.post(f"{PAGE}{other.pk}/end/").status_code == 404
    assert here.post(f"{PAGE}{other.pk}/end/").status_code == 302
    assert elsewhere.get(PAGE).status_code == 302
    assert here.get(PAGE).status_code == 200


def test_all_other_sessions_can_be_ended_at_once(technologist):
    clients = [Client(), Client(), Client()]
    for client in clients:
        client.post("/sign-in/", {"username": "tess", "password": PASSWORD})
    clients[0].post(PAGE)
    assert [client.get(PAGE).status_code for client in clients] == [200, 302, 302]


def test_a_session_ends_after_twelve_hours_at_the_latest(settings):
    assert settings.SESSION_COOKIE_AGE == 12 * 3600
