"""A seeded database: what was made is whole, and what pages ask of it does not grow with the number of cases."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import Case, Slide
from leukoweb.ops.bench_size import pages_of
from leukoweb.review.models import Report
from leukoweb.review.urgency import cases_that_differ

# With few cases and with many; a page may ask for a few things more, never for one thing a case.
SPARE = 5
QUERIES = {
    "worklist": 11, "list of cases": 4, "list, deep": 6, "list by patient, deep": 6, "list, to review": 4,
    "list, signed": 4, "search by name": 5, "search by number": 5, "case": 30, "workbench": 4,
    "cells of the workbench": 17, "report and signature": 48, "signed report": 10, "history of a person": 8,
    "audit log": 5, "audit log, deep": 5, "audit log, one action": 5, "audit log, reads only": 5,
    "API, list of cases": 9, "API, last page": 9, "API, to review": 9,
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def on_postgresql(transactional_db):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL only")


def seed(**options):
    call_command("seed", stdout=io.StringIO(), **options)


def too_many_queries(client, cases):
    asked = {}
    for page, addresses in pages_of(cases).items():
        who = "admin" if page.startswith("audit") else "pathologist"
        client.force_login(User.objects.get(username=f"seeded-{who}"))
        if page.startswith("search"):
            client.post(reverse("case_list"), {"search": addresses[0]})
            addresses = [reverse("case_list")]
        client.get(addresses[0])
        with CaptureQueriesContext(connection) as queries:
            assert client.get(addresses[0]).status_code == 200
        asked[page] = len(queries)
    return {page: number for page, number in asked.items() if number > QUERIES[page] + SPARE}


def test_what_is_seeded_verifies_and_is_not_seeded_twice(client):
    seed(cases=100, cells=10, open_cases=12)
    assert (Case.objects.count(), Slide.objects.count(), Cell.objects.count()) == (100, 300, 1000)
    said = io.StringIO()
    call_command("verify_report", "--all", stdout=said)
    assert said.getvalue().count(": unchanged") == Report.objects.filter(state="signed").count() == 88
    call_command("verify_audit", stdout=io.StringIO())
    assert not Case.objects.filter(flag_level=None).exists()
    assert cases_that_differ() == []
    assert Case.objects.filter(flag_level=3).exists(), "no case with blasts waits"
    with pytest.raises(CommandError, match="holds cases already"):
        seed(cases=100, open_cases=12)
    assert too_many_queries(client, 100) == {}


@pytest.mark.nightly  # the same pages with four times as many cases
def test_pages_ask_no_more_queries_with_many_cases_than_with_few(client):
    seed(cases=400, cells=10, open_cases=120)
    assert too_many_queries(client, 400) == {}


def test_a_number_that_makes_no_sense_is_refused_in_a_sentence():
    for options, sentence in (({"cases": 10}, "at least 100 cases"), ({"cases": 200, "open_cases": 150}, "half")):
        with pytest.raises(CommandError, match=sentence):
            seed(**options)
