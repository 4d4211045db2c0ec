"""The workbench by mouse: drag, rubber band and ranges, undo; two readers at once; one selection in all views."""

import pytest
from django.test import Client
from playwright.sync_api import expect

from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.models import Decision

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide, draw_pixels):
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 12, "LYT": 6, "MON": 2}))
    return case


@pytest.fixture
def bench(case, browse_as, pathologist):
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(20)
    return page


def _count(page, code):
    return page.locator(f".tally-row[data-code={code}] .tally-count")


def test_a_cell_is_dragged_to_another_type_and_taken_back(bench, see_chosen):
    bench.locator(".group[data-code=LYT] .tile").first.click()
    see_chosen()
    bench.locator(".group[data-code=LYT] .tile").first.drag_to(bench.locator(".group[data-code=MON]"))
    expect(_count(bench, "MON")).to_have_text("3")
    expect(bench.locator(".group[data-code=MON] .tile")).to_have_count(3)
    bench.locator("[data-part=undo]").click()
    expect(bench.locator(".group[data-code=LYT] .tile")).to_have_count(6)


def test_a_range_is_chosen_with_shift_and_dragged_at_once(bench, case, press, see_chosen, wait_until_saved):
    tiles = bench.locator(".group[data-code=NGS] .tile")
    tiles.nth(1).click()
    tiles.nth(4).click(modifiers=["Shift"])
    tiles.nth(6).click(modifiers=["Control"])
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(5)
    see_chosen()
    tiles.nth(4).drag_to(bench.locator(".type-key[data-code=NGB]"))
    expect(_count(bench, "NGB")).to_have_text("5")
    wait_until_saved()
    assert Decision.objects.values("step").distinct().count() == 1
    press("u")
    expect(_count(bench, "NGB")).to_have_text("0")
    assert current_cells(case).filter(code="NGS").count() == 12


def test_a_rubber_band_chooses_what_it_touches_and_what_is_chosen_in_one_view_is_chosen_in_all(bench):
    group = bench.locator(".group[data-code=LYT]").bounding_box()
    bench.mouse.move(group["x"] + group["width"] - 4, group["y"] + group["height"] - 4)
    bench.mouse.down()
    bench.mouse.move(group["x"] + 20, group["y"] + 50, steps=6)
    bench.mouse.up()
    assert bench.locator('.group[data-code=LYT] .tile[aria-selected="true"]').count() == 6
    tile = bench.locator(".group[data-code=MON] .tile").last
    tile.click()
    expect(bench.locator("#inspector [data-part=name]")).to_have_text("Monocyte")
    bench.wait_for_timeout(800)
    bench.keyboard.press("z")
    expect(bench.locator("#field")).to_be_visible()
    bench.wait_for_timeout(900)
    frame = bench.locator("#field").bounding_box()
    bench.keyboard.press("Escape")
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(0)
    bench.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    expect(bench.locator('.tile[aria-selected="true"]')).to_have_count(1)
    expect(tile).to_have_attribute("aria-selected", "true")


def test_a_link_from_a_flag_leads_to_the_cells_that_caused_it_and_sorting_and_filtering_keep_all(
    bench, case, pathologist
):
    """C7."""
    bench.goto(f"{bench.url}?code=LYT")
    expect(bench.locator("#inspector [data-part=name]")).to_have_text("Lymphocyte")
    bench.get_by_label("Order").select_option("size")
    expect(bench.locator(".tile")).to_have_count(20)
    relabel_cells(list(current_cells(case).filter(detector_code="LYT")), to=None, by=pathologist)
    bench.reload()
    bench.get_by_label("Unreviewed only").check()
    expect(bench.locator(".tile:visible")).to_have_count(14)


def test_a_reader_sees_who_else_is_here_and_is_told_of_a_collision(bench, case, technologist, press):
    """Nothing is written over another reader's label; both are shown."""
    cell = current_cells(case).filter(detector_code="MON").first()
    bench.locator(f'.tile[data-id="{cell.pk}"]').click()
    relabel_cells([cell], to="LYA", by=technologist)
    press("l")
    dialog = bench.get_by_role("dialog", name="Two readers, one cell")
    expect(dialog).to_contain_text("Tess: atypical lymphocyte")
    expect(dialog).to_contain_text("You: lymphocyte")
    assert Decision.objects.count() == 1
    expect(dialog.get_by_role("button", name="Change to lymphocyte")).to_be_visible()
    dialog.get_by_role("button", name="Keep atypical lymphocyte").click()
    expect(bench.locator(f'.group[data-code=LYA] .tile[data-id="{cell.pk}"]')).to_have_count(1)


def test_another_readers_labels_appear_by_themselves(bench, case, technologist):
    client = Client()
    client.force_login(technologist)
    client.post(f"/cases/{case.pk}/presence/", "{}", content_type="application/json")
    relabel_cells([current_cells(case).filter(detector_code="MON").first()], to="LYA", by=technologist)
    expect(_count(bench, "LYA")).to_have_text("1", timeout=12_000)
    expect(bench.locator("[data-part=readers]")).to_contain_text("Tess also reads this case")
