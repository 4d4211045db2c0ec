"""The demonstration once its detector and its readers have done their part: three cases, made once for these tests."""

import pytest
from django.db import transaction
from django.urls import reverse

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.ops import demo
from leukoweb.ops.demo_reading import OVERLOOKED, TYPES, read_cases
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.services import count_case
from tests.test_demonstration import PASSWORD, lay_cells

pytestmark = pytest.mark.slow  # they read two whole cases


@pytest.fixture(scope="module")
def demonstration(django_db_setup, django_db_blocker):
    """The installation after the readers; what a test changes is undone with it, all of it after the last one."""
    with django_db_blocker.unblock(), transaction.atomic():
        demo.make_accounts(PASSWORD)
        for case in demo.first_cases():
            lay_cells(case)
        assert read_cases()
        yield
        transaction.set_rollback(True)
    demo.password_file().unlink()


@pytest.fixture
def read(demonstration, db):
    """The three cases, by accession number."""
    demo.password_file().write_text(PASSWORD)
    return {case.accession_number: case for case in Case.objects.with_state()}


@pytest.fixture
def demo_pathologist(read):
    return User.objects.get(username="pathologist")


def test_one_case_is_to_be_reviewed_one_ready_to_sign_and_one_signed_with_an_amendment(read):
    assert {number: case.state for number, case in read.items()} == {
        "DEMO-1": "to_review", "DEMO-2": "to_sign", "DEMO-3": "signed"
    }  # fmt: skip
    assert not Decision.objects.filter(cell__run__slide__case=read["DEMO-1"]).exists()
    first, second = read["DEMO-3"].reports.order_by("version")
    assert (first.state, second.state, second.amends) == ("signed", "signed", first)
    assert second.content["amendment"]["reason"] == second.amendment_reason != ""
    assert first.content["counts"] != second.content["counts"]


def test_the_normal_case_is_normal_and_the_left_shift_is_one_once_a_person_has_read_them(read):
    normal, shifted = count_case(read["DEMO-2"]), count_case(read["DEMO-3"])
    assert normal.flags == []
    assert not normal.differential.is_limited
    assert [flag.key for flag in shifted.flags] == ["left_shift"]


def test_every_cell_of_the_read_cases_has_a_decision_of_a_person_and_is_what_its_source_says(read):
    for number in ("DEMO-2", "DEMO-3"):
        for cell in current_cells(read[number]).select_related("image"):
            assert cell.decided_code == cell.code == TYPES[cell.image.name.split("_")[0]]
    amended = Decision.objects.filter(reason="Second reading.")
    assert amended.count() == OVERLOOKED
    assert {decision.decided_by.username for decision in amended} == {"pathologist"}


def test_readings_hand_over_and_signatures_are_in_the_audit_and_the_seals_hold(read, client, demo_pathologist):
    actions = set(Event.objects.filter(case_id=read["DEMO-3"].pk).values_list("action", flat=True))
    assert {"case.hand_over", "report.sign", "report.amend", "cell.relabel"} <= actions
    client.force_login(demo_pathologist)
    for report in read["DEMO-3"].reports.all():
        assert problems_of(client.get(reverse("report_export", args=[report.pk, "bundle"])).content) == []


def test_the_readers_come_twice_and_change_nothing(read):
    before = Decision.objects.count(), Event.objects.count()
    assert read_cases()
    assert (Decision.objects.count(), Event.objects.count()) == before


def test_the_sign_page_of_the_demonstration_tells_the_password_that_it_asks_for(read, client, demo_pathologist):
    client.force_login(demo_pathologist)
    address = reverse("case_sign", args=[read["DEMO-2"].pk])
    assert PASSWORD in client.get(address).content.decode()
    demo.password_file().unlink()
    assert PASSWORD not in client.get(address).content.decode()


def test_the_pathologist_signs_the_ready_case_at_once(read, client, demo_pathologist):
    client.force_login(demo_pathologist)
    address = reverse("case_sign", args=[read["DEMO-2"].pk])
    page = client.get(address)
    form = {"act": "sign", "seen": page.context["seen"], "meaning": "Review and approval", "comment": "",
            "username": "pathologist", "password": PASSWORD}  # fmt: skip
    assert client.post(address, form).status_code == 302
    assert read["DEMO-2"].reports.get().state == "signed"
