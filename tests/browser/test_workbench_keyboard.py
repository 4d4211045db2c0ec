"""The workbench by keyboard alone: look, confirm, relabel, undo, add, and one's own keys."""

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import ImageResult
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 20, "LYT": 10, "MON": 2, "MYO": 1}))
    return case


@pytest.fixture
def bench(case, browse_as, pathologist):
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator("[data-part=looks]")).to_have_text("3 need a look")
    return page


def _codes(case):
    return {cell.pk: (cell.code, bool(cell.decided_code)) for cell in current_cells(case)}


def test_a_case_is_reviewed_without_a_mouse(bench, case):
    """One key a doubtful cell, one key a page of the others; every cell has its own row in the end (S10)."""
    keys = bench.keyboard
    expect(bench.locator("#inspector [data-part=code]")).to_have_text("MON")  # one monoblast more would raise the flag
    keys.press("l")
    keys.press("Enter")
    keys.press("Enter")
    expect(bench.locator("[data-part=looks]")).to_have_text("none needs a look")
    presses = 3
    while bench.locator("[data-part=done]").inner_text() != "33 of 33 confirmed":
        assert presses < 10
        keys.press("Shift+Enter")
        presses += 1
        bench.wait_for_timeout(800)
    expect(bench.locator("[data-part=settled]")).to_have_text("Every cell is confirmed.")
    expect(bench.locator("#workbench")).not_to_have_class("workbench is-busy")
    codes = _codes(case)
    assert all(is_decided for _, is_decided in codes.values())
    assert Decision.objects.count() == 33
    assert sorted(code for code, _ in codes.values()).count("LYT") == 11


def test_undo_and_redo_by_key(bench, case):
    bench.keyboard.press("d")  # a monocyte becomes a monoblast
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("1")
    bench.keyboard.press("u")
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("2")
    bench.keyboard.press("Shift+U")
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("1")
    expect(bench.locator("#workbench")).not_to_have_class("workbench is-busy")
    assert [d.to_code for d in Decision.objects.order_by("id")] == ["MOB", "", "MOB"]


def test_next_and_previous_walk_through_what_needs_a_look(bench):
    code = bench.locator("#inspector [data-part=code]")
    for key, text in (("n", "MON"), ("n", "MYO"), ("n", "MON"), ("Shift+N", "MYO")):
        bench.keyboard.press(key)
        expect(code).to_have_text(text)


def test_the_arrows_choose_and_with_shift_add(bench, case):
    bench.keyboard.press("Home")
    bench.keyboard.press("ArrowRight")
    bench.keyboard.press("Shift+ArrowRight")
    bench.keyboard.press("Shift+ArrowRight")
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(3)
    bench.keyboard.press("b")
    expect(bench.locator(".tally-row[data-code=NGB] .tally-count")).to_have_text("3")
    expect(bench.locator("#workbench")).not_to_have_class("workbench is-busy")
    assert sum(code == "NGB" for code, _ in _codes(case).values()) == 3


def test_a_cell_is_added_without_a_mouse(bench, case):
    bench.keyboard.press("a")
    expect(bench.locator("[data-part=adding]")).to_be_visible()
    bench.keyboard.press("ArrowRight")
    bench.keyboard.press("Shift+ArrowUp")
    bench.keyboard.press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("1")
    expect(bench.locator('.group[data-code=EOS] .tile[aria-selected="true"]')).to_have_count(1)
    assert current_cells(case).get(code="EOS").added_by is not None


def test_a_cell_is_added_by_drawing(bench, case):
    bench.keyboard.press("a")
    frame = bench.locator("#field").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    bench.mouse.move(x - 30, y - 30)
    bench.mouse.down()
    bench.mouse.move(x + 30, y + 30, steps=4)
    bench.mouse.up()
    bench.keyboard.press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("1")


def test_the_keys_can_be_changed(bench, pathologist):
    bench.get_by_role("button", name="My keys").click()
    bench.get_by_role("textbox", name="NGB neutrophil, band").fill("n")
    bench.get_by_role("button", name="Keep these keys").click()
    expect(bench.get_by_role("alert")).to_have_text("The workbench needs N itself (next).")
    bench.get_by_role("textbox", name="NGB neutrophil, band").fill("1")
    bench.get_by_role("button", name="Keep these keys").click()
    expect(bench.locator(".type-key[data-code=NGB] kbd")).to_have_text("1")
    bench.keyboard.press("1")
    expect(bench.locator(".tally-row[data-code=NGB] .tally-count")).to_have_text("1")


def test_help_opens_by_key_and_says_what_may_be_confirmed_as_a_page(bench):
    bench.keyboard.press("?")
    expect(bench.get_by_role("dialog")).to_contain_text("always confirmed one at a time")
    bench.keyboard.press("Escape")
    expect(bench.get_by_role("dialog")).to_have_count(0)


def test_the_nuclei_without_a_box_are_added_one_after_the_other(bench, case):
    """A detector misses cells: the stain check leads to them, and each takes one key."""
    ImageResult.objects.update(uncovered_nuclei=[[1000, 1000, 1040, 1040], [1500, 1200, 1540, 1240]])
    bench.reload()
    expect(bench.locator("[data-part=image]")).to_contain_text("2 nuclei without a box")
    bench.keyboard.press("c")
    bench.keyboard.press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("1")
    expect(bench.locator("[data-part=told]")).to_contain_text("Nucleus 1 of 1 without a box")
    bench.keyboard.press("k")
    expect(bench.locator(".tally-row[data-code=BAS] .tally-count")).to_have_text("1")
    expect(bench.locator("[data-part=adding]")).to_be_hidden()
