"""What a row of the worklist says of a case, who works on it, and what the page counts (C7, S10)."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.review.cells.decisions import current_cells, relabel_cell
from leukoweb.review.models import Assignment, Presence, Report
from tests.test_reports import post_signature, reviewed  # noqa: F401  a fixture
from tests.test_worklist import listed, tabs


def rows(client, tab="open", **query):
    page = client.get(reverse("worklist"), {"tab": tab, **query})
    return {row.case.accession_number: row for row in page.context["rows"]}


def body_of(client, **query):
    return client.get(reverse("worklist"), query).content.decode()


def test_a_row_shows_the_gravest_cells_the_shares_and_how_many_cells_are_verified(
    make_case, make_slide, sign_in, technologist
):
    case = make_case("A-1")
    make_slide(case, {"NGS": 80, "LYA": 2, "MYB": 3, "MYO": 2, "KSC": 5})
    client = sign_in(technologist)
    row = rows(client)["A-1"]
    assert [code for _, code in row.faces] == ["MYO", "MYO", "MYB", "MYB", "MYB"]
    assert (row.verified, row.counted) == (0, 92)
    assert {bar.name: bar.width for bar in row.bars} == {
        "Seg": 92.0, "Atyp lymph": 2.3, "Myelocyte": 3.4, "Myeloblast": 2.3,
    }  # fmt: skip
    assert sum(bar.width for bar in row.bars) == pytest.approx(100)
    blast, other = current_cells(case).filter(detector_code="MYO")
    relabel_cell(blast, to="NGS", by=technologist)
    row = rows(client)["A-1"]
    assert [pk for pk, code in row.faces if code == "MYO"] == [other.pk]
    assert (row.verified, row.counted) == (1, 92)
    page = body_of(client)
    assert reverse("cell_crop", args=[other.pk]) in page
    assert 'aria-label="Atyp lymph 2.3%, ' in page


def test_a_case_without_a_grave_cell_shows_no_picture(make_case, make_slide, sign_in, technologist):
    make_slide(make_case("A-1"), {"NGS": 60, "LYT": 30, "NGB": 4, "MON": 6})
    assert rows(sign_in(technologist))["A-1"].faces == []


def test_a_row_has_one_next_step_and_only_who_signs_gets_the_sign_page(
    make_case, make_slide, sign_in, technologist, pathologist
):
    make_case("BARE")
    case = make_case("FULL")
    make_slide(case, {"NGS": 100})
    client = sign_in(technologist)
    assert {number: row.act for number, row in rows(client).items()} == {"FULL": "Review", "BARE": "Upload"}
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    row = rows(client)["FULL"]
    assert (row.act, row.sign_url) == ("Open", "")
    row = rows(sign_in(pathologist))["FULL"]
    assert (row.act, row.act_url, row.note) == ("Sign", reverse("case_sign", args=[case.pk]), "From Tess")


def test_waiting_is_amber_after_half_of_the_goal_and_red_after_it(make_case, make_slide, sign_in, pathologist):
    now = timezone.now()
    for number, priority, minutes in (
        ("S-20", "stat", 20), ("S-31", "stat", 31), ("S-61", "stat", 61),
        ("R-61", "routine", 61), ("R-800", "routine", 800), ("R-1500", "routine", 1500),
    ):  # fmt: skip
        make_case(number, priority=priority, received_at=now - timedelta(minutes=minutes))
    client = sign_in(pathologist)
    assert {number: row.due for number, row in rows(client).items()} == {
        "S-20": "", "S-31": "soon", "S-61": "late", "R-61": "", "R-800": "soon", "R-1500": "late",
    }  # fmt: skip
    page = client.get(reverse("worklist"))
    assert page.context["oldest_stat"] == 61
    assert rows(client)["R-1500"].waited == "25 h"
    assert "(3) Worklist" in page.content.decode()


@pytest.mark.slow
def test_filters_stand_in_the_address_and_a_search_does_not(make_case, make_slide, sign_in, technologist):
    make_slide(make_case("BLAST"), {"NGS": 95, "MYO": 5})
    make_slide(make_case("STAT", priority="stat"), {"NGS": 100})
    make_slide(make_case("PLAIN"), {"NGS": 100})
    client = sign_in(technologist)
    assert listed(client, stat=1) == ["STAT"]
    assert listed(client, urgent=1) == listed(client, flagged=1) == ["BLAST"]
    assert listed(client, stat=1, urgent=1) == []
    assert listed(client, tab="nonsense", stat="x") == ["BLAST", "STAT", "PLAIN"]
    assert "No matching cases" in body_of(client, stat=1, urgent=1)
    answer = client.post(reverse("worklist") + "?tab=to_review&stat=1", {"search": "wintermute"})
    assert answer["Location"] == "/worklist/?tab=to_review&stat=1"
    assert listed(client) == ["BLAST", "STAT", "PLAIN"]
    client.post(reverse("worklist"), {"search": "plai"})
    assert listed(client) == ["PLAIN"]
    assert "plai" not in str(re.findall(r'href="([^"]*)"', body_of(client)))
    exact = client.post(reverse("worklist"), {"search": "stat"})
    assert exact["Location"] == reverse("case_detail", args=[Case.objects.get(accession_number="STAT").pk])
    client.post(reverse("worklist"), {"search": ""})
    assert len(listed(client)) == 3


def test_a_case_is_assigned_taken_over_and_released_and_each_is_recorded(
    make_case, make_slide, sign_in, technologist, pathologist
):
    case = make_case("A-1")
    make_slide(case, {"NGS": 100})
    address = reverse("case_assign", args=[case.pk])
    client = sign_in(technologist)
    answer = client.post(address).json()
    assert answer == {"reader": technologist.pk, "had": None, "sentence": "A-1 is assigned to you."}
    assert (tabs(client)["mine"], rows(client)["A-1"].initials, listed(client, mine=1)) == (1, "T", ["A-1"])
    client = sign_in(pathologist)
    assert "mine" not in tabs(client)
    assert client.post(address).json()["had"] == technologist.pk
    back = client.post(address, {"reader": technologist.pk}).json()
    assert back == {"reader": technologist.pk, "had": pathologist.pk, "sentence": "A-1 is assigned to Tess."}
    assert Assignment.objects.get().reader == technologist
    client = sign_in(technologist)
    assert client.post(address).json()["reader"] is None
    assert client.post(address, {"reader": ""}).json()["reader"] is None  # again: nothing happens
    assert not Assignment.objects.exists()
    events = Event.objects.filter(action="case.assign").order_by("id")
    assert [event.changes["reader"] for event in events] == [
        ["", "Tess"],
        ["Tess", "Paul"],
        ["Paul", "Tess"],
        ["Tess", ""],
    ]
    assert {event.case_id for event in events} == {case.pk}


def test_a_case_is_assigned_only_to_readers_of_its_laboratory_and_only_while_it_is_open(
    make_case, make_slide, sign_in, technologist, outsider, admin
):
    case = make_case("A-1")
    make_slide(case, {"NGS": 100})
    client, address = sign_in(technologist), reverse("case_assign", args=[case.pk])
    assert client.post(address, {"reader": outsider.pk}).status_code == 404
    assert client.post(address, {"reader": "x"}).status_code == 404
    refused = client.post(address, {"reader": admin.pk})
    assert (refused.status_code, refused.json()["detail"]) == (400, "Only a reader of this laboratory can be assigned.")
    Case.objects.filter(pk=case.pk).update(rejected_at=timezone.now())
    assert client.post(address).json()["code"] == "case_closed"
    assert not Assignment.objects.exists()


def test_a_row_says_who_else_has_the_case_open(make_case, make_slide, sign_in, technologist, pathologist):
    case = make_case("A-1")
    make_slide(case, {"NGS": 100})
    presence = Presence.objects.create(case=case, reader=pathologist, seen_at=timezone.now())
    assert rows(sign_in(pathologist))["A-1"].others == ""
    client = sign_in(technologist)
    assert (rows(client)["A-1"].others, "open by Paul" in body_of(client)) == ("Paul", True)
    Presence.objects.filter(pk=presence.pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    assert rows(client)["A-1"].others == ""


@pytest.mark.slow
def test_what_was_signed_today_is_counted_timed_and_listed(reviewed, sign_in, pathologist, settings):  # noqa: F811
    now = timezone.now()
    client = sign_in(pathologist)
    for number, minutes in (("A-1", 40), ("A-2", 90), ("A-3", 300)):
        case = reviewed(accession_number=number, received_at=now - timedelta(minutes=minutes))
        assert post_signature(client, case).status_code == 302
    yesterday = Report.objects.get(case__accession_number="A-3")
    page = client.get(reverse("worklist"), {"tab": "signed"})
    assert [row.case.accession_number for row in page.context["rows"]] == ["A-3", "A-2", "A-1"]
    assert (page.context["signed_today"], page.context["turnaround"], page.context["waiting"]) == (3, "90 min", 0)
    row = page.context["rows"][0]
    assert (row.act_url, row.waited, row.verified) == (reverse("report_detail", args=[yesterday.pk]), "5 h", 100)
    assert listed(client) == []
    assert page.context["week"] == [0, 0, 0, 0, 0, 0, 3]
    with time_machine.travel(now + timedelta(days=1)):
        page = sign_in(pathologist).get(reverse("worklist"))
        assert (page.context["signed_today"], page.context["week"]) == (0, [0, 0, 0, 0, 0, 3, 0])
        assert "today last: 0, 0, 0, 0, 0, 3, 0" in page.content.decode()


@pytest.mark.slow
def test_after_a_signature_the_next_case_is_offered(reviewed, make_case, make_slide, sign_in, pathologist):  # noqa: F811
    first, second = reviewed(accession_number="A-1"), reviewed(accession_number="A-2", priority="stat")
    waiting = make_case("A-3")
    make_slide(waiting, {"NGS": 100})
    client = sign_in(pathologist)
    post_signature(client, first)
    page = client.get(reverse("report_detail", args=[first.reports.get().pk])).content.decode()
    assert f'Next: <a href="{reverse("case_sign", args=[second.pk])}"' in page
    assert "A-2, STAT" in page
    post_signature(client, second, username="")
    page = client.get(reverse("report_detail", args=[second.reports.get().pk])).content.decode()
    assert f'Next: <a href="{reverse("workbench", args=[waiting.pk])}"' in page
    assert "Next:" not in client.get(reverse("report_detail", args=[second.reports.get().pk])).content.decode()


def test_the_live_part_is_the_same_as_that_of_the_page(make_case, make_slide, sign_in, technologist):
    make_slide(make_case("A-1"), {"NGS": 95, "MYO": 5})
    client = sign_in(technologist)
    query = {"tab": "to_review", "urgent": 1}
    live = client.get(reverse("worklist_live"), query).content.decode()
    assert live.strip() in body_of(client, **query)
    assert "<html" not in live


def test_an_empty_worklist_says_the_three_steps(sign_in, technologist):
    page = body_of(sign_in(technologist))
    for step in ("Register", "Upload", "Verify and sign"):
        assert f"<strong>{step}</strong>" in page
