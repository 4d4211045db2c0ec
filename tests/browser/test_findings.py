"""The tab "Red cells & platelets": a film is graded, undone and said to be not examined, by keyboard alone."""

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import FilmCount, FilmImage
from leukoweb.review.counting.policies import rules_from
from leukoweb.review.findings.state import current_findings
from leukoweb.review.models import Finding
from leukoweb.review.services import save_policy
from tests.browser.access import faults, faults_of_contrast_in_dark


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 3}))
    return case


@pytest.fixture
def film(case, browse_as, technologist):
    page = browse_as(technologist, f"/cases/{case.pk}/review/")
    page.locator("#inspector[data-ready]").wait_for()
    page.keyboard.press("Shift+R")
    expect(page.locator("[data-key=red_cells]")).to_be_focused()
    return page


def _type(page, *keys):
    for key in keys:
        page.wait_for_timeout(90)  # two keys at once would be a scanner's
        page.keyboard.press(key)


def _values(case):
    return {key: row.value for key, row in current_findings(case).items()}


def test_a_film_is_graded_by_keyboard_alone(film, case, wait_until_saved):
    page = film
    assert not Finding.objects.exists()
    _type(page, "ArrowDown", "2", "0", "]", "a", "x", "s")
    wait_until_saved()
    expected = {"anisocytosis": "2", "microcytes": "0", "white_cells": "normal", "platelets": "not_examined",
                "parasites": "seen"}  # fmt: skip
    assert _values(case) == expected
    _type(page, "u")
    expect(page.locator("[data-key=parasites] [data-value=seen]")).to_have_attribute("aria-pressed", "false")
    expected.pop("parasites")
    assert _values(case) == expected
    _type(page, "[", "[", "[", "[", "a")
    expect(page.locator("[data-part=told]")).to_contain_text("Anisocytosis is graded. Take it back with Delete first.")
    _type(page, "ArrowDown", "Delete", "[", "a")
    expect(page.locator("[data-key=red_cells] [data-value=normal]")).to_have_attribute("aria-pressed", "true")
    wait_until_saved()
    assert _values(case)["red_cells"] == "normal"
    _type(page, "Escape")
    expect(page.locator("#gallery")).to_be_visible()


def test_a_count_of_schistocytes_is_typed_beside_its_grade(film, case, wait_until_saved):
    """The answer to the grade comes while the second number is typed: it takes the first one away no more."""
    page = film
    row, held = page.locator("[data-key=schistocytes]"), []
    page.route("**/findings/", lambda route: route.continue_() if held else held.append(route))
    row.get_by_role("button", name="Schistocytes: 1+").click()
    row.get_by_label("Schistocytes: counted").fill("12")
    row.get_by_label("Schistocytes: red cells examined").focus()
    held[0].continue_()
    wait_until_saved()
    expect(row.get_by_label("Schistocytes: counted")).to_have_value("12")
    row.get_by_label("Schistocytes: red cells examined").fill("1000")
    row.get_by_label("Schistocytes: red cells examined").press("Tab")
    expect(page.locator("[data-part=saving]")).to_have_text("Saved")
    page.wait_for_timeout(300)
    wait_until_saved()
    marked = current_findings(case)["schistocytes"]
    assert (marked.value, marked.counted, marked.examined) == ("1", 12, 1000)


def test_the_tab_fits_every_window_and_has_no_serious_fault_of_access(film):
    page = film
    for width in (390, 834, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert faults(page) + faults_of_contrast_in_dark(page) == []


def test_the_detectors_platelets_are_accepted_beside_the_findings_and_shown_on_the_slide(
    case, film, admin, laboratory, technologist, browse_as
):
    page = film
    expect(page.locator(".film-count-place")).to_be_empty()  # nobody has switched it on
    save_policy(laboratory, rules_from({"film_by_detector": True}), reason="help", by=admin)
    slide = case.slides.get()
    FilmImage.objects.create(
        count=FilmCount.objects.create(run=slide.runs.get(), state=FilmCount.State.DONE), image=slide.images.get(),
        um_per_px=0.2, area_um2=160_000, red_cells=1000, platelets=40, clumps=[[3, 10, 10, 60, 60]],
        boxes={"PLT": [[10, 10, 20, 20, 0.9]], "RBC": [[30, 30, 70, 70, 0.9]]},
    )  # fmt: skip
    page.reload()
    page.locator("[data-part=film-open]").click()
    panel = page.locator("#film-count")
    expect(panel.locator(".clumps img")).to_have_count(1)
    assert not Finding.objects.exists()
    panel.get_by_role("button", name="adequate").click()
    expect(page.locator("[data-key=platelet_adequacy] [data-value='2']")).to_have_attribute("aria-pressed", "true")
    expect(panel).to_contain_text("accepted by a person")
    page = browse_as(technologist, f"/slides/{slide.pk}/")
    platelets = page.locator(".toggle[data-code=PLT]")
    expect(platelets).to_have_text("Platelets1")
    expect(platelets).to_have_attribute("aria-pressed", "false")
    platelets.click()
    expect(platelets).to_have_attribute("aria-pressed", "true")


def test_pictures_of_a_finding_are_taken_around_the_chosen_cell_and_drawn_on_the_image(film, case, wait_until_saved):
    """P, the mouse, and the frame that arrow keys move; a click that draws nothing takes nothing."""
    page = film
    row = page.locator("[data-key=anisocytosis]")
    _type(page, "ArrowDown", "2", "ArrowUp", "p")
    expect(row.locator("img")).to_have_count(1)
    page.locator("[data-part=film-draw]").click()
    expect(page.locator("[data-part=drawing]")).to_be_visible()
    field = page.locator("#field").bounding_box()
    x, y = field["x"] + field["width"] / 2, field["y"] + field["height"] / 2
    page.mouse.click(x, y)
    expect(page.locator("[data-part=drawing]")).to_be_visible()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 60, steps=3)
    page.mouse.up()
    expect(row.locator("img")).to_have_count(2)
    _type(page, "Shift+P", "ArrowRight", "Shift+ArrowDown", "Enter")
    expect(row.locator("img")).to_have_count(3)
    _type(page, "Shift+P")
    expect(page.locator("[data-part=told]")).to_contain_text("at most three pictures")
    wait_until_saved()
    finding = current_findings(case)["anisocytosis"]
    assert finding.value == "2"
    image, x1, y1, x2, y2 = finding.pictures[1]
    assert (image, round((x2 - x1) / (y2 - y1), 1)) == (case.slides.get().images.get().pk, 1.5)
    page.wait_for_function("() => [...document.querySelectorAll('.finding-pictures img')].every((i) => i.naturalWidth)")
