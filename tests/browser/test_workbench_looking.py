"""Looking closely at one cell: large, brighter, measured, and with the types that the detector thinks of."""

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import Cell, ImageResult
from leukoweb.review.models import Decision
from tests.browser.scanner import SCAN

pytestmark = pytest.mark.usefixtures("known_evidence")
CHANCES = [["MON", 0.41], ["MOB", 0.35], ["LYA", 0.09]]


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 20, "MON": 2}))
    Cell.objects.filter(detector_code="MON").update(chances=CHANCES)
    return case


@pytest.fixture
def bench(case, browse_as, pathologist):
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(22)
    page.locator("#inspector[data-ready]").wait_for()
    return page


def _part_of_picture(page):
    """How much of the side of the large picture the frame of its cell takes."""
    picture = page.locator("#inspector [data-part=picture]").bounding_box()
    frame = page.locator("#inspector [data-part=frame]").bounding_box()
    return max(frame["width"], frame["height"]) / picture["width"]


def test_the_chosen_cell_is_large_and_the_wheel_shows_more_of_its_neighbours(bench):
    picture = bench.locator("#inspector [data-part=picture]")
    assert picture.bounding_box()["width"] == pytest.approx(340, abs=2)
    assert _part_of_picture(bench) == pytest.approx(0.6, abs=0.02)
    picture.hover()
    bench.mouse.wheel(0, 400)
    bench.wait_for_timeout(100)
    assert _part_of_picture(bench) == pytest.approx(0.5, abs=0.02)
    for _ in range(12):
        bench.mouse.wheel(0, 400)
    bench.wait_for_timeout(100)
    assert _part_of_picture(bench) == pytest.approx(60 / 300, abs=0.02)  # the whole picture of 60 µm
    bench.keyboard.press("n")  # the next cell is as large as the one before was at first
    bench.locator("#inspector[data-ready]").wait_for()
    assert _part_of_picture(bench) == pytest.approx(0.6, abs=0.02)


def test_the_large_picture_has_every_pixel_of_a_finely_scanned_cell(case, browse_as, pathologist):
    """It was cut to 480 pixels, which 340 points with a cell at 60 % would show enlarged."""
    ImageResult.objects.update(um_per_px=0.06)
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    page.locator("#inspector[data-ready]").wait_for()
    assert page.evaluate("document.querySelector('#inspector [data-part=place] img').naturalWidth") == 1000


def test_brightness_and_contrast_change_all_pictures_until_the_tab_is_closed(bench):
    bench.keyboard.press("Shift+B")
    bench.get_by_label("Brightness", exact=True).fill("140")
    bench.get_by_label("Contrast", exact=True).fill("120")
    shown = """() => [".cell-place img", ".tile img", "#field .openseadragon-canvas"].map(
        (each) => getComputedStyle(document.querySelector(each)).filter)"""
    assert bench.evaluate(shown) == ["brightness(1.4) contrast(1.2)"] * 3
    bench.get_by_role("button", name="Brightness and contrast").focus()
    bench.keyboard.press("Escape")
    expect(bench.locator("[data-part=light]")).to_be_hidden()
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(1)  # Escape closed the menu only
    bench.reload()
    bench.locator("#inspector[data-ready]").wait_for()
    assert bench.evaluate(shown) == ["brightness(1.4) contrast(1.2)"] * 3
    bench.get_by_role("button", name="Brightness and contrast").click()
    bench.get_by_role("button", name="Reset").click()
    assert bench.evaluate(shown) == ["none"] * 3


def test_the_detectors_best_types_are_given_by_digits(bench, press, wait_until_saved):
    chances = bench.locator("#inspector .cell-chance")
    expect(chances).to_have_text(["Mono 41%1", "Monoblast 35%2", "Atyp lymph 9%3"])
    press("2")
    expect(bench.locator(".tally-row[data-code=MOB] .tally-count")).to_have_text("1")
    press("n")
    bench.locator("#inspector[data-ready]").wait_for()
    chances.nth(2).click()
    wait_until_saved()
    assert [decision.to_code for decision in Decision.objects.order_by("id")] == ["MOB", "LYA"]


def test_a_digit_that_a_reader_gave_to_a_type_means_that_type(bench, press, pathologist, wait_until_saved):
    pathologist.preferences = {"cell_keys": {"EOS": "2"}}
    pathologist.save()
    bench.reload()
    bench.locator("#inspector[data-ready]").wait_for()
    expect(bench.locator("#inspector .cell-chance kbd")).to_have_text(["1", "3"])
    press("2")
    wait_until_saved()
    assert Decision.objects.get().to_code == "EOS"


def test_neither_a_scanned_number_nor_space_which_enlarges_what_is_under_the_mouse_gives_a_cell_a_type(bench):
    for text in ("1234567", "Slide-7", "Box-22", "Monk-1", "Film-3"):
        bench.evaluate(SCAN, [text, "Enter"])
        expect(bench.locator("[data-part=told]")).to_contain_text(f"Scanned {text}: no such case.")
        bench.wait_for_timeout(200)
    assert not Decision.objects.exists()
    expect(bench.locator("[data-part=light]")).to_be_hidden()
    expect(bench.locator("[data-part=measure][aria-pressed=true]")).to_have_count(0)
    expect(bench.locator("#workbench")).to_have_attribute("data-pane", "cells")
    tile, lens = bench.locator(".tile").nth(3), bench.locator(".lens")
    expect(tile.locator("img")).to_have_js_property("complete", True)
    tile.hover()
    bench.keyboard.down("Space")
    expect(lens).to_be_visible()
    assert lens.bounding_box()["width"] == pytest.approx(4 * tile.locator("img").bounding_box()["width"], abs=6)
    assert lens.locator("img").evaluate("image => image.src") == tile.locator("img").evaluate("image => image.src")
    bench.keyboard.up("Space")
    expect(lens).to_be_hidden()
    bench.mouse.move(5, 5)
    bench.keyboard.down("Space")
    expect(lens).to_be_hidden()
    expect(bench.locator("#workbench.is-bare")).to_be_visible()
    bench.keyboard.up("Space")
    assert not Decision.objects.exists()


def test_a_length_is_measured_in_the_field_and_nothing_where_the_scale_is_unknown(bench):
    bench.locator("#field").wait_for(state="hidden")
    bench.keyboard.press("Shift+M")
    expect(bench.locator("#field")).to_be_visible()
    bench.wait_for_timeout(700)
    bench.locator("[data-part=whole]").click()
    bench.wait_for_timeout(700)
    frame = bench.locator("#field").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    bench.mouse.move(x - 50, y)
    bench.mouse.down()
    bench.mouse.move(x + 50, y, steps=4)
    bench.mouse.up()
    # The whole image of 2,000 pixels of 0.2 µm stands in the height of the field.
    um = float(bench.locator("[data-part=told]").inner_text().removesuffix(" µm"))
    assert um == pytest.approx(100 * 400 / frame["height"], rel=0.15)
    bench.keyboard.press("Escape")
    expect(bench.locator("[data-part=measure]")).to_have_attribute("aria-pressed", "false")
    assert bench.locator('.tile[aria-selected="true"]').count() == 1  # Escape ended the measuring only
    ImageResult.objects.update(scale_method="assumed")
    bench.reload()
    bench.locator("#inspector[data-ready]").wait_for()
    expect(bench.locator("[data-part=measure]")).to_be_disabled()
    bench.keyboard.press("Shift+M")
    expect(bench.locator("[data-part=told]")).to_contain_text("The scale of this image is unknown")


def test_the_field_is_shown_beside_the_cells_or_alone_and_that_is_remembered(bench):
    expect(bench.locator("#field")).to_be_hidden()
    bench.get_by_role("button", name="Cells and field").click()
    expect(bench.locator("#field")).to_be_visible()
    expect(bench.locator("#gallery")).to_be_visible()
    bench.reload()
    expect(bench.locator("#field")).to_be_visible()
    bench.get_by_role("button", name="Field", exact=True).click()
    expect(bench.locator("#gallery")).to_be_hidden()
    bench.keyboard.press("Shift+F")  # both
    bench.wait_for_timeout(100)
    bench.keyboard.press("Shift+F")  # cells
    expect(bench.locator("#field")).to_be_hidden()


def test_types_of_few_cells_share_a_row_and_nothing_moves_when_one_is_added(
    make_case, make_slide, draw_pixels, browse_as, pathologist, press, wait_until_saved
):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 12, "MYB": 2, "MMZ": 3, "MYO": 1}))
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(18)

    def tops():
        groups = page.locator(".group:visible").all()
        return {group.get_attribute("data-code"): group.bounding_box()["y"] for group in groups}

    before = tops()
    assert before["MMZ"] == before["MYB"] == before["MYO"] > before["NGS"]
    page.locator(".group[data-code=MYB] .tile").first.click()
    page.locator("#inspector[data-ready]").wait_for()
    press("t")
    wait_until_saved()
    expect(page.locator(".group[data-code=MMZ] .tile")).to_have_count(4)
    assert tops() == before
