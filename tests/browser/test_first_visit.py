"""The first visit in a browser: one button in, a tour offered once, by keyboard and without motion."""

import pytest
from playwright.sync_api import expect

from leukoweb.ops import demo
from tests.browser.access import faults
from tests.test_demonstration import accounts, cases, few_pictures  # noqa: F401 (fixtures)

# ruff: noqa: F811 (the fixture of another file is an argument here)


@pytest.fixture
def visit(page, live_server, cases):
    """Come to the sign-in page of a demonstration."""
    page.goto(live_server.url + "/sign-in/")
    return page


def test_one_button_leads_in_and_the_tour_goes_by_keyboard_and_comes_no_second_time(visit, live_server):
    assert faults(visit) == []
    visit.get_by_role("button", name="Pathologist").click()
    visit.wait_for_url("**/worklist/")
    start = visit.get_by_role("button", name="Start the tour")
    start.focus()
    visit.keyboard.press("Enter")
    tour = visit.get_by_role("dialog", name="Two-minute tour")
    expect(tour).to_be_visible()
    expect(visit.get_by_role("button", name="Next")).to_be_focused()
    assert faults(visit) == []
    for step, heading in enumerate(("1. Upload", "2. Worklist", "3. Review", "4. Sign", "5. Report"), start=1):
        expect(tour.get_by_role("heading", name=heading)).to_be_visible()
        expect(tour.get_by_role("status")).to_have_text(f"Step {step} of 5")
        picture = tour.get_by_role("img")
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 600
        visit.keyboard.press("ArrowRight")
    visit.keyboard.press("ArrowLeft")
    expect(tour.get_by_role("status")).to_have_text("Step 4 of 5")
    visit.keyboard.press("Escape")
    expect(tour).to_be_hidden()
    visit.reload()
    expect(visit.get_by_role("heading", name="Worklist")).to_be_visible()
    expect(start).to_be_hidden()


def test_the_tour_is_dismissed_for_good_and_help_brings_it_back(visit, live_server):
    visit.get_by_role("button", name="Technologist").click()
    visit.get_by_role("button", name="No, thanks").click()
    expect(visit.get_by_text("New here?")).to_be_hidden()
    visit.get_by_role("link", name="Help").click()
    expect(visit.get_by_text("New here?")).to_be_hidden()
    visit.get_by_role("button", name="Take the two-minute tour").click()
    for _ in range(4):
        visit.get_by_role("button", name="Next").click()
    visit.get_by_role("button", name="Done").click()
    expect(visit.get_by_role("dialog")).to_be_hidden()


def test_nothing_moves_in_the_tour_for_who_wants_no_motion(visit):
    visit.emulate_media(reduced_motion="reduce")
    visit.get_by_role("button", name="Technologist").click()
    visit.get_by_role("button", name="Start the tour").click()
    visit.get_by_role("button", name="Next").click()
    moving = "document.getAnimations().filter(one => one.effect.target.closest('#tour, #tour-offer')).length"
    assert visit.evaluate(moving) == 0


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_sign_in_help_and_tour_fit_every_screen(visit, live_server, width):
    visit.set_viewport_size({"width": width, "height": 844})
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert visit.evaluate(fits)
    visit.get_by_role("button", name="Technologist").click()
    visit.get_by_role("button", name="Start the tour").click()
    box = visit.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= 844
    visit.goto(live_server.url + "/help/")
    assert visit.evaluate(fits)


def test_without_a_demonstration_nothing_is_offered(page, live_server, technologist, browse_as):
    browse_as(technologist, "/worklist/")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()
    expect(page.get_by_text("New here?")).to_have_count(0)
    assert demo.running_demonstration() is None
