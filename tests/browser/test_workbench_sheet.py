"""The contact sheet: many cells of one type at once, each large and each looked at (S10)."""

import re

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import Cell
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision
from tests.browser.access import faults, faults_of_contrast_in_dark
from tests.browser.scanner import SCAN

CROP = re.compile(r"/cells/\d+/crop")
pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    """Segmented neutrophils may be confirmed by 60, blasts by 12, monoblasts (weak evidence) alone."""
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 30, "MYO": 14, "MOB": 3}))
    return case


@pytest.fixture
def open_sheet(case, browse_as, pathologist):
    def of(code):
        page = browse_as(pathologist, f"/cases/{case.pk}/review/")
        page.locator(f".group[data-code={code}] .tile").first.click()
        page.locator("#inspector[data-ready]").wait_for()
        page.keyboard.press("Shift+S")
        expect(page.locator("#workbench[data-sheet]")).to_have_count(1)
        return page

    return of


def _wait_until_looked_at(page):
    expect(page.locator("[data-part=sheet-confirm]")).to_be_enabled(timeout=20_000)


def test_a_sheet_holds_24_cells_and_one_key_confirms_those_that_were_not_taken_out(open_sheet, case, wait_until_saved):
    page = open_sheet("NGS")
    tiles = page.locator(".sheet-cell")
    expect(tiles).to_have_count(24)
    assert 140 <= tiles.first.bounding_box()["width"] <= 190
    _wait_until_looked_at(page)
    tiles.nth(3).hover()
    page.keyboard.press("x")
    expect(tiles.nth(3)).to_have_class("sheet-cell is-out")
    out = int(tiles.nth(3).get_attribute("data-id"))
    page.wait_for_timeout(80)
    page.keyboard.press("Enter")
    wait_until_saved()
    assert Decision.objects.count() == 23
    assert Decision.objects.values("step").distinct().count() == 1
    assert not current_cells(case).get(pk=out).decided_code
    expect(tiles).to_have_count(6)  # the others of this type, without the one that was taken out
    page.keyboard.press("Escape")
    expect(page.locator("[data-part=told]")).to_contain_text("1 taken out: review it one by one.")
    expect(page.locator(f'.tile[data-id="{out}"]')).to_have_attribute("aria-selected", "true")


def test_a_sheet_is_not_confirmed_before_every_cell_was_on_the_screen_for_its_time(open_sheet, page, wait_until_saved):
    """In a window that shows only a part of the sheet the rest has to be scrolled to."""
    page.set_viewport_size({"width": 1024, "height": 500})
    page = open_sheet("NGS")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=told]")).to_contain_text("24 of 24 cells have not been on the screen for 1.5 s yet")
    page.wait_for_timeout(2500)
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=told]")).to_contain_text("of 24 cells have not been on the screen for 1.5 s yet")
    assert not page.locator("[data-part=told]").inner_text().startswith("24 of 24")
    assert not Decision.objects.exists()
    page.keyboard.press("End")
    _wait_until_looked_at(page)
    page.wait_for_timeout(80)
    page.keyboard.press("Enter")
    wait_until_saved()
    assert Decision.objects.count() == 24


def test_no_cell_is_confirmed_whose_picture_did_not_come(open_sheet):
    page = open_sheet("NGS")
    page.context.route(CROP, lambda route: route.abort())
    page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.reload()
    page.locator("#inspector[data-ready]").wait_for()
    page.keyboard.press("Shift+S")
    expect(page.locator(".sheet-cell.has-failed").first).to_be_visible()
    page.wait_for_timeout(2000)
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=told]")).to_contain_text("have not been on the screen for 1.5 s yet")
    assert not Decision.objects.exists()


def test_blasts_come_in_sheets_of_twelve_and_what_needs_a_single_look_in_none(open_sheet, wait_until_saved):
    page = open_sheet("MYO")
    expect(page.locator("[data-part=sheet-title]")).to_have_text("Myeloblast")
    expect(page.locator(".sheet-cell")).to_have_count(12)
    page.keyboard.press("Escape")
    page.locator(".group[data-code=MOB] .tile").first.click()
    page.locator("#inspector[data-ready]").wait_for()
    page.keyboard.press("Shift+S")
    expect(page.locator("[data-part=sheet-title]")).not_to_have_text("Monoblast")


def test_cells_with_a_low_score_are_in_no_sheet_and_what_lay_under_it_was_not_seen(open_sheet, case):
    """The gallery does not ripen behind it."""
    low = list(Cell.objects.filter(detector_code="NGS").values_list("pk", flat=True)[:10])
    Cell.objects.filter(pk__in=low).update(score=0.4)
    page = open_sheet("NGS")
    expect(page.locator(".sheet-cell")).to_have_count(20)
    shown = page.locator(".sheet-cell").evaluate_all("tiles => tiles.map((tile) => Number(tile.dataset.id))")
    assert not set(shown) & set(low)
    expect(page.locator("#gallery")).to_be_hidden()
    page.wait_for_timeout(1200)
    page.keyboard.press("Escape")
    assert page.locator("[data-part=confirm-page]").is_disabled()


def test_a_cell_of_the_sheet_is_given_another_type_by_its_key(open_sheet, wait_until_saved):
    page = open_sheet("NGS")
    _wait_until_looked_at(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(80)
    page.keyboard.press("b")
    expect(page.locator(".sheet-cell").nth(1)).to_have_class("sheet-cell is-decided")
    wait_until_saved()
    assert Decision.objects.get().to_code == "NGB"
    expect(page.locator("[data-part=sheet-confirm-label]")).to_have_text("Confirm 23 Seg")
    page.wait_for_timeout(80)
    page.keyboard.press("u")
    expect(page.locator("[data-part=sheet-confirm-label]")).to_have_text("Confirm 24 Seg")


def test_a_barcode_scan_and_a_held_key_confirm_no_sheet_twice(open_sheet, wait_until_saved):
    page = open_sheet("NGS")
    _wait_until_looked_at(page)
    page.evaluate(SCAN, ["xbs1234", "Enter"])
    expect(page.locator("[data-part=told]")).to_contain_text("no such case. No cell was changed.")
    expect(page.locator(".sheet-cell.is-out")).to_have_count(0)
    page.wait_for_timeout(300)
    assert not Decision.objects.exists()
    for _ in range(70):
        page.keyboard.down("Enter")
        page.wait_for_timeout(30)
    page.keyboard.up("Enter")
    wait_until_saved()
    assert Decision.objects.count() == 24


def test_sheet_light_and_field_have_no_serious_fault_of_access(case, page, browse_as, pathologist):
    page.emulate_media(reduced_motion="reduce")
    page.add_init_script("localStorage.setItem('bench-pane', 'both')")
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    page.locator("#inspector[data-ready]").wait_for()
    page.get_by_role("button", name="Brightness and contrast").click()
    found = faults(page)
    page.keyboard.press("Escape")
    page.locator("[data-part=sheet-open]").click()
    page.locator(".sheet-cell").first.hover()
    page.keyboard.press("x")
    found += faults(page)
    page.set_viewport_size({"width": 390, "height": 844})
    found += faults(page) + faults_of_contrast_in_dark(page)
    assert not found, "\n".join(found)
