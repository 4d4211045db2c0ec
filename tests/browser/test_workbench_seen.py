"""What was never on the screen is never confirmed, whatever the browser has loaded (S10)."""

import pytest
from playwright.sync_api import expect

from leukoweb.review.models import Decision

pytestmark = pytest.mark.usefixtures("known_evidence")
LOADED = """() => {
  const pictures = [...document.querySelectorAll(".group[data-code=MYO] img")];
  return pictures.length > 0 && pictures.every((picture) => picture.naturalWidth);
}"""


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 8, "MYO": 12}))
    return case


@pytest.fixture
def bench(case, page, browse_as, pathologist):
    page.set_viewport_size({"width": 1440, "height": 420})
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(20)
    page.locator("#size").fill("160")
    return page


def test_pictures_that_were_loaded_below_the_window_do_not_count_as_seen(bench, press):
    """They are loaded one screen ahead: a relabel of all blasts once labelled rows that nobody had scrolled to."""
    bench.wait_for_function(LOADED)
    bench.locator(".tally-flag").first.click()
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(12)
    bench.wait_for_timeout(400)
    press("d")
    expect(bench.locator("[data-part=told]")).to_contain_text("have not been on the screen yet")
    bench.wait_for_timeout(300)
    assert not Decision.objects.exists()


def test_rows_that_the_reader_scrolled_through_count_as_seen(bench, press, wait_until_saved):
    for tile in bench.locator(".group[data-code=MYO] .tile").all():
        tile.scroll_into_view_if_needed()
        bench.wait_for_function("(img) => img.naturalWidth", arg=tile.locator("img").element_handle())
        bench.wait_for_timeout(250)
    bench.locator(".tally-flag").first.click()
    press("d")
    wait_until_saved()
    assert Decision.objects.filter(to_code="MOB").count() == 12


def test_no_page_is_confirmed_while_the_gallery_lies_below_the_window(case, page, browse_as, pathologist):
    page.set_viewport_size({"width": 390, "height": 500})
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(20)
    page.evaluate("document.querySelector('#inspector').scrollIntoView()")
    page.wait_for_timeout(1500)
    assert page.locator("#gallery").bounding_box()["y"] > 500
    expect(page.locator("[data-part=confirm-page]")).to_be_disabled()
    page.evaluate("document.querySelector('#gallery').scrollIntoView()")
    expect(page.locator("[data-part=confirm-page]")).to_be_enabled()


def test_a_jump_over_many_rows_makes_none_of_them_and_confirms_only_what_stands_in_view(
    case, make_slide, draw_pixels, bench, press, wait_until_saved
):
    """Cells far from the view are no elements; the list is as high as if they were."""
    draw_pixels(make_slide(case, {"NGS": 200}))
    bench.reload()
    group = bench.locator(".group[data-code=NGS]")
    expect(group.locator(".group-count")).to_have_text("208")
    bench.evaluate("document.querySelector('#gallery').scrollTop = 0")
    expect(group.locator(".tile:first-child img[src]")).to_have_count(1)
    first = int(group.locator(".tile").first.get_attribute("data-id"))
    high = bench.evaluate("document.querySelector('#gallery').scrollHeight")
    group.evaluate("section => section.scrollIntoView({ block: 'end' })")
    expect(group.locator(f'.tile[data-id="{first}"]')).to_have_count(0)
    assert bench.evaluate("document.querySelector('#gallery').scrollHeight") == high
    assert bench.locator(".tile").count() < 120
    expect(bench.locator("[data-part=confirm-page]")).to_be_enabled()
    near = set(
        bench.evaluate("[...document.querySelectorAll('.tile img[src]')].map((each) => +each.parentElement.dataset.id)")
    )
    press("Shift+Enter")
    wait_until_saved()
    decided = set(Decision.objects.values_list("cell", flat=True))
    assert 0 < len(decided) == len(decided & near)
    assert first not in decided
