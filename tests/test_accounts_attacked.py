"""What a stranger, a lost token, a shared workstation or one administrator alone can do to an account."""

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import time_machine
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from leukoweb.accounts import lockout, services
from leukoweb.accounts.second_factor import check_code
from leukoweb.accounts.services import change_account
from leukoweb.analysis.models import Cell
from leukoweb.api.models import ApiToken
from leukoweb.api.services import give_token
from leukoweb.audit.services import record
from leukoweb.refusals import Refused
from leukoweb.review.counting.policies import RELEASE_TECHNOLOGIST
from leukoweb.review.services import rules_of, save_policy
from tests.conftest import PASSWORD
from tests.services import ROOT
from tests.test_accounts import code_of, enter, give_totp, is_in


def guess(name, times, address="203.0.113.9"):
    stranger = Client(REMOTE_ADDR=address)
    return [enter(stranger, name, f"wrong-horse-{n}") for n in range(times)]


def program(secret):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    return client


# --- lock-out


def test_a_stranger_who_guesses_locks_out_only_the_own_address(client, pathologist):
    assert "locked" in guess("paul", 6)[-1].content.decode()
    enter(client, "paul")
    assert is_in(client)


@pytest.mark.slow
def test_a_stranger_who_guesses_stops_no_live_session_from_signing(sign_in, pathologist):
    client = sign_in(pathologist)
    for n in range(12):
        guess("paul", 5, f"203.0.113.{n}")
    assert lockout.locked_until("paul", "198.51.100.1") is not None  # from many addresses: the name itself
    assert lockout.confirm_password(pathologist, PASSWORD)
    assert is_in(client)


@pytest.mark.slow
def test_guesses_from_many_addresses_lock_the_name_itself(client, pathologist, settings):
    settings.LOCKOUT_FAILURES_BY_NAME = 8
    for n in range(4):
        guess("paul", 2, f"203.0.113.{n}")
    assert "locked" in enter(client, "paul").content.decode()


@pytest.mark.slow
def test_unlock_unlocks_whatever_has_counted(client, sign_in, admin, pathologist, settings):
    """Also after so many tries that the sign-in page's own limit by name would stand behind the lock."""
    settings.LOCKOUT_FAILURES_BY_NAME = 12
    for n in range(4):
        guess("paul", 5, f"203.0.113.{n}")
    enter(client, "paul")
    assert not is_in(client)
    sign_in(admin).post(reverse("user_unlock", args=[pathologist.pk]))
    client.logout()
    enter(client, "paul")
    assert is_in(client)


def test_the_only_administrator_who_is_locked_out_has_a_way_in(client, admin):
    for _ in range(6):
        enter(client, "ada", "wrong-horse-9")
    enter(client, "ada")
    assert not is_in(client)
    call_command("unlock", "Ada")
    enter(client, "ada")
    assert is_in(client)


# --- tokens


@pytest.mark.parametrize("end", ["own password", "reset", "sign out everywhere", "sign out elsewhere", "deactivate"])
def test_a_token_ends_with_the_sessions_of_its_owner(end, sign_in, client, technologist, admin):
    _, secret = give_token(technologist)
    assert program(secret).get("/api/v1/cases/").status_code == 200
    if end == "own password":
        services.choose_password(technologist, "another-horse-7-battery")
    elif end == "sign out elsewhere":
        sign_in(technologist).post(reverse("usersessions_list"))
    elif end == "deactivate":
        services.set_active(technologist, False, by=admin)
        services.set_active(technologist, True, by=admin)
    else:
        address = {"reset": "user_reset_password", "sign out everywhere": "user_end_sessions"}[end]
        sign_in(admin).post(reverse(address, args=[technologist.pk]))
    assert program(secret).get("/api/v1/cases/").json()["code"] == "bad_token"


def test_a_token_made_after_the_sessions_ended_is_taken(technologist, admin):
    services.end_sessions(technologist, by=admin)
    _, secret = give_token(technologist)
    assert program(secret).get("/api/v1/cases/").status_code == 200


def test_administrators_see_and_revoke_the_tokens_of_others(sign_in, admin, technologist):
    token, secret = give_token(technologist, name="analyser room")
    page = sign_in(admin).get(reverse("all_tokens")).content.decode()
    assert "analyser room" in page
    assert secret not in page
    sign_in(admin).post(reverse("any_token_revoke", args=[token.pk]))
    assert program(secret).get("/api/v1/cases/").status_code == 401
    assert "Nobody has a token" in sign_in(admin).get(reverse("all_tokens")).content.decode()


def test_a_token_that_may_only_read_can_end_itself(technologist):
    _, secret = give_token(technologist, scope=ApiToken.Scope.READ)
    assert program(secret).post("/api/v1/cases/", {}, "json").json()["code"] == "read_only_token"
    assert program(secret).post("/api/v1/token/revoke/").status_code == 204
    assert program(secret).get("/api/v1/cases/").status_code == 401


# --- administrators


@pytest.fixture
def second_admin(laboratory):
    from leukoweb.accounts.models import User

    return User.objects.create_user("adam", password=PASSWORD, role="admin", laboratory=laboratory, first_name="Adam")


def reset(person, by, what="password"):
    client = Client()
    client.force_login(by)
    return client.post(reverse(f"user_reset_{what}", args=[person.pk]), follow=True).content.decode()


@pytest.mark.slow
def test_one_administrator_alone_cannot_reset_who_signs(pathologist, admin, second_admin):
    give_totp(pathologist)
    for _ in range(2):
        assert "another administrator must confirm" in reset(pathologist, admin)
        assert "another administrator must confirm" in reset(pathologist, admin, "factor")
    pathologist.refresh_from_db()
    assert pathologist.check_password(PASSWORD)
    office = Client()
    office.force_login(second_admin)
    assert "Ada asked on" in office.get(reverse("user_detail", args=[pathologist.pk])).content.decode()
    assert "Temporary password" in reset(pathologist, second_admin)
    pathologist.refresh_from_db()
    assert not pathologist.check_password(PASSWORD)
    assert "Second factor removed" in reset(pathologist, second_admin, "factor")


def test_an_administrator_who_takes_the_role_away_first_cannot_reset_alone_either(pathologist, admin):
    """H47: demoted, reset by one, and made a pathologist again."""
    pathologist.statement_accepted_at = None
    pathologist.save()
    change_account(pathologist, {"role": "technologist"}, by=admin)
    pathologist.refresh_from_db()
    assert "another administrator must confirm" in reset(pathologist, admin)
    pathologist.refresh_from_db()
    assert pathologist.check_password(PASSWORD)


def test_a_technologist_who_has_released_a_report_is_reset_by_two(technologist, admin):
    """H47: where a laboratory lets technologists release, they sign too."""
    assert "Temporary password" in reset(technologist, admin)
    record("report.sign", actor=technologist, changes={"version": 1, "seal": "0"})
    assert "another administrator must confirm" in reset(technologist, admin)


def test_a_technologist_who_may_release_reports_is_reset_by_two_also_before_the_first(technologist, admin, laboratory):
    """H47: one administrator would release in the name of a technologist who never did."""
    rules = replace(rules_of(None), release=RELEASE_TECHNOLOGIST)
    save_policy(laboratory, rules, reason="Validated.", by=admin)
    assert "another administrator must confirm" in reset(technologist, admin)
    technologist.refresh_from_db()
    assert technologist.check_password(PASSWORD)


def test_what_was_asked_more_than_a_day_ago_is_not_confirmed(pathologist, admin, second_admin):
    reset(pathologist, admin)
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=True):
        assert "another administrator must confirm" in reset(pathologist, second_admin)
    pathologist.refresh_from_db()
    assert pathologist.check_password(PASSWORD)


def test_a_signature_soon_after_a_reset_carries_a_mark(pathologist, admin, second_admin):
    from leukoweb.review.reports.content import signature_of

    assert "reset" not in signature_of(pathologist, "Review and approval", timezone.now())
    reset(pathologist, admin)
    reset(pathologist, second_admin)
    signed = signature_of(pathologist, "Review and approval", timezone.now() + timedelta(days=6))
    assert signed["reset"].startswith("The signer's password was reset on ")
    assert signed["reset"].endswith(" by Ada and Adam.")
    assert "reset" not in signature_of(pathologist, "Review and approval", timezone.now() + timedelta(days=8))


def test_the_operator_of_the_server_resets_where_one_administrator_is_all_there_is(pathologist, capsys):
    from leukoweb.accounts.resets import note_of_reset

    call_command("reset_account", "paul")
    password = capsys.readouterr().out.split()[4]
    pathologist.refresh_from_db()
    assert pathologist.check_password(password)
    assert pathologist.must_change_password
    assert "by the operator of the server" in note_of_reset(pathologist, timezone.now())


def test_an_account_that_was_used_gets_no_new_invitation(sign_in, admin, pathologist):
    pathologist.set_unusable_password()
    pathologist.last_login = timezone.now()
    pathologist.save()
    answer = sign_in(admin).post(reverse("user_invitation", args=[pathologist.pk]), follow=True)
    assert "Reset its password instead" in answer.content.decode()


# --- the shared workstation


@pytest.mark.slow
def test_no_page_behind_the_sign_in_is_kept_by_a_browser(sign_in, technologist, make_case):
    case = make_case()
    client = sign_in(technologist)
    for address in ("/worklist/", "/cases/", f"/cases/{case.pk}/", "/account/tokens/", "/api/v1/cases/A-1001/"):
        assert "no-store" in client.get(address)["Cache-Control"], address


def test_a_kept_picture_is_shown_only_after_the_server_was_asked(
    sign_in, client, technologist, outsider, make_case, make_slide, draw_pixels
):
    draw_pixels(make_slide(make_case(), {"LYT": 1}))
    cell = Cell.objects.get()
    for address in (f"/cells/{cell.pk}/crop.jpg", f"/images/{cell.image_id}/tiles/0/0_0.jpg"):
        own = sign_in(technologist)
        first = own.get(address)
        assert first["Cache-Control"] == "private, no-cache"
        again = {"If-None-Match": first["ETag"]}
        assert own.get(address, headers=again).status_code == 304
        own.post("/sign-out/")
        assert own.get(address, headers=again).status_code == 302
        assert client.get(address, headers=again).status_code == 302
        assert sign_in(outsider).get(address, headers=again).status_code == 404


# --- codes


@pytest.mark.slow
def test_one_code_is_taken_once_in_all_processes(transactional_db, pathologist):
    """The first code is used here; another process then refuses it."""
    secret = give_totp(pathologist)
    code = code_of(secret)
    assert check_code(pathologist, code)
    key = f"allauth.mfa.totp.used?user={pathologist.pk}&code={code}"
    asked = f"import django; django.setup(); from django.core.cache import cache; print(cache.get({key!r}) is not None)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_one_code_that_comes_twice_at_once_is_taken_once(transactional_db, pathologist):
    code = code_of(give_totp(pathologist))
    answers = []

    def try_it():
        answers.append(check_code(pathologist, code))
        connections.close_all()

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]


def test_a_code_that_confirms_a_session_is_taken_once_and_guessing_at_it_locks_the_session(client, pathologist):
    address, code = "/account/second-factor/reauthenticate/", code_of(give_totp(pathologist))
    client.force_login(pathologist)
    assert client.post(address, {"code": code}).status_code == 302
    assert client.post(address, {"code": code}).status_code == 200
    for guess in range(4):
        client.post(address, {"code": f"00000{guess}"})
    with pytest.raises(Refused, match="locked"):
        lockout.confirm_password(pathologist, PASSWORD)


# --- keys and decisions


@pytest.mark.slow
@pytest.mark.parametrize("key", ["short", "a" * 60, "insecure-0123456789-0123456789-abcdef"])
def test_a_weak_secret_key_is_refused_in_a_sentence(key, tmp_path):
    import os

    env = os.environ | {"LEUKOWEB_SECRET_KEY": key, "LEUKOWEB_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "import django; django.setup()"], cwd=ROOT, capture_output=True,
                          text=True, env=env)  # fmt: skip
    assert "at least 32 random characters" in done.stderr


def test_a_program_that_saw_nothing_does_not_overwrite_another_readers_decision(
    technologist, pathologist, make_case, make_slide
):
    from leukoweb.review.models import Decision

    cell = make_slide(make_case(), {"NGS": 1}).images.get().cells.get()
    address = f"/api/v1/cells/{cell.pk}/decisions/"
    one, two = APIClient(), APIClient()
    one.force_authenticate(technologist)
    two.force_authenticate(pathologist)
    assert one.post(address, {"code": "MON"}, "json").status_code == 201
    assert one.post(address, {"code": "LYT"}, "json").status_code == 201  # one's own decision is no surprise
    assert two.post(address, {"code": "EOS"}, "json").json()["code"] == "changed_since"
    seen = two.get(address).json()[-1]["id"]
    assert two.post(address, {"code": "EOS", "seen_decision": seen}, "json").status_code == 201
    assert Decision.objects.filter(cell=cell).count() == 3
