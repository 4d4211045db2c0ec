"""No GET changes a row: every address, asked by every role, with every statement that it sends to the database."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from leukoweb.analysis.models import DetectorVersion
from tests.test_permissions import ROLES, arguments, cast, routes  # noqa: F401  cast is a fixture

# Who looked at what is recorded, and the clocks of sessions and tokens run; nothing else may be written by a look.
ALLOWED = re.compile(
    r'(INSERT INTO "audit_event"'
    r'|(INSERT INTO|UPDATE) "django_session"'
    r'|UPDATE "accounts_user" SET "last_seen_at" = \S+ WHERE'
    r'|DELETE FROM "usersessions_usersession")'  # django-allauth drops the rows of sessions that have ended
)


@pytest.fixture
def written():
    """The statements that changed something, in the order of their sending."""
    statements = []

    def watch(execute, sql, params, many, context):
        if re.match(r"\s*(INSERT|UPDATE|DELETE|REPLACE)", sql) and not ALLOWED.match(sql):
            statements.append(sql[:120])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield statements


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_no_address_changes_anything_when_it_is_only_looked_at(role, cast, written):  # noqa: F811
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        client.force_login(cast.people[role])
    written.clear()
    found, asked = {}, 0
    for name, route, _ in routes():
        client.get(reverse(name, kwargs=arguments(route, cast)))
        asked += 1
        if written:
            found[name] = list(written)
            written.clear()
    assert asked > 100
    assert found == {}


def test_the_list_of_detectors_registers_and_activates_none(sign_in, admin, db):
    assert sign_in(admin).get(reverse("detector_list")).status_code == 200
    assert not DetectorVersion.objects.exists()


def test_the_step_that_prepares_an_installation_registers_the_shipped_detector(db):
    from django.core.management import call_command

    for _ in range(2):
        call_command("upgrade", verbosity=0)
    assert DetectorVersion.objects.get().is_active


def test_the_page_of_the_signature_makes_no_report_until_something_is_written(
    sign_in, pathologist, make_case, make_slide
):
    from leukoweb.review.models import Report

    case = make_case()
    make_slide(case, {"NGS": 3})
    page = reverse("case_sign", args=[case.pk])
    assert sign_in(pathologist).get(page).status_code == 200
    assert not Report.objects.exists()
    sign_in(pathologist).post(page, {"act": "keep", "comment": "Few cells."})
    assert Report.objects.get().comment == "Few cells."
