"""The worklist in the browser: by keys, kept up to date by itself, quiet while somebody types."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from leukoweb.cases.models import Case
from leukoweb.review.models import Assignment
from leukoweb.review.worklist import FIRST
from tests.browser.access import faults
from tests.browser.scanner import SCAN


@pytest.fixture
def cases(make_case, make_slide, draw_pixels):
    """Three cases in the order of the list: blasts, STAT, routine."""
    made = []
    for number, cells, fields in (
        ("BLAST", {"NGS": 60, "MYO": 8, "LYA": 3}, {}),
        ("STAT", {"NGS": 70, "LYT": 30}, {"priority": "stat"}),
        ("PLAIN", {"NGS": 70, "LYT": 30}, {}),
    ):
        case = make_case(number, **fields)
        draw_pixels(make_slide(case, cells))
        made.append(case)
    return made


@pytest.fixture
def page(cases, browse_as, pathologist):
    return browse_as(pathologist, reverse("worklist"))


def focused(page):
    return page.evaluate("document.activeElement.id")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_worklist_has_no_serious_accessibility_fault(page, theme, width):
    page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    page.keyboard.press("j")
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_row_is_44_pixels_high_and_its_pictures_are_shown(page):
    page.set_viewport_size({"width": 1300, "height": 900})
    heights = page.evaluate("[...document.querySelectorAll('.wl-row')].map((row) => row.offsetHeight)")
    assert all(40 <= height <= 48 for height in heights), heights
    pictures = page.locator(".wl-row img")
    expect(pictures).to_have_count(5)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 0


def test_keys_move_over_the_rows_and_act_on_the_chosen_one(page, cases, pathologist, press):
    blast, stat, plain = (case.pk for case in cases)
    press("j")
    assert focused(page) == f"act-{blast}"
    press("j", "j", "j")
    assert focused(page) == f"act-{plain}"
    press("k")
    assert focused(page) == f"act-{stat}"
    press("a")
    expect(page.locator("#told")).to_have_text("STAT is assigned to you.")
    expect(page.locator(f"#assign-{stat}")).to_have_text("P")
    assert focused(page) == f"act-{stat}"  # the row was exchanged, the focus stayed
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#told")).to_have_text("STAT is assigned to nobody.")
    assert not Assignment.objects.exists()
    press("s")
    expect(page).to_have_url(re.compile(rf"/cases/{stat}/sign/$"))


def test_marked_cases_are_assigned_together_and_taken_back_together(page, cases, pathologist, technologist, press):
    blast, stat, plain = (case.pk for case in cases)
    Assignment.objects.create(case_id=plain, reader=technologist)
    press("j", "x")
    expect(page.locator("#told")).to_have_text("Marked: 1. A assigns them to you.")
    press("j", "x")
    expect(page.locator(".wl-row.is-marked")).to_have_count(2)
    press("x", "j", "x")
    expect(page.locator("#told")).to_have_text("Marked: 2. A assigns them to you.")
    press("a")
    expect(page.locator("#told")).to_have_text("2 of 2 marked cases are assigned to you.")
    assert set(Assignment.objects.values_list("case", "reader")) == {(blast, pathologist.pk), (plain, pathologist.pk)}
    expect(page.locator(".wl-row.is-marked")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#told")).to_have_text("Undone")
    assert list(Assignment.objects.values_list("case", "reader")) == [(plain, technologist.pk)]


def test_enter_opens_the_next_step(page, cases, press):
    press("j", "Enter")
    expect(page).to_have_url(re.compile(rf"/cases/{cases[0].pk}/review/$"))


def test_letters_do_nothing_while_somebody_types_and_a_scanned_number_opens_its_case(page, cases, press):
    press("j", "/")
    page.keyboard.type("sajk", delay=90)
    expect(page.locator("#search")).to_have_value("sajk")
    page.wait_for_timeout(200)
    assert (focused(page), Assignment.objects.count()) == ("search", 0)
    page.locator("#search").fill("")
    page.locator(f"#act-{cases[1].pk}").focus()
    page.evaluate(SCAN, ["plain", "Enter"])  # its a and its first letters do nothing by themselves
    expect(page).to_have_url(re.compile(rf"/cases/{cases[2].pk}/$"))
    assert not Assignment.objects.exists()


def test_the_list_follows_by_itself_and_keeps_the_focus(page, cases, make_case, make_slide, press):
    blast, stat, _ = (case.pk for case in cases)
    expect(page).to_have_title(re.compile(r"^\(2\) Worklist"))
    press("j", "j")
    assert focused(page) == f"act-{stat}"
    page.evaluate("id => { document.getElementById(id).dataset.own = 'kept' }", f"case-{stat}")
    new = make_case("NEW", priority="stat", received_at=cases[1].received_at.replace(year=2020))
    make_slide(new, {"NGS": 100})
    expect(page.locator(f"#case-{new.pk}")).to_be_visible(timeout=8000)
    expect(page.locator("#told")).to_have_text("1 new STAT or urgent case")
    expect(page).to_have_title(re.compile(r"^\(3\) Worklist"))
    order = page.evaluate("[...document.querySelectorAll('.wl-row')].map((row) => Number(row.dataset.case))")
    assert order[:3] == [blast, new.pk, stat]
    assert focused(page) == f"act-{stat}"
    assert page.locator(f"#case-{stat}").get_attribute("data-own") == "kept"  # what did not change was not touched
    expect(page.locator("#count-open")).to_have_text("4")


def test_further_rows_come_as_the_reader_goes_down_and_are_there_again_when_she_comes_back(page, cases, press):
    like, rows = cases[2], page.locator(".wl-row")
    Case.objects.bulk_create(
        Case(laboratory=like.laboratory, patient=like.patient, registered_by=like.registered_by,
             accession_number=f"N-{n}")
        for n in range(FIRST + 10)
    )  # fmt: skip
    page.reload()
    expect(rows).to_have_count(FIRST)
    rows.last.scroll_into_view_if_needed()
    expect(rows).to_have_count(FIRST + 13)
    assert not page.locator(".wl-row.is-changed").count()
    expect(page.locator("#wl-more")).to_be_empty()
    rows.last.locator("[data-act]").click()
    page.go_back()
    expect(rows).to_have_count(FIRST + 13)


def test_a_notice_is_offered_and_never_asked_for_unasked(page):
    assert page.evaluate("Notification.permission") != "granted"
    assert page.evaluate("localStorage.getItem('worklist_notices')") is None


def test_the_workspace_says_where_the_case_stands_in_the_list_and_leads_to_those_beside_it(page, cases):
    page.goto(page.url + "?tab=to_review")
    page.evaluate("address => { location.href = address }", reverse("workbench", args=[cases[1].pk]))
    place = page.get_by_role("navigation", name="Cases of the worklist")
    expect(place).to_contain_text("2 of 3")
    place.get_by_role("link", name="Next case").click()
    expect(place).to_contain_text("3 of 3")
    expect(place.get_by_role("link", name="Next case")).to_have_count(0)
    page.get_by_role("link", name="Worklist", exact=True).last.click()
    page.wait_for_url("**/worklist/?tab=to_review")
