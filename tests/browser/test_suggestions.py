"""Proposed phrases on the sign page: accepted, put in other words and refused by keyboard alone."""

from playwright.sync_api import expect

from leukoweb.review.models import Report
from leukoweb.review.suggestions.models import SuggestionAnswer
from tests.test_reports import WBC, reviewed  # noqa: F401  a fixture


def test_phrases_are_accepted_edited_and_refused_by_keyboard(reviewed, browse_as, pathologist, draw_pixels):  # noqa: F811
    case = reviewed({"MYO": 40, "PMO": 10, "NGS": 10, "LYT": 40}, **WBC)
    draw_pixels(case.slides.get())
    page = browse_as(pathologist, f"/cases/{case.pk}/sign/")
    lines = page.locator("#suggestions [data-key]")
    first, second, third = (lines.nth(number) for number in range(3))
    first.locator("[data-answer=accepted]").focus()
    page.keyboard.press("Enter")
    expect(first).to_contain_text("Accepted by Paul.")
    expect(second.locator("[data-answer=accepted]")).to_be_focused()
    for key in ("Tab", "Enter", "Tab", "Control+A"):
        page.keyboard.press(key)
    page.keyboard.type("Promyelocytes are seen.")
    page.keyboard.press("Enter")
    expect(second).to_contain_text("In other words by Paul: Promyelocytes are seen.")
    expect(third.locator("[data-answer=accepted]")).to_be_focused()
    for key in ("Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(third).to_contain_text("Refused by Paul.")
    assert [row.answer for row in SuggestionAnswer.objects.order_by("pk")] == ["accepted", "edited", "refused"]
    interpretation = Report.objects.get().interpretation
    assert "Blasts 40.0%" in interpretation
    assert "Promyelocytes are seen." in interpretation
    expect(page.locator("[name=interpretation]")).to_have_value(interpretation)
