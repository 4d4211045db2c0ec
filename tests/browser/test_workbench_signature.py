"""The goal of the workbench, measured: 100 cells with 10 wrong pre-classifications, signed by keyboard alone."""

import re
import time

import pytest
from playwright.sync_api import expect

from leukoweb.analysis.models import Cell
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision, Report
from tests.conftest import PASSWORD

KEYS = {"NGS": "s", "NGB": "b", "MON": "m", "LYT": "l", "EOS": "e", "BAS": "k"}
FOUND = {"NGS": 56, "LYT": 26, "MON": 7, "EOS": 3, "BAS": 1, "NGB": 6, "MYO": 1}
# What is wrong: in weak types, with a low score, and three that nothing marks.
WRONG = [
    *(("MYO", "MON", 0.9), ("NGB", "NGS", 0.9), ("NGB", "NGS", 0.9), ("MON", "LYT", 0.9)),
    *(("LYT", "MON", 0.45), ("NGS", "EOS", 0.5), ("NGS", "NGB", 0.5)),
    *(("NGS", "NGB", 0.9), ("NGS", "NGB", 0.9), ("LYT", "MON", 0.9)),
]


def _make_wrong(case):
    """Spread the wrong ones over the case; return what each cell really is."""
    truth, used = {}, set()
    for said, code, score in WRONG:
        cell = (
            Cell.objects.filter(run__slide__case=case, detector_code=said).exclude(pk__in=used).order_by("-id").first()
        )
        Cell.objects.filter(pk=cell.pk).update(score=score)
        used.add(cell.pk)
        truth[cell.pk] = code
    return {cell.pk: truth.get(cell.pk, cell.detector_code) for cell in current_cells(case)}


@pytest.mark.parametrize(
    ("evidence", "most"), [("known_evidence", 40), (None, 45)], ids=["proven card", "shipped card"]
)
def test_100_cells_with_10_errors_are_signed_with_at_most_40_keys(
    make_case, make_slide, draw_pixels, browse_as, pathologist, press, record_property, request, evidence, most
):
    """The reader knows the truth and looks at every cell; the password is typed, not counted.

    The goal of 40 holds for a card that proves lymphocytes. The shipped card calls them weak, so that they are
    confirmed in smaller pages: 40 were counted with it too, but that depends on how many cells the window shows.
    """
    if evidence:
        request.getfixturevalue(evidence)
    case = make_case()
    draw_pixels(make_slide(case, FOUND))
    truth = _make_wrong(case)
    page = browse_as(pathologist, f"/cases/{case.pk}/review/")
    expect(page.locator(".tile")).to_have_count(100)
    presses, began, looked_s = 0, time.monotonic(), 0.0

    def press_key(key):
        nonlocal presses
        presses += 1
        press(key)

    def code_of(part):
        return page.locator(part).get_attribute("data-code")

    def selected():
        return int(page.locator('.tile[aria-selected="true"]').get_attribute("data-id"))

    def is_looked_at_alone():
        """Low scores, blasts, and small groups of a type with weak evidence; the others are read page by page."""
        look = page.locator("#inspector [data-part=look]")
        text = page.locator("#inspector [data-part=name]").inner_text().lower()
        text += look.inner_text() if look.is_visible() else ""
        code = code_of("#inspector [data-part=code]")
        is_small = page.locator(f".group[data-code={code}] .tile").count() <= 6
        return "low score" in text or "blast" in text or ("Needs review: weak" in text and is_small)

    while is_looked_at_alone():
        assert presses <= most
        cell = selected()
        said = code_of("#inspector [data-part=code]")
        press_key("Enter" if truth[cell] == said else KEYS[truth[cell]])
        expect(page.locator(f'.tile[data-id="{cell}"].is-decided')).to_have_count(1)
    while not page.locator("[data-part=done]").inner_text().startswith("100 of 100"):
        assert presses <= most
        button = page.locator("[data-part=confirm-page]")
        page.wait_for_timeout(700)  # the reader looks at the page
        looked_s += 0.7
        expect(button).not_to_contain_text("Loading", timeout=15_000)
        if button.is_disabled():
            press_key("Shift+Enter")  # brings the next page
            continue
        code = code_of("[data-part=confirm-page]")
        wrong = page.evaluate(
            """([code, truth]) => {
              const frame = document.getElementById("gallery").getBoundingClientRect();
              const tiles = document.querySelectorAll(`.group[data-code=${code}] .tile:not(.is-decided)`);
              return [...tiles].filter((tile) => {
                const box = tile.getBoundingClientRect();
                return truth[tile.dataset.id] !== code && box.bottom <= frame.bottom && box.top >= frame.top;
              }).map((tile) => tile.dataset.id);
            }""",
            [code, {str(key): value for key, value in truth.items()}],
        )
        for cell in wrong:
            press_key("j")
            for letter in page.locator(f'.tile[data-id="{cell}"] .tile-hint').inner_text().lower():
                press_key(letter)
            press_key(KEYS[truth[int(cell)]])
        if not wrong:
            press_key("Shift+Enter")
    press_key("w")
    expect(page.locator("[data-gate]").first).to_be_visible()
    expect(page.locator(".gate-open")).to_have_count(0)
    if page.locator("#username").count():
        page.keyboard.type(pathologist.username)
        press_key("Tab")
    page.keyboard.type(PASSWORD)
    press_key("Enter")
    expect(page).to_have_url(re.compile("/reports/"))
    seconds = time.monotonic() - began
    record_property("presses", presses)
    record_property("seconds", round(seconds, 1))
    print(f"\n{presses} key presses, {seconds:.1f} s in all, of which {looked_s:.1f} s looking at pages")
    assert presses <= most
    assert Report.objects.get(case=case).state == Report.State.SIGNED
    assert {cell.pk: cell.code for cell in current_cells(case)} == truth
    assert Decision.objects.count() == 100
