"""Blasts are found, acknowledged, called with read-back, closed, signed, printed and amended (C7, S5, S13)."""

import re

from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from leukoweb.review.criticals.models import Critical
from leukoweb.review.models import Report
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, WBC, look_at


def sign(page):
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("#sign").click()
    expect(page).to_have_url(re.compile(r"/reports/\d+/$"))


def test_a_critical_result_is_seen_called_read_back_closed_signed_printed_and_amended(
    browse_as, make_case, make_slide, draw_pixels, technologist, pathologist, tmp_path, live_server
):
    case = make_case(**WBC, wbc_at=timezone.now(), requester="Dr Ida Mole")
    draw_pixels(make_slide(case, {**NORMAL, "MYO": 12}))
    look_at(case, technologist)
    page = browse_as(technologist, reverse("critical_list"))
    expect(page.get_by_text("Blasts: 12 cells counted of 112 leukocytes.")).to_be_visible()
    page.get_by_role("link", name=case.accession_number).click()
    page.get_by_role("button", name="Acknowledge critical result").click()
    page.locator(".critical summary", has_text="Record a call").click()
    page.get_by_label("Role").fill("ward physician")
    page.get_by_label("Outcome").select_option("read_back")
    page.screenshot(path=tmp_path / "call.png", full_page=True)
    page.get_by_role("button", name="Record the call").click()
    expect(page.get_by_text("Told to Dr Ida Mole, ward physician")).to_be_visible()
    page.get_by_role("button", name="Close critical result").click()
    expect(page.get_by_text("Critical, closed: Blasts.")).to_be_visible()
    page = browse_as(pathologist, reverse("case_sign", args=[case.pk]))
    page.get_by_role("button", name="Acknowledge", exact=True).first.click()
    page.get_by_label("User name").fill(pathologist.username)  # the first signature of a session asks for it
    sign(page)
    expect(page.locator("article.paper")).to_contain_text("Told to Dr Ida Mole, ward physician")
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    page.set_viewport_size({"width": 834, "height": 1100})
    page.goto(live_server.url + reverse("critical_list"))
    expect(page.get_by_text("100.0%")).to_be_visible()
    page.screenshot(path=tmp_path / "list.png", full_page=True)
    assert Critical.objects.get().is_open is False
    assert Report.objects.get().content["criticals"][0]["calls"][0]["read_back"] is True
    answer = page.request.get(live_server.url + reverse("report_pdf", args=[Report.objects.get().pk]))
    assert (answer.status, answer.body()[:5]) == (200, b"%PDF-")
    page.goto(live_server.url + reverse("report_detail", args=[Report.objects.get().pk]))
    page.get_by_text("Amend this report").click()
    page.get_by_label("Reason for the amendment").fill("Auer rods were seen.")
    page.get_by_role("button", name="Open an amendment").click()
    page.get_by_text("Amend this report").wait_for(state="detached")
    page.goto(live_server.url + reverse("case_sign", args=[case.pk]))
    page.locator("#comment").fill("Auer rods in some blasts.")
    sign(page)
    paper = page.locator("article.paper")
    expect(paper).to_contain_text("Amended report, version 2")
    expect(paper).to_contain_text("Reason: Auer rods were seen.")
    expect(paper).to_contain_text("Told to Dr Ida Mole, ward physician")
