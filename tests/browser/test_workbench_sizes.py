"""The workspace holds still while it loads, and works on tablets and telephones, by touch."""

import re

import pytest
from playwright.sync_api import expect

from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision

pytestmark = pytest.mark.usefixtures("known_evidence")
SHIFTS = """window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources, hadRecentInput } of list.getEntries())
    if (!hadRecentInput) shifts.push([value, sources.map(({ node }) => node?.className ?? "")]);
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 60, "LYT": 25, "MON": 8, "MYO": 7}))
    return case


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (834, 1112), (390, 844)])
def test_nothing_moves_while_the_workspace_loads_and_it_is_never_wider_than_the_window(
    case, page, browse_as, pathologist, width, height
):
    """0.95 was measured once: types, headings and figures came one after the other and pushed each other down."""
    page.set_viewport_size({"width": width, "height": height})
    page.add_init_script(SHIFTS)
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    page.locator("#inspector[data-ready]").wait_for()
    page.wait_for_timeout(1500)
    shifts = page.evaluate("window.shifts")
    total = sum(value for value, _ in shifts)
    print(f"\n{width} x {height}: layout shift {total:.3f}")
    assert total <= 0.1, shifts
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-part=sheet-open]").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def touched(case, browser, live_server, client, settings, pathologist):
    """A telephone with the workspace open."""
    client.force_login(pathologist)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    page = context.new_page()
    page.goto(f"{live_server.url}/cases/{case.pk}/review/")
    page.locator("#inspector[data-ready]").wait_for()
    yield page
    context.close()


def test_a_case_is_reviewed_by_touch_alone_and_what_is_touched_is_at_least_40_points_high_and_wide(touched, case):
    small = touched.evaluate(
        """() => [...document.querySelectorAll(".workbench :is(button, select, a.btn)")]
          .filter((each) => each.checkVisibility({visibilityProperty: true}))
          .map((each) => [each.textContent.trim() || each.ariaLabel, each.getBoundingClientRect()])
          .filter(([, box]) => box.height < 39.5 || box.width < 39.5)
          .map(([name, box]) => `${name} ${box.width}x${box.height}`)"""
    )
    assert small == []
    done = touched.locator("[data-part=done]")
    looks = touched.locator("[data-part=looks]")
    first = touched.locator("#inspector [data-part=name]").inner_text()
    assert first in ("Monocyte", "Myeloblast")

    def look():
        """Picture and types fill the screen together."""
        touched.evaluate("document.querySelector('#inspector').scrollIntoView()")
        touched.locator("#inspector[data-ready]").wait_for()

    look()
    touched.locator(".type-key[data-code=LYT]").tap()
    expect(done).to_have_text("1 of 100 reviewed")
    for number in range(2, 16):
        look()
        touched.locator(".type-key-confirm").tap()
        expect(done).to_have_text(f"{number} of 100 reviewed")
    expect(looks).to_have_text("none to review singly")
    button = touched.locator("[data-part=confirm-page]")
    for _ in range(20):
        if done.inner_text().startswith("100 of"):
            break
        button.scroll_into_view_if_needed()
        touched.locator("#gallery").evaluate("(gallery) => gallery.scrollIntoView({block: 'end'})")
        expect(button).to_have_text(re.compile("Confirm|Nothing"), timeout=5000)
        touched.wait_for_timeout(800)
        button.tap()
        touched.wait_for_timeout(300)
    expect(done).to_have_text("100 of 100 reviewed")
    expect(touched.locator("[data-part=saving]")).to_have_text("Saved")
    touched.locator("[data-part=report]").tap()
    expect(touched).to_have_url(re.compile("/sign/"))
    assert Decision.objects.count() == 100
    assert all(cell.decided_code for cell in current_cells(case))
