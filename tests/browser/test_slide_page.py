"""The slide page: it follows the analysis by itself, links field and gallery, and shows missed nuclei."""

import re

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import ImageResult, Run
from leukoweb.review.cells.decisions import current_cells
from tests.browser.access import faults


@pytest.fixture
def slide(make_case, make_slide, draw_pixels):
    return draw_pixels(make_slide(make_case(), {"NGS": 4, "LYT": 3, "MYO": 2}))


@pytest.fixture
def open_slide(slide, browse_as, technologist):
    return lambda: browse_as(technologist, f"/slides/{slide.pk}/")


def test_the_page_follows_the_analysis_to_its_end_without_being_loaded_again(slide, open_slide):
    Run.objects.update(state=Run.State.QUEUED)
    page = open_slide()
    expect(page.locator("#slide-progress")).to_contain_text("Queued, next in line.")
    page.evaluate("window.isSamePage = true")
    Run.objects.update(state=Run.State.RUNNING, tiles_done=3, tiles_total=12)
    expect(page.locator("#slide-progress")).to_contain_text("tile 3 of 12")
    Run.objects.update(state=Run.State.DONE)
    expect(page.locator(".tile")).to_have_count(9)
    expect(page.locator("#slide-progress")).to_be_empty()
    assert page.evaluate("window.isSamePage")


def test_a_run_that_asks_for_the_scale_offers_what_each_source_says(slide, open_slide):
    Run.objects.update(state=Run.State.RUNNING)
    page = open_slide()
    choices = {"file": 0.8, "red cells": 0.08}
    Run.objects.update(state=Run.State.FAILED, error="The file says 0.8, the red cells 0.08.", scale_choices=choices)
    expect(page.get_by_role("alert")).to_contain_text(
        "The scale must be stated. The file says 0.8, the red cells 0.08."
    )
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    page.get_by_role("button", name="Read it at 0.08 µm per pixel (red cells)").click()
    expect(page.locator("#slide-progress")).to_contain_text("Queued")
    assert slide.images.get().um_per_px == 0.08


def test_a_failure_appears_with_its_reason_and_a_way_on(slide, open_slide):
    Run.objects.update(state=Run.State.RUNNING)
    page = open_slide()
    Run.objects.update(state=Run.State.FAILED, error="The image is cut off: export it again.")
    expect(page.get_by_role("alert")).to_contain_text("The image is cut off: export it again.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#slide-progress")).to_contain_text("Queued")


def test_field_and_gallery_are_one_selection_and_keys_go_on(open_slide):
    page = open_slide()
    page.locator(".group[data-code=NGS] .tile").nth(1).click()
    chosen = page.locator('.tile[aria-selected="true"]')
    first = chosen.get_attribute("data-id")
    expect(page.locator("#inspector [data-part=name]")).to_have_text("Segmented neutrophil")
    page.keyboard.press("n")
    assert chosen.get_attribute("data-id") != first
    page.keyboard.press("z")
    page.wait_for_timeout(900)
    frame = page.locator("#field").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    expect(page.locator(".field-tip")).to_contain_text("Segmented neutrophil · score 0.90")


def test_types_are_switched_off_and_on(open_slide):
    page = open_slide()
    toggle = page.locator(".toggle[data-code=NGS]")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    page.locator(".group[data-code=NGS] .tile").first.click()
    page.keyboard.press("z")
    page.wait_for_timeout(900)
    frame = page.locator("#field").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    expect(page.locator(".field-tip")).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")


def test_missed_nuclei_are_shown_one_by_one_and_added(slide, open_slide):
    ImageResult.objects.update(uncovered_nuclei=[[1000, 1000, 1040, 1040], [1500, 1200, 1540, 1240]])
    page = open_slide()
    expect(page.locator("[data-part=nuclei-text]")).to_have_text("2 possible missed cells.")
    page.get_by_role("button", name="Review", exact=True).click()
    page.get_by_label("is a").select_option("MYO")
    page.get_by_role("button", name="Add as a cell").click()
    expect(page.locator("[data-part=nuclei-text]")).to_contain_text("1 possible missed cell. Shown: 1 of 1.")
    assert current_cells(slide.case).filter(added_by__isnull=False, code="MYO").count() == 1


def test_what_was_read_of_a_whole_slide_is_told_and_a_drawn_region_is_asked_for(slide, open_slide):
    slide.images.update(format="SVS")
    kinds = ["sdus", "suus", "sdds", "ssss"]
    ImageResult.objects.update(
        coverage={"block_px": 500, "kinds": kinds, "read": [[500, 500, 1000, 1000]], "drawn": False},
        area_mm2=0.01,
    )
    page = open_slide()
    coverage = page.get_by_role("region", name="What was read of the whole slide")
    expect(coverage).to_contain_text("1 block was read (0.01 mm²) of 16")
    expect(coverage).to_contain_text("Too dense: 3. Empty or too sparse: 10. Usable: 3; at most 150 are read.")
    expect(coverage.get_by_role("button", name="Map")).to_have_attribute("aria-pressed", "true")
    coverage.get_by_text("Read other regions").click()
    coverage.get_by_role("button", name="Draw a region").click()
    field = page.locator("#field canvas.is-drawing").bounding_box()
    page.mouse.move(field["x"] + field["width"] / 2, field["y"] + field["height"] / 2)
    page.mouse.down()
    page.mouse.move(field["x"] + field["width"] / 2 + 80, field["y"] + field["height"] / 2 + 60, steps=3)
    page.mouse.up()
    regions = coverage.get_by_label("One region per line")
    expect(regions).to_have_value(re.compile(r"^\d+ \d+ \d+ \d+$"))
    regions.press("End")
    regions.press_sequentially("\n100 100 600 500")
    assert faults(page) == []
    coverage.get_by_role("button", name="Read these regions").click()
    expect(page.locator("#slide-progress")).to_contain_text("Queued")
    regions = slide.runs.get(is_shadow=False).regions
    assert [len(region) for region in regions] == [5, 5]
    assert regions[1][1:] == [100, 100, 600, 500]
