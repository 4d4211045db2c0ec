"""What no row can keep is refused in a sentence, on every page and API address: numbers, depth, characters, sizes."""

import json
import socket

import pytest
from django import forms
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from rest_framework import serializers
from rest_framework.test import APIClient

from leukoweb.given import json_of, whole_number
from leukoweb.refusals import Refused
from tests.test_permissions import arguments, cast, routes  # noqa: F401  cast is a fixture

DEEP = 100_000
BAD_JSON = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "thirty levels": b"[" * 30 + b"]" * 30,
    "a long number": b'{"code": ' + b"9" * 4000 + b"}",
    "65 bits": b'{"seen": 18446744073709551616, "since": 18446744073709551616}',
    "1e400": b'{"box": [1e400, 1, 2, 3], "code": "NGS"}',
    "Infinity": b'{"box": [Infinity, 1, 2, 3]}',
    "NaN": b'{"box": [NaN, 1, 2, 3]}',
    "half a surrogate": b'{"code": "\\ud800"}',
    "NUL": b'{"reason": "\\u0000", "code": "NGS"}',
    "a key with NUL": b'{"\\u0000": 1}',
    "a name twice": b'{"code": "NGS", "code": "MYO"}',
    "not UTF-8": b'{"code": "\xff"}',
    "broken": b'{"code": ',
    "empty word": b"nul",
}
DIGITS = ("9" * 4000, "9" * 5000, str(2**63), "²", "٣", "-1", "1.0", "1e3", " 1")


@pytest.mark.parametrize("raw", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_no_row_can_keep_is_refused_in_a_sentence(raw):
    with pytest.raises(Refused) as refused:
        json_of(raw)
    assert refused.value.code == "unreadable"
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 150


def test_json_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(Refused) as refused:
        json_of(b" " * (2**20 + 1))
    assert refused.value.status == 413


@pytest.mark.parametrize("text", DIGITS)
def test_only_plain_digits_of_64_bits_are_a_key(text):
    assert whole_number(text) is None
    assert (whole_number("007"), whole_number(str(2**63 - 1)), whole_number(""), whole_number(None)) == (
        7, 2**63 - 1, None, None)  # fmt: skip


def addresses_of(cast):  # noqa: F811
    """Every address that takes a POST, with its name."""
    return [(name, reverse(name, kwargs=arguments(route, cast))) for name, route, _ in routes()]


@pytest.mark.slow
def test_no_address_falls_over_any_json(cast):  # noqa: F811
    """Every address that answers JSON gets every odd body, a page one: as a technologist or a program sends it."""
    pages, program = Client(raise_request_exception=False), APIClient(raise_request_exception=False)
    pages.force_login(cast.people["technologist"])
    program.force_authenticate(cast.people["technologist"])
    wrong = []
    for name, address in addresses_of(cast):
        caller = program if address.startswith("/api/") else pages
        for what, raw in BAD_JSON.items():
            answer = caller.generic("POST", address, raw, content_type="application/json")
            if answer.status_code >= 500 and answer.status_code != 503:
                wrong.append((name, what, answer.status_code))
            if answer.status_code == 302 and "/sign-in/" in answer.url:
                pages.force_login(cast.people["technologist"])
            if not answer.get("Content-Type", "").startswith("application/"):
                break  # a page takes forms: to it one body is as odd as the other
            if answer.status_code in (403, 405):
                break  # nor is it read from who may not send it
    assert wrong == []


@pytest.mark.slow
def test_no_address_falls_over_numbers_that_no_row_has(cast):  # noqa: F811
    client = Client(raise_request_exception=False)
    client.force_login(cast.people["pathologist"])
    office = Client(raise_request_exception=False)
    office.force_login(cast.people["admin"])
    wrong = []
    for name, route, _ in routes():
        if "<int:" not in route:
            continue
        values = arguments(route, cast)
        for number in (2**63, int("9" * 4000)):
            odd = {key: number if isinstance(value, int) else value for key, value in values.items()}
            for caller in (client, office):
                status = caller.get(reverse(name, kwargs=odd)).status_code
                if status not in (403, 404, 405):
                    wrong.append((name, status))
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("digits", DIGITS)
def test_digits_that_are_none_in_queries_and_forms_are_no_fault(digits, cast):  # noqa: F811
    office, signer = Client(), Client()
    office.force_login(cast.people["admin"])
    signer.force_login(cast.people["pathologist"])
    assert office.get("/manage/audit/", {"before": digits, "case": digits, "actor": digits}).status_code == 200
    assert office.get("/manage/users/", {"page": digits, "laboratory": digits}).status_code == 200
    assert signer.get("/cases/", {"after": digits, "before": digits}).status_code == 200
    assert signer.get("/api/v1/cases/", {"page": digits, "page_size": digits}).status_code in (200, 404)
    kept = signer.post(reverse("case_sign", args=[cast.case.pk]), {"act": "keep", "pictures": digits})
    assert kept.status_code == 302


@pytest.mark.parametrize("address", ["/cases/?after=%00", "/manage/audit/?actor=%00", "/sign-in/?next=%00"])
def test_a_character_that_no_text_holds_in_an_address_is_refused(address, sign_in, pathologist):
    assert sign_in(pathologist).get(address).status_code == 400


def test_a_form_with_nul_is_refused_and_nothing_is_written(cast, sign_in):  # noqa: F811
    from leukoweb.cases.models import Case

    client = sign_in(cast.people["technologist"])
    answer = client.post("/cases/new/", "accession_number=A%00&mrn=1", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, Case.objects.count()) == (400, 1)
    assert "NUL" in answer.content.decode()


def test_an_address_of_100_000_bytes_is_answered_as_too_long(client, db):
    assert client.get("/sign-in/?next=" + "a" * 100_000).status_code == 414
    assert client.get("/api/v1/cases/?state=" + "a" * 100_000).json()["code"] == "too_large"


@pytest.mark.slow
def test_while_the_database_restarts_every_page_says_when_to_come_again(cast):  # noqa: F811
    """H34, H53: 503 with Retry-After, for people and programs; no page asks the database to say so."""

    def away(execute, sql, params, many, context):
        raise OperationalError("server closed the connection unexpectedly")

    client = Client(raise_request_exception=False)
    client.force_login(cast.people["technologist"])
    addresses = addresses_of(cast)
    wrong = []
    with connection.execute_wrapper(away):
        for name, address in addresses:
            answer = client.get(address)
            is_told = answer.status_code == 503 and answer.get("Retry-After")
            if not is_told and answer.status_code not in (200, 401, 404, 405, 410):
                wrong.append((name, answer.status_code))
        page, api = client.get("/worklist/"), client.get("/api/v1/cases/")
    assert wrong == []
    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert "database does not answer" in page.content.decode()
    assert (api.json()["code"], api["Retry-After"]) == ("unavailable", "5")


@pytest.mark.slow
def test_a_database_that_takes_connections_and_never_answers_is_away(db):
    """H34: a page waited for it until the limit of a request, 285 s."""
    from django.db.backends.postgresql.base import DatabaseWrapper

    from leukoweb.answers import is_database_away

    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        given = {"NAME": "leukoweb", "USER": "", "PASSWORD": "", "HOST": host, "PORT": port}
        hanging = DatabaseWrapper(connection.settings_dict | given | {"OPTIONS": settings.POSTGRESQL})
        with pytest.raises(OperationalError) as away:
            hanging.ensure_connection()
    assert is_database_away(away.value)


def test_what_the_database_refuses_to_store_is_no_absent_database():
    from django.db import IntegrityError

    from leukoweb.answers import is_database_away

    assert is_database_away(OperationalError())
    assert not is_database_away(IntegrityError())


def test_the_same_name_is_invited_once_however_often_it_is_asked_at_once(laboratory, admin):
    from leukoweb.accounts import services
    from leukoweb.accounts.models import User

    twins = [User(username=name, role="technologist", laboratory=laboratory) for name in ("Nora", "nora")]
    services.invite(twins[0], by=admin)
    with pytest.raises(Refused) as refused:
        services.invite(twins[1], by=admin)
    assert (refused.value.code, refused.value.field) == ("taken", "username")
    assert User.objects.filter(username__iexact="nora").count() == 1


def test_a_body_of_json_is_read_as_before(sign_in, technologist, make_case):
    make_case()
    answer = sign_in(technologist).post(
        "/api/v1/cases/", json.dumps({"accession_number": "Ä-1", "patient": {"mrn": "1"}}), "application/json"
    )
    assert answer.json()["fields"].keys() == {"accession_number"}


def test_every_text_that_a_person_or_a_program_writes_has_a_length():
    """H.50: a comment of 2 MB held a thread for 240 s in the PDF. Bodies bound the passwords and codes of sign-in."""
    import leukoweb.urls  # noqa: F401  brings every form and serializer

    def below(kind):
        return {kind} | {each for sub in kind.__subclasses__() for each in below(sub)}

    bounded_elsewhere = {"code", "oldpassword", "password", "password1", "password2", "uploads"}
    endless = [
        f"{form.__name__}.{name}"
        for form in below(forms.BaseForm)
        if form.__module__.startswith("leukoweb")
        for name, field in form.base_fields.items()
        if isinstance(field, forms.CharField) and field.max_length is None and name not in bounded_elsewhere
    ]
    for asked in below(serializers.Serializer):
        is_read = asked.__name__.endswith("Request") or asked.__name__.startswith("Asked")
        if asked.__module__.startswith("leukoweb") and is_read:
            endless += [
                f"{asked.__name__}.{name}"
                for name, field in asked().fields.items()
                if isinstance(field, serializers.CharField) and not field.read_only and field.max_length is None
            ]
    assert endless == []


def test_a_note_of_a_case_has_a_length_by_page_and_api(sign_in, technologist, make_case):
    case, client = make_case(), sign_in(technologist)
    fields = {"mrn": case.patient.mrn, "name": case.patient.name, "accession_number": "A-1001", "priority": "routine"}
    page = client.post(f"/cases/{case.pk}/edit/", fields | {"clinical_note": "x" * 4001})
    assert "at most 4000 characters" in page.content.decode()
    given = {"accession_number": "A-2", "patient": {"mrn": "M-2", "name": "N"}, "clinical_note": "x" * 4001}
    answer = client.post("/api/v1/cases/", given, content_type="application/json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["clinical_note"])
