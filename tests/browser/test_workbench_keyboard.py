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
    expect(page.locator("[data-part=looks]")).to_have_text("3 to review singly")
    return page


def _codes(case):
    return {cell.pk: (cell.code, bool(cell.decided_code)) for cell in current_cells(case)}


def test_a_case_is_reviewed_without_a_mouse(bench, case, press, wait_until_saved):
    """One key a doubtful cell, one key a page of the others; every cell has its own row in the end (S10)."""
    expect(bench.locator("#inspector [data-part=name]")).to_have_text(
        "Monocyte"
    )  # one monoblast more would raise the flag
    press("l", "Enter", "Enter")
    expect(bench.locator("[data-part=looks]")).to_have_text("none to review singly")
    presses = 3
    while bench.locator("[data-part=done]").inner_text() != "33 of 33 reviewed":
        assert presses < 10
        bench.keyboard.press("Shift+Enter")
        presses += 1
        bench.wait_for_timeout(800)
    expect(bench.locator("[data-part=settled]")).to_have_text("All cells reviewed.")
    wait_until_saved()
    codes = _codes(case)
    assert all(is_decided for _, is_decided in codes.values())
    assert Decision.objects.count() == 33
    assert sorted(code for code, _ in codes.values()).count("LYT") == 11


def test_undo_and_redo_by_key_and_a_relabelled_cell_offers_to_be_taken_back_by_a_button(bench, press, wait_until_saved):
    press("d")  # a monocyte becomes a monoblast
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("1")
    press("u")
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("2")
    press("Shift+U")
    expect(bench.locator(".tally-row[data-code=MON] .tally-count")).to_have_text("1")
    wait_until_saved()
    assert [d.to_code for d in Decision.objects.order_by("id")] == ["MOB", "", "MOB"]
    count = bench.locator(".tally-row[data-code=MOB] .tally-count")
    expect(count).to_have_text("1")
    bench.keyboard.press("Control+z")
    expect(count).to_have_text("0")
    press("d")
    expect(bench.locator("[data-part=told]")).to_contain_text("Monocyte → monoblast.")
    wait_until_saved()
    bench.locator("[data-part=told]").get_by_role("button", name="Undo").click()
    expect(count).to_have_text("0")


def test_space_hides_marks_as_long_as_it_is_held_n_walks_through_what_needs_a_look_and_help_opens_by_key(bench, press):
    score = bench.locator(".tile-score").first
    expect(score).to_be_visible()
    bench.keyboard.down(" ")
    expect(score).to_be_hidden()
    bench.keyboard.up(" ")
    expect(score).to_be_visible()
    code = bench.locator("#inspector [data-part=name]")
    for key, text in (("n", "Monocyte"), ("n", "Myeloblast"), ("n", "Monocyte"), ("Shift+N", "Myeloblast")):
        press(key)
        expect(code).to_have_text(text)
    press("?")
    expect(bench.get_by_role("dialog")).to_contain_text("always confirmed one at a time")
    bench.keyboard.press("Escape")
    expect(bench.get_by_role("dialog")).to_have_count(0)


def test_the_arrows_choose_and_with_shift_add(bench, case, press, see_chosen, wait_until_saved):
    bench.keyboard.press("Home")
    bench.keyboard.press("ArrowRight")
    bench.keyboard.press("Shift+ArrowRight")
    bench.keyboard.press("Shift+ArrowRight")
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(3)
    see_chosen()
    press("b")
    expect(bench.locator(".tally-row[data-code=NGB] .tally-count")).to_have_text("3")
    wait_until_saved()
    assert sum(code == "NGB" for code, _ in _codes(case).values()) == 3


def test_a_cell_is_added_without_a_mouse_and_another_by_drawing(bench, case, press):
    press("a")
    expect(bench.locator("[data-part=adding]")).to_be_visible()
    bench.keyboard.press("ArrowRight")
    bench.keyboard.press("Shift+ArrowUp")
    press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("1")
    expect(bench.locator('.group[data-code=EOS] .tile[aria-selected="true"]')).to_have_count(1)
    assert current_cells(case).get(code="EOS").added_by is not None
    press("a")
    frame = bench.locator("#field").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    bench.mouse.move(x - 30, y - 30)
    bench.mouse.down()
    bench.mouse.move(x + 30, y + 30, steps=4)
    bench.mouse.up()
    press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("2")


def test_the_keys_can_be_changed(bench, press):
    bench.get_by_role("button", name="My keys").click()
    bench.get_by_role("textbox", name="Band neutrophil").fill("n")
    bench.get_by_role("button", name="Save").click()
    expect(bench.get_by_role("alert")).to_have_text("The workbench needs N itself (next).")
    bench.get_by_role("textbox", name="Band neutrophil").fill("1")
    bench.get_by_role("button", name="Save").click()
    expect(bench.locator(".type-key[data-code=NGB] kbd")).to_have_text("1")
    press("1")
    expect(bench.locator(".tally-row[data-code=NGB] .tally-count")).to_have_text("1")


def test_possible_missed_cells_are_added_one_after_the_other(bench, press):
    """A detector misses cells: the stain check leads to them, and each takes one key."""
    ImageResult.objects.update(uncovered_nuclei=[[1000, 1000, 1040, 1040], [1500, 1200, 1540, 1240]])
    bench.reload()
    expect(bench.locator("[data-part=image]")).to_contain_text("2 possible missed")
    press("c")
    press("e")
    expect(bench.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text("1")
    expect(bench.locator("[data-part=told]")).to_contain_text("Possible missed cell 1 of 1")
    press("k")
    expect(bench.locator(".tally-row[data-code=BAS] .tally-count")).to_have_text("1")
    expect(bench.locator("[data-part=adding]")).to_be_hidden()
