"""No decision is lost, and none is made that nobody made: queue, pictures, held keys and barcode scanners."""

import re

import pytest
from playwright.sync_api import expect

from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision
from tests.browser.scanner import SCAN

pytestmark = pytest.mark.usefixtures("known_evidence")
DECISIONS = re.compile(r"/cases/\d+/decisions/")
AROUND = re.compile(r"/cells/\d+/around")


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 12, "LYT": 4, "MYO": 10}))
    return case


@pytest.fixture
def bench(case, browse_as, pathologist):
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(26)
    return page


def test_decisions_wait_for_the_connection_and_leaving_waits_for_the_decisions(bench, case, press):
    """Twelve keys and then W: all twelve are stored, whatever the line does."""
    bench.wait_for_timeout(800)  # the pictures of the next cells are there already
    answers = []

    def lose_first(route):
        if not answers:
            answers.append(route.request.post_data)
            route.fetch()  # the server stores it, and its answer is lost
            route.abort()
        else:
            answers.append(route.request.post_data)
            route.continue_()

    bench.route(DECISIONS, lose_first)
    press(*["Enter"] * 10)
    bench.locator(".group[data-code=NGS] .tile").first.click()
    press("b", "b")
    press("w")
    expect(bench).to_have_url(re.compile("/sign/"), timeout=15_000)
    assert Decision.objects.count() == 12
    assert answers[1].startswith(answers[0][:60])  # the same key again


def test_without_a_connection_the_page_says_so_keeps_the_decisions_and_sends_them_later(bench, press):
    bench.wait_for_timeout(800)
    bench.route(DECISIONS, lambda route: route.abort())
    press("Enter", "Enter")
    expect(bench.locator("[data-part=saving]")).to_have_text("Offline, 2 not saved", timeout=15_000)
    bench.locator("[data-part=report]").click()
    expect(bench.locator("[data-part=told]")).to_have_text("Not saved yet: waiting for the connection.")
    assert "/review/" in bench.url
    bench.unroute(DECISIONS)
    expect(bench).to_have_url(re.compile("/sign/"), timeout=15_000)
    assert Decision.objects.count() == 2


def test_a_page_with_unsaved_decisions_is_not_left_unasked(bench, press):
    bench.route(DECISIONS, lambda route: None)  # an answer that does not come
    press("Enter")
    expect(bench.locator("[data-part=saving]")).to_have_text("Saving 1…")
    asked = []
    bench.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    bench.evaluate("() => { location.href = '/worklist/' }")
    bench.wait_for_timeout(500)
    assert asked == ["beforeunload"]
    bench.unroute(DECISIONS)


def test_the_figures_are_grey_until_the_server_has_counted(bench, press, wait_until_saved):
    bench.route(DECISIONS, lambda route: bench.wait_for_timeout(600) or route.continue_())
    press("l")
    expect(bench.locator("#tally.is-stale")).to_have_count(1)
    wait_until_saved()
    expect(bench.locator("#tally.is-stale")).to_have_count(0)


def test_no_cell_is_decided_before_its_own_picture_was_seen(bench, case):
    """The place of the picture is empty until the picture is there; keys say so and decide nothing."""
    bench.locator("#inspector[data-ready]").wait_for()
    held = []
    bench.route(AROUND, lambda route: held.append(route))
    bench.locator(".group[data-code=LYT] .tile").last.click()
    expect(bench.locator("#inspector [data-part=name]")).to_have_text("Lymphocyte")
    expect(bench.locator("#inspector [data-part=place] img")).to_have_count(0)
    bench.keyboard.press("Enter")
    expect(bench.locator("[data-part=told]")).to_have_text("Loading the picture…")
    for route in held:
        route.continue_()
    bench.locator("#inspector[data-ready]").wait_for()
    expect(bench.locator("#inspector [data-part=place] img")).to_have_count(1)
    assert not Decision.objects.exists()
    bench.wait_for_timeout(80)
    bench.keyboard.press("Enter")
    expect(bench.locator("[data-part=done]")).to_have_text("1 of 26 reviewed")


def test_the_pictures_of_the_next_three_cells_are_loaded_ahead(bench):
    asked = []
    bench.on("request", lambda request: asked.append(request.url) if AROUND.search(request.url) else None)
    bench.reload()
    bench.locator("#inspector[data-ready]").wait_for()
    bench.wait_for_timeout(500)
    assert len(set(asked)) == 4


def test_a_held_key_decides_once(bench, wait_until_saved):
    """Enter held for 0.8 s confirmed 24 cells once."""
    for steps, key in enumerate(("Enter", "b", "x", "Shift+Enter"), 1):
        bench.locator(".group[data-code=NGS] .tile:not(.is-decided)").first.click()
        bench.locator("#inspector[data-ready]").wait_for()
        expect(bench.locator("[data-part=confirm-page]")).to_be_enabled()
        shift, name = key.startswith("Shift+"), key.removeprefix("Shift+")
        if shift:
            bench.keyboard.down("Shift")
        for _ in range(25):
            bench.keyboard.down(name)
            bench.wait_for_timeout(30)
        bench.keyboard.up(name)
        wait_until_saved()
        assert Decision.objects.values("step").distinct().count() == steps, key


@pytest.mark.parametrize("last", ["Enter", "Tab"])
def test_a_barcode_scan_changes_no_cell_and_offers_to_open_its_case(bench, case, make_case, last):
    other = make_case("LAB-24-00817X")
    bench.locator("#inspector[data-ready]").wait_for()
    bench.evaluate(SCAN, ["LAB-24-00817X", last])
    dialog = bench.get_by_role("dialog", name="Barcode scanned")
    expect(dialog).to_contain_text("LAB-24-00817X")
    bench.wait_for_timeout(300)
    assert not Decision.objects.exists()
    assert current_cells(case).count() == 26
    dialog.get_by_role("link", name="Open case").click()
    expect(bench).to_have_url(re.compile(f"/cases/{other.pk}/review/"))


def test_a_scan_that_is_no_accession_number_changes_nothing_and_says_so(bench):
    bench.locator("#inspector[data-ready]").wait_for()
    bench.evaluate(SCAN, ["bxs123", "Enter"])
    expect(bench.locator("[data-part=told]")).to_contain_text("no such case. No cell was changed.")
    assert not Decision.objects.exists()


def test_a_scan_on_the_slide_page_adds_no_cell(case, browse_as, technologist, make_case):
    make_case("LAB-24-00817X")
    page = browse_as(technologist, f"/slides/{case.slides.get().pk}/")
    expect(page.locator(".tile")).to_have_count(26)
    page.evaluate(SCAN, ["LAB-24-00817X", "Enter"])
    expect(page.get_by_role("dialog", name="Barcode scanned")).to_contain_text("LAB-24-00817X")
    assert current_cells(case).count() == 26
