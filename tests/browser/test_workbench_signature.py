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


class Reader:
    """A person who knows what each cell is, looks at every one, and counts the keys."""

    def __init__(self, page, press, truth, most):
        self.page, self.press, self.truth, self.most = page, press, truth, most
        self.presses, self.looked_s = 0, 0.0

    def press_key(self, key):
        self.presses += 1
        assert self.presses <= self.most
        self.press(key)

    def code_of(self, part):
        return self.page.locator(part).get_attribute("data-code")

    def is_looked_at_alone(self):
        """Low scores, blasts, and small groups of a type with weak evidence; the others are read page by page."""
        look = self.page.locator("#inspector [data-part=look]")
        text = self.page.locator("#inspector [data-part=name]").inner_text().lower()
        text += look.inner_text() if look.is_visible() else ""
        group = self.page.locator(f".group[data-code={self.code_of('#inspector [data-part=code]')}] .group-count")
        must = "low score" in text or "no evidence" in text or ("blast" in text and "weak" in text)
        return must or ("Needs review" in text and int(group.inner_text()) <= 6)

    def read_single_cells(self, *, all_of_them=False):
        page, looks = self.page, self.page.locator("[data-part=looks]")
        while looks.inner_text() != "none to review singly" and (all_of_them or self.is_looked_at_alone()):
            chosen = page.locator('.tile[aria-selected="true"]')
            cell, said = int(chosen.get_attribute("data-id")), self.code_of("#inspector [data-part=code]")
            done = page.locator("[data-part=done]")
            decided = int(done.inner_text().split()[0])
            self.press_key("Enter" if self.truth[cell] == said else KEYS[self.truth[cell]])
            expect(done).to_have_text(f"{decided + 1} of {len(self.truth)} reviewed")

    def read_pages(self):
        """Each page stands until the button lets it be confirmed; a wrong cell is jumped to and given its type."""
        page, all_of_them = self.page, f"{len(self.truth)} of {len(self.truth)}"
        button = page.locator("[data-part=confirm-page]")
        while not page.locator("[data-part=done]").inner_text().startswith(all_of_them):
            page.wait_for_timeout(700)  # the reader looks at the page
            self.looked_s += 0.7
            expect(button).not_to_contain_text("Loading", timeout=15_000)
            if button.is_disabled():
                self.press_key("Shift+Enter")  # brings the next page
                if "one by one" in page.locator("[data-part=told]").inner_text():
                    self.press_key("n")
                    self.read_single_cells(all_of_them=True)
                continue
            wrong = self.wrong_in_view(self.code_of("[data-part=confirm-page]"))
            for cell in wrong[:1]:  # the others may have moved then
                self.press_key("j")
                for letter in page.locator(f'.tile[data-id="{cell}"] .tile-hint').inner_text().lower():
                    self.press_key(letter)
                self.press_key(KEYS[self.truth[int(cell)]])
            if not wrong:
                self.press_key("Shift+Enter")

    def wrong_in_view(self, code):
        """Cells of which as much is in view as the page takes for seen (static/js/seen.js)."""
        return self.page.evaluate(
            """([code, truth]) => {
              const frame = document.getElementById("gallery").getBoundingClientRect();
              const tiles = document.querySelectorAll(`.group[data-code=${code}] .tile:not(.is-decided)`);
              return [...tiles].filter((tile) => {
                const box = tile.getBoundingClientRect();
                const inView = Math.min(box.bottom, frame.bottom) - Math.max(box.top, frame.top + 36);
                return truth[tile.dataset.id] !== code && inView >= 0.6 * box.height;
              }).map((tile) => tile.dataset.id);
            }""",
            [code, {str(key): value for key, value in self.truth.items()}],
        )


@pytest.fixture
def read_case(make_case, make_slide, draw_pixels, browse_as, pathologist, press):
    """Open a case of cells laid out by type and read all of it."""

    def read(found, most, *, wrong=True, low=0):
        case = make_case()
        for half in (0, 1) if sum(found.values()) > 500 else (None,):  # what one drawn slide has room for
            part = found if half is None else {code: (number + half) // 2 for code, number in found.items()}
            draw_pixels(make_slide(case, part))
        truth = _make_wrong(case) if wrong else {cell.pk: cell.detector_code for cell in current_cells(case)}
        doubtful = [pk for n, pk in enumerate(sorted(truth)) if low and n % (len(truth) // low) == 0][:low]
        Cell.objects.filter(pk__in=doubtful).update(score=0.45)
        page = browse_as(pathologist, f"/cases/{case.pk}/review/")
        expect(page.locator("[data-part=done]")).to_contain_text(f"of {len(truth)} reviewed")
        reader = Reader(page, press, truth, most)
        reader.read_single_cells()
        reader.read_pages()
        return case, reader

    return read


@pytest.mark.parametrize(
    ("evidence", "most"),
    [
        pytest.param("known_evidence", 40, id="another card", marks=pytest.mark.nightly),
        pytest.param(None, 33, id="shipped card"),
    ],
)
def test_100_cells_with_10_errors_are_signed_with_few_keys(
    read_case, pathologist, record_property, request, evidence, most
):
    """The reader knows the truth and looks at every cell; the password is typed, not counted."""
    if evidence:
        request.getfixturevalue(evidence)
    began = time.monotonic()
    case, reader = read_case(FOUND, most)
    page = reader.page
    reader.press_key("w")
    expect(page.locator("[data-gate]").first).to_be_visible()
    expect(page.locator(".gate-open")).to_have_count(0)
    if page.locator("#username").count():
        page.keyboard.type(pathologist.username)
        reader.press_key("Tab")
    page.keyboard.type(PASSWORD)
    reader.press_key("Enter")
    expect(page).to_have_url(re.compile("/reports/"))
    seconds = time.monotonic() - began
    record_property("presses", reader.presses)
    record_property("seconds", round(seconds, 1))
    print(f"\n{reader.presses} key presses, {seconds:.1f} s in all, of which {reader.looked_s:.1f} s looking at pages")
    assert Report.objects.get(case=case).state == Report.State.SIGNED
    assert {cell.pk: cell.code for cell in current_cells(case)} == reader.truth
    assert Decision.objects.count() == 100


BLASTS = {"MYO": 104, "PMO": 12, "NGS": 21, "LYT": 34, "MON": 6, "EBO": 6}
MANY = {"NGS": 610, "LYT": 290, "MON": 76, "EOS": 38, "BAS": 10, "NGB": 24, "LYA": 12, "MYO": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "low", "most"),
    [
        pytest.param(BLASTS, 6, 60, id="183 cells, many blasts"),
        pytest.param(MANY, 40, 150, id="1,066 cells", marks=pytest.mark.nightly),
    ],
)
def test_a_long_case_is_confirmed_with_few_keys_and_every_cell_alone_in_the_record(
    read_case, wait_until_saved, record_property, found, low, most
):
    case, reader = read_case(found, most, wrong=False, low=low)
    wait_until_saved()
    record_property("presses", reader.presses)
    print(f"\n{reader.presses} key presses for {len(reader.truth)} cells, {low} of them with a low score")
    assert Decision.objects.count() == len(reader.truth)
