"""Accounts in the hands of administrators: invite, change, deactivate, reset, unlock, import; never delete (S3, S6)."""

import re
import threading

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client

from leukoweb.accounts import services
from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.audit.models import Event
from leukoweb.refusals import Refused
from tests.conftest import PASSWORD

HEAD = "username,first_name,last_name,email,role,laboratory\n"


def values_of(person, **changes):
    own = {"first_name": person.first_name, "last_name": person.last_name or "Doe", "email": person.email}
    return own | {"role": person.role, "laboratory": person.laboratory_id} | changes


def upload(client, text, **more):
    file = SimpleUploadedFile("people.csv", text if isinstance(text, bytes) else text.encode())
    return client.post("/manage/users/import/", {"file": file, **more})


def test_an_invited_person_chooses_a_password_at_an_address_that_works_once(sign_in, admin, laboratory):
    new = {"username": "nora", "first_name": "Nora", "last_name": "Berg", "role": "pathologist"}
    page = sign_in(admin).post("/manage/users/new/", new | {"laboratory": laboratory.pk}).content.decode()
    address = re.search(r'value="http://testserver(/account/invitation/[^"]+)"', page).group(1)
    guest = Client()
    assert guest.post("/sign-in/", {"username": "nora", "password": ""}).status_code == 200
    form = guest.get(address)
    assert form.status_code == 302
    weak = guest.post(form.url, {"new_password1": "short", "new_password2": "short"})
    assert "too short" in weak.content.decode()
    guest.post(form.url, {"new_password1": "a-new-horse-4-you", "new_password2": "a-new-horse-4-you"})
    guest.post("/sign-in/", {"username": "nora", "password": "a-new-horse-4-you"})
    assert guest.get("/account/sessions/").status_code == 200
    assert "no longer valid" in Client().get(address, follow=True).content.decode()
    assert Event.objects.filter(action="account.invite", actor=admin).exists()


def test_an_invitation_ends_after_its_hours(sign_in, admin, laboratory, settings):
    import time

    user = User(username="nora", laboratory=laboratory)
    services.invite(user, by=admin)
    address = services.invitation_path(user)
    settings.PASSWORD_RESET_TIMEOUT = 0
    time.sleep(1.1)
    assert "no longer valid" in Client().get(address, follow=True).content.decode()


@pytest.mark.slow
def test_the_list_searches_and_filters(sign_in, admin, technologist, pathologist, outsider):
    client = sign_in(admin)

    def names(**query):
        return {person.username for person, _ in client.get("/manage/users/", query).context["rows"]}

    assert names() == {"ada", "tess", "paul", "olaf"}
    assert names(name="TES") == {"tess"}
    assert names(role="pathologist") == {"paul", "olaf"}
    assert names(laboratory=outsider.laboratory_id) == {"olaf"}
    assert names(state="invited") == {"tess", "paul", "olaf"}
    for _ in range(5):
        Client().post("/sign-in/", {"username": "Tess", "password": "wrong-horse-9"})
    assert names(state="locked") == {"tess"}
    assert client.get("/manage/users/", {"page": "x", "role": "king", "laboratory": "9" * 30}).status_code == 200


def test_an_administrator_sees_a_lock_and_lifts_it(sign_in, admin, technologist):
    """S6"""
    for _ in range(5):
        Client().post("/sign-in/", {"username": "tess", "password": "wrong-horse-9"})
    page = sign_in(admin).get(f"/manage/users/{technologist.pk}/").content.decode()
    assert "locked until" in page
    assert "sign-in refused" in page
    sign_in(admin).post(f"/manage/users/{technologist.pk}/unlock/")
    person = Client()
    person.post("/sign-in/", {"username": "tess", "password": PASSWORD})
    assert person.get("/account/sessions/").status_code == 200
    assert Event.objects.filter(action="account.unlock", actor=admin).exists()


def test_a_change_of_role_is_recorded_with_both_values_and_ends_the_sessions(sign_in, admin, technologist):
    person = Client()
    person.post("/sign-in/", {"username": "tess", "password": PASSWORD})
    sign_in(admin).post(f"/manage/users/{technologist.pk}/", values_of(technologist, role="pathologist"))
    assert User.objects.get(username="tess").role == "pathologist"
    assert person.get("/account/sessions/").status_code == 302
    assert Event.objects.get(action="account.change").changes["role"] == ["technologist", "pathologist"]


def test_what_others_change_of_an_account_or_a_laboratory_meanwhile_stays(technologist, admin):
    """A password that its owner chose was overwritten by the one before."""

    def meanwhile(execute, sql, params, many, context):
        if sql.startswith('UPDATE "accounts_user"') and "first_name" in sql:
            User.objects.filter(pk=technologist.pk).update(password="chosen meanwhile")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        services.change_account(technologist, {"first_name": "Theresa"}, by=admin)
    technologist.refresh_from_db()
    assert (technologist.first_name, technologist.password) == ("Theresa", "chosen meanwhile")
    one, two = (Laboratory.objects.get(pk=technologist.laboratory_id) for _ in range(2))
    one.telephone, two.director = "12", "Dr. Ash"
    services.save_laboratory(one, by=admin, changed=["telephone"])
    services.save_laboratory(two, by=admin, changed=["director"])
    one.refresh_from_db()
    assert (one.telephone, one.director) == ("12", "Dr. Ash")


def test_nobody_changes_their_own_role(sign_in, admin, laboratory):
    User.objects.create_user("alba", role="admin", laboratory=laboratory)
    page = sign_in(admin).post(f"/manage/users/{admin.pk}/", values_of(admin, role="technologist"), follow=True)
    assert "cannot change your own role" in page.content.decode()
    assert User.objects.get(pk=admin.pk).role == "admin"


def test_nobody_deactivates_themselves(sign_in, admin, laboratory):
    User.objects.create_user("alba", role="admin", laboratory=laboratory)
    page = sign_in(admin).post(f"/manage/users/{admin.pk}/active/", follow=True)
    assert "cannot deactivate your own" in page.content.decode()


def test_the_last_administrator_stays_one(admin, laboratory):
    """Also when the one who asks was demoted a moment ago."""
    former = User.objects.create_user("alba", role="technologist", laboratory=laboratory)
    with pytest.raises(Refused, match="last active administrator"):
        services.change_account(admin, {"role": "pathologist"}, by=former)
    with pytest.raises(Refused, match="last active administrator"):
        services.set_active(admin, False, by=former)


@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_demote_each_other_at_once_leave_one(laboratory):
    ada, alba = (User.objects.create_user(name, role="admin", laboratory=laboratory) for name in ("ada", "alba"))

    def demote(person, by):
        try:
            services.change_account(person, {"role": "technologist"}, by=by)
        except Refused:
            pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=demote, args=pair) for pair in ((ada, alba), (alba, ada))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert User.objects.filter(role="admin").count() == 1


@pytest.mark.django_db(transaction=True)
def test_changes_of_accounts_and_events_of_the_same_people_never_wait_for_each_other(laboratory):
    """The chain's lock and the rows of administrators, taken from both sides at once: no deadlock."""
    from django.db import transaction

    from leukoweb.audit.services import record

    ada, tess = (User.objects.create_user(name, role=role, laboratory=laboratory)
                 for name, role in (("ada", "admin"), ("tess", "technologist")))  # fmt: skip
    failures = []

    def repeat(work):
        try:
            for n in range(25):
                work(n)
        except Exception as failure:
            failures.append(failure)
        finally:
            connections.close_all()

    def write(n):
        with transaction.atomic():
            record("case.edit", actor=ada, changes={"n": n})

    works = [lambda n: services.change_account(tess, {"first_name": f"Tess {n}"}, by=ada), write, write]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_deactivated_account_is_out_at_once_and_stays_in_the_list(sign_in, admin, technologist):
    person = Client()
    person.force_login(technologist)
    client = sign_in(admin)
    client.post(f"/manage/users/{technologist.pk}/active/")
    assert person.get("/account/sessions/").status_code == 302
    assert "deactivated" in client.get("/manage/users/").content.decode()
    client.post(f"/manage/users/{technologist.pk}/active/", {"active": "yes"})
    assert User.objects.get(username="tess").is_active


def test_no_page_deletes_an_account():
    from django.urls import get_resolver

    assert not [name for name in get_resolver().reverse_dict if isinstance(name, str) and "user_delete" in name]


def test_a_lost_second_factor_is_reset(sign_in, admin, technologist):
    """Of who neither signs nor administers, by one administrator; see test_accounts_attacked.py for the others."""
    TOTP.activate(technologist, generate_totp_secret())
    sign_in(admin).post(f"/manage/users/{technologist.pk}/reset-factor/")
    assert not has_second_factor(technologist)
    assert Event.objects.filter(action="second_factor.reset", actor=admin).exists()


def test_an_administrator_does_not_reset_their_own_password_here(sign_in, admin):
    sign_in(admin).post(f"/manage/users/{admin.pk}/reset-password/")
    assert User.objects.get(pk=admin.pk).check_password(PASSWORD)


@pytest.mark.slow
def test_a_list_is_checked_first_and_imported_then(sign_in, admin, laboratory):
    text = (
        HEAD + "nora,Nora,Berg,,pathologist,central laboratory\n\n"
        "ümit,Ümit,Øre,u@example.org,Technologist,Central Laboratory\n"
    )
    client = sign_in(admin)
    page = upload(client, text.encode("utf-8-sig"))
    assert page.content.decode().count("will be invited") == 2
    assert not User.objects.filter(username="nora").exists()
    page = client.post("/manage/users/import/", {"text": text, "import": "yes"})
    assert page.content.decode().count("/account/invitation/") == 2
    assert User.objects.get(username="ümit").role == "technologist"
    assert Event.objects.filter(action="account.invite").count() == 2


def test_the_dry_run_reports_every_line_and_a_wrong_line_stops_all(sign_in, admin, technologist, laboratory):
    text = HEAD + (
        "good,Good,One,,technologist,Central Laboratory\n"
        "TESS,Tess,Again,,technologist,Central Laboratory\n"
        "king,King,One,,king,Central Laboratory\n"
        "lost,Lost,One,,technologist,Nowhere\n"
        "Good,Good,Twice,,technologist,Central Laboratory\n"
        "mail,Mail,One,not-an-address,technologist,Central Laboratory\n"
        "short,Short\n"
        ",No,Name,,technologist,Central Laboratory\n"
    )
    client = sign_in(admin)
    page = upload(client, text).content.decode()
    for complaint in ("account of that name already", "Select a valid choice", "no active laboratory called “Nowhere”",
                      "stands in the file twice", "valid email", "another number of columns",
                      "field is required"):  # fmt: skip
        assert complaint in page, complaint
    assert "Nothing is imported while a line is wrong" in page
    client.post("/manage/users/import/", {"text": text, "import": "yes"})
    assert not User.objects.filter(username="good").exists()


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", b"\xff\xfe\x00bad", HEAD + '"open quote', "\0" * 50, HEAD + "x," * 5000, "\n" * 40]
)
def test_a_file_that_is_no_such_list_is_refused_in_words(sign_in, admin, text):
    page = upload(sign_in(admin), text)
    assert page.status_code == 200
    assert User.objects.count() == 1


def test_laboratories_are_made_and_changed(sign_in, admin):
    client = sign_in(admin)
    client.post("/manage/laboratories/new/", {"name": "North", "address": "1 Quay", "is_active": "on"})
    north = Laboratory.objects.get(name="North")
    client.post(f"/manage/laboratories/{north.pk}/", {"name": "North Wing", "address": "1 Quay", "is_active": "on"})
    assert "North Wing" in client.get("/manage/laboratories/").content.decode()
    assert "already exists" in client.post("/manage/laboratories/new/", {"name": "North Wing"}).content.decode()
    assert Event.objects.filter(action__startswith="laboratory.").count() == 2


@pytest.mark.slow
def test_the_administrator_menu_names_pages_that_exist(sign_in, admin):
    page = sign_in(admin).get("/manage/users/").content.decode()
    links = re.findall(r'class="nav-link[^"]*" href="([^"]+)"', page)
    assert "/manage/audit/" in links
    assert "/manage/laboratories/" in links
    assert {sign_in(admin).get(link).status_code for link in links} <= {200, 503}  # 503: no broker runs here
