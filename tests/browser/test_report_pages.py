"""Case, sign-off, report and rules in the browser: by keyboard, in light and dark."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from leukoweb.analysis.models import Run
from leukoweb.review.models import Phrase, Report
from tests.conftest import PASSWORD
from tests.test_reports import WBC, look_at

AML = {"MYO": 20, "PMO": 6, "NGS": 50, "LYT": 20, "LYA": 8, "EBO": 8, "KSC": 3}


@pytest.fixture
def case(make_case, make_slide, draw_pixels, technologist):
    """A case with blasts whose cells were all looked at, and whose cells have pictures."""
    case = make_case(**WBC, wbc_at=timezone.now())
    draw_pixels(make_slide(case, AML))
    look_at(case, technologist)
    return case


def test_a_pathologist_acknowledges_comments_and_signs_by_keyboard(browse_as, case, pathologist, laboratory):
    """S2, S10, C7: nothing of the sign page needs a mouse."""
    Phrase.objects.create(laboratory=laboratory, name="Blasts", text="Blasts present.")
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    acknowledge = page.get_by_role("button", name="Acknowledge", exact=True)
    for left in reversed(range(acknowledge.count())):
        acknowledge.first.focus()
        page.keyboard.press("Enter")
        expect(acknowledge).to_have_count(left)
    page.get_by_role("button", name="Blasts", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#comment")).to_have_value("Blasts present.")
    page.keyboard.type(" Called to the ward.")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.locator("#username").focus()
    page.keyboard.type(pathologist.username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/reports/\d+/$"))
    expect(page.get_by_text("Signed by Paul")).to_be_visible()
    expect(page.get_by_text("Blasts present. Called to the ward.")).to_be_visible()
    expect(page.get_by_text("Atypical lymphocytes: variant.")).to_be_visible()


def test_the_paper_beside_the_form_shows_what_was_typed_and_the_checklist_frees_the_signature(
    browse_as, make_case, make_slide, draw_pixels, pathologist
):
    """A limited count needs a comment: as soon as it is saved the list is done and the report may be signed."""
    case = make_case()
    draw_pixels(make_slide(case, {"NGS": 30}))
    look_at(case, pathologist)
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    sign, paper = page.get_by_role("button", name="Sign version 1"), page.locator(".sign-paper")
    expect(sign).to_be_disabled()
    page.locator("#interpretation").fill("Too few cells for a differential.")
    page.locator("#comment").fill("Repeat the film.")
    page.locator("#comment").blur()
    expect(paper.locator(".result")).to_contain_text("Too few cells for a differential.")
    expect(paper).to_contain_text("Repeat the film.")
    expect(sign).to_be_enabled()
    expect(page.locator("#gates .gate-open")).to_have_count(0)


def test_a_click_on_a_picture_of_the_paper_shows_another_cell_of_its_type(browse_as, case, pathologist):
    page = browse_as(pathologist, f"/cases/{case.pk}/sign/")
    figure = page.locator(".paper .pictures figure").first
    shown = figure.get_attribute("data-cell")
    code = page.locator(f"input[name=pictures][value='{shown}']").get_attribute("data-code")
    figure.click()
    expect(page.locator(f".paper figure[data-cell='{shown}']")).to_have_count(0)
    expect(page.locator("#draft-state")).to_contain_text("Saved")
    another = page.evaluate("document.activeElement.dataset.cell")
    assert page.locator(f"input[name=pictures][value='{another}']").get_attribute("data-code") == code
    assert int(another) in Report.objects.get(case=case).pictures
    page.keyboard.press("Enter")
    expect(page.locator(f".paper figure[data-cell='{another}']")).to_have_count(0)


def test_the_table_is_copied_by_one_key(browse_as, case, pathologist, live_server):
    page = browse_as(pathologist)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
    page.goto(live_server.url + reverse("case_detail", args=[case.pk]))
    page.keyboard.press("c")
    expect(page.get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "Myeloblasts\t20\t19.2\t\t" in copied
    assert "Nucleated red cells\t8\t\t7.7" in copied


def test_the_case_page_follows_the_detector_without_being_loaded_again(browse_as, make_case, make_slide, pathologist):
    """The part that changes asks again while the detector works, and stops by itself."""
    case = make_case()
    slide = make_slide(case, {"NGS": 100})
    Run.objects.filter(slide=slide).update(state=Run.State.RUNNING)
    page = browse_as(pathologist, reverse("case_detail", args=[case.pk]))
    expect(page.locator("#case-live[hx-get]")).to_have_count(1)
    Run.objects.filter(slide=slide).update(state=Run.State.DONE)
    expect(page.locator("#case-live[hx-get]")).to_have_count(0)
    expect(page.locator("#case-live")).to_contain_text("Differential of 100 leukocytes")


def test_a_typed_comment_is_saved_by_itself_and_outlives_everything_but_the_reader(browse_as, case, pathologist):
    """It was lost when a flag was acknowledged, at a click away and at idle sign-out."""
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    page.locator("#comment").fill("Blasts.")
    expect(page.locator("#draft-state")).to_have_text(re.compile(r"Saved \d\d:\d\d"))
    assert Report.objects.get().comment == "Blasts."
    page.locator("#comment").press_sequentially(" Two")  # and at once, before it is saved
    acknowledge = page.get_by_role("button", name="Acknowledge", exact=True)
    left = acknowledge.count() - 1
    acknowledge.first.click()
    expect(acknowledge).to_have_count(left)
    expect(page.locator("#comment")).to_have_value("Blasts. Two")
    page.locator("#comment").press_sequentially(" lines")  # the cursor is where the words ended
    page.locator(f'a[href="{reverse("case_detail", args=[case.pk])}"]').first.click()
    expect(page).to_have_url(re.compile(reverse("case_detail", args=[case.pk]) + "$"))
    page.goto(page.url + "sign/")
    expect(page.locator("#comment")).to_have_value("Blasts. Two lines")


def test_a_save_that_is_under_way_ends_before_the_report_is_signed(browse_as, case, pathologist):
    """It came after the signature and was refused, as a signed report has no draft."""
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    acknowledge = page.get_by_role("button", name="Acknowledge", exact=True)
    for left in reversed(range(acknowledge.count())):
        acknowledge.first.click()
        expect(acknowledge).to_have_count(left)
    if page.locator("[name=lya_meaning]").count():
        page.locator("[name=lya_meaning]").first.check()
    page.locator("#username").fill(pathologist.username)
    page.locator("#password").fill(PASSWORD)
    answers = []
    page.on("response", lambda answer: answer.request.method == "POST" and answers.append(answer))
    page.locator("#comment").fill("Written in haste.")
    page.get_by_role("button", name="Sign version 1").dblclick()
    expect(page).to_have_url(re.compile(r"/reports/\d+/$"))
    expect(page.get_by_text("Written in haste.")).to_be_visible()
    acts = [
        re.search(r"(?:^|&|name=\"act\"\s+)(?:act=)?(autosave|sign)", answer.request.post_data)[1] for answer in answers
    ]
    assert acts.index("sign") == len(acts) - 1 > 0, acts  # once, and after every save
    assert all(answer.status < 400 for answer in answers)


def test_a_comment_typed_before_an_idle_sign_out_is_there_after_it(browse_as, case, pathologist, settings):
    """S7: the words are saved before the session ends, and signing in again leads back to them."""
    settings.IDLE_LIMIT_S = 6
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    page.locator("#comment").fill("Blasts with Auer rods.")
    page.wait_for_url("**/sign-in/?idle=1*", timeout=20_000)
    page.get_by_label("Username").fill(pathologist.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(re.compile(reverse("case_sign", args=[case.pk])))
    expect(page.locator("#comment")).to_have_value("Blasts with Auer rods.")
