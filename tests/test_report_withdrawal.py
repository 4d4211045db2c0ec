# ruff: noqa: F811 (fixtures of test_reports)
"""What is rejected, withdrawn, closed or set aside says so in every form, and nothing signed is ever lost (S9, S12)."""

import io
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from leukoweb.analysis.models import Run
from leukoweb.api.services import give_token
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, Slide
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.models import Report, Withdrawal
from leukoweb.review.services import previous_result
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, acknowledge, look_at, post_signature, reviewed, signed  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow

REASON = {"code": "RC", "reason": "Clot seen in the tube."}


def words(pdf):
    pages = PdfReader(io.BytesIO(pdf)).pages
    return len(pages), " ".join(" ".join(page.extract_text() for page in pages).split())


def api(person):
    return {"Authorization": f"Token {give_token(person)[1]}"}


def state(case):
    return Case.objects.with_state().get(pk=case.pk).state


def amend(client, report):
    client.post(reverse("report_amend", args=[report.pk]), {"reason": "Bands."})
    return Report.objects.get(version=report.version + 1)


def test_a_case_with_a_signed_report_is_never_rejected_not_even_while_an_amendment_is_open(
    signed,
    sign_in,
    technologist,
):
    """H22: a technologist turned a signed result into “Specimen rejected” for ever."""
    report, client = signed
    amend(client, report)
    client = sign_in(technologist)
    answer = client.post(reverse("case_reject", args=[report.case_id]), REASON)
    assert "never rejected" in answer.content.decode()
    assert state(report.case) == "amending"
    client.get(reverse("report_detail", args=[report.pk]))
    assert not Event.objects.filter(action="case.reject").exists()


def test_a_rejected_specimen_has_one_page_that_says_rejected_on_screen_paper_and_in_the_interface(
    reviewed,
    sign_in,
    pathologist,
    technologist,
):
    """S12: with a coded reason and without any figure, also where a draft was begun before."""
    case = reviewed()
    client = sign_in(pathologist)
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "Clotted?"})
    draft = Report.objects.get(case=case)
    client = sign_in(technologist)
    client.post(reverse("case_reject", args=[case.pk]), REASON)
    assert Case.objects.get(pk=case.pk).rejection_code == "RC"
    page = client.get(reverse("report_detail", args=[draft.pk]), follow=True).content.decode()
    pages, pdf = words(client.get(reverse("report_pdf", args=[draft.pk]), follow=True).content)
    api_pages, api_pdf = words(client.get("/api/v1/cases/A-1001/report.pdf", headers=api(technologist)).content)
    told = client.get("/api/v1/cases/A-1001/report/", headers=api(technologist)).json()
    assert (pages, api_pages) == (1, 1)
    for text in (page, pdf, api_pdf):
        assert "Rejected" in text
        assert "Clotting" in text
        assert "Clot seen in the tube." in text
        assert "Edelgard Wintermute" in text
        assert "60.0" not in text
        assert "eutrophil" not in text
    assert (told["status"], told["rejection"]["code"], told["rejection"]["name"]) == ("rejected", "RC", "Clotting")
    assert "differential" not in told
    refused = client.get("/api/v1/cases/A-1001/differential/", headers=api(technologist))
    assert (refused.status_code, refused.json()["code"]) == (409, "case_closed")
    for form in ("csv", "json", "bundle"):
        answer = client.get(reverse("report_export", args=[draft.pk, form]), follow=True)
        assert "Specimen rejected" in answer.content.decode()
    case_page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "60.0" not in case_page
    assert "Rejection report" in case_page


@pytest.mark.parametrize("form", [{"code": "RC", "reason": " "}, {"code": "ZZ", "reason": "x"}, {"reason": "x" * 1001}])
def test_a_rejection_without_words_with_an_unknown_code_or_too_long_is_refused(make_case, sign_in, technologist, form):
    case = make_case()
    assert sign_in(technologist).post(reverse("case_reject", args=[case.pk]), form).status_code == 200
    assert state(case) == "registered"


def test_a_rejection_page_of_a_case_that_is_not_rejected_does_not_exist(make_case, sign_in, technologist):
    case = make_case()
    assert sign_in(technologist).get(reverse("case_rejection", args=[case.pk])).status_code == 404


def test_a_signed_report_is_withdrawn_with_reason_and_password_and_says_so_everywhere(signed, pathologist):
    report, client = signed
    address = reverse("report_withdraw", args=[report.pk])
    client.post(address, {"reason": " ", "password": PASSWORD})
    client.post(address, {"reason": "Wrong tube.", "password": "guess"})
    assert not Withdrawal.objects.exists()
    client.post(address, {"reason": "Wrong tube.", "password": PASSWORD})
    assert state(report.case) == "withdrawn"
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    pdf = words(client.get(reverse("report_pdf", args=[report.pk])).content)[1]
    for text in (page, pdf):
        assert "Withdrawn by Paul" in text
        assert "Wrong tube." in text
    assert "WITHDRAWN" in pdf
    told = client.get("/api/v1/cases/A-1001/report/", headers=api(pathologist)).json()
    assert (told["status"], told["state"], told["withdrawal"]["reason"]) == ("withdrawn", "withdrawn", "Wrong tube.")
    assert client.get("/api/v1/cases/A-1001/", headers=api(pathologist)).json()["state"] == "withdrawn"
    assert '"withdrawn"' not in client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode()
    assert ",withdrawn," in client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode()
    assert Event.objects.get(action="report.withdraw").changes["reason"] == "Wrong tube."
    assert "Report withdrawn" in client.get(reverse("case_detail", args=[report.case_id])).content.decode()


def test_a_withdrawn_case_is_closed_until_an_amendment_is_opened_and_signed(signed, technologist):
    report, client = signed
    client.post(reverse("report_withdraw", args=[report.pk]), {"reason": "Wrong tube.", "password": PASSWORD})
    cell = current_cells(report.case).first()
    label = {"key": str(uuid.uuid4()), "act": "label", "cells": {str(cell.pk): 0}, "code": "MYO"}
    address = reverse("case_decisions", args=[report.case_id])
    answer = client.post(address, {"decisions": [label]}, content_type="application/json")
    assert [outcome["state"] for outcome in answer.json()["outcomes"]] == ["refused"]
    assert client.get(reverse("case_sign", args=[report.case_id])).status_code == 302
    client.post(reverse("report_withdraw", args=[report.pk]), {"reason": "Again.", "password": PASSWORD})
    assert Withdrawal.objects.count() == 1
    client.post(reverse("case_reject", args=[report.case_id]), REASON)
    assert state(report.case) == "withdrawn"
    amend(client, report)
    assert post_signature(client, report.case).status_code == 302
    assert state(report.case) == "signed"


def test_only_a_pathologist_of_the_laboratory_withdraws(signed, sign_in, technologist, outsider):
    report, _ = signed
    address = reverse("report_withdraw", args=[report.pk])
    assert sign_in(technologist).post(address, {"reason": "x", "password": PASSWORD}).status_code == 403
    assert sign_in(outsider).post(address, {"reason": "x", "password": PASSWORD}).status_code == 404


def test_an_amendment_opened_by_mistake_is_withdrawn_and_every_cell_is_as_it_was_signed(signed, technologist):
    report, client = signed
    draft = amend(client, report)
    relabel_cells([c for c in current_cells(report.case) if c.code == "NGS"][:5], to="NGB", by=technologist)
    told = client.get("/api/v1/cases/A-1001/report/", headers=api(technologist)).json()
    assert told["status"] == "signed; an amendment is open"
    client.post(reverse("amendment_cancel", args=[draft.pk]), {"reason": " "})
    assert Report.objects.count() == 2
    client.post(reverse("amendment_cancel", args=[draft.pk]), {"reason": "Wrong case."})
    assert Report.objects.get() == report
    assert state(report.case) == "signed"
    assert client.get(reverse("case_detail", args=[report.case_id])).context["differential"]["groups"]["neutrophils"]
    counts = {}
    for cell in current_cells(report.case):
        counts[cell.code] = counts.get(cell.code, 0) + 1
    assert counts == NORMAL
    event = Event.objects.get(action="report.cancel_amendment")
    assert (event.changes["reason"], len(event.changes["cells"])) == ("Wrong case.", 5)
    assert amend(client, report).version == 2


def test_an_amendment_that_changed_the_patient_is_not_withdrawn_silently(signed):
    report, client = signed
    draft = amend(client, report)
    report.case.patient.name = "Somebody Else"
    report.case.patient.save()
    answer = client.post(reverse("amendment_cancel", args=[draft.pk]), {"reason": "Wrong case."}, follow=True)
    assert "Patient was changed since version 1 was signed" in answer.content.decode()
    assert Report.objects.count() == 2


def test_a_slide_that_came_with_a_withdrawn_amendment_is_set_aside(signed, make_slide):
    report, client = signed
    draft = amend(client, report)
    slide = make_slide(report.case, {"MYO": 3})
    client.post(reverse("amendment_cancel", args=[draft.pk]), {"reason": "Wrong case."})
    slide.refresh_from_db()
    assert slide.set_aside_reason == "Amendment withdrawn: Wrong case."
    assert state(report.case) == "signed"


def test_an_amendment_prints_what_changed_beside_the_figures_too(signed, make_slide, technologist):
    """H30: what was critical, how smudge cells count, slides set aside and how much was verified."""
    report, client = signed
    amend(client, report)
    slide = make_slide(report.case, {"MYO": 1, "KSC": 2})
    broken = make_slide(report.case, {})
    Run.objects.filter(slide=broken).update(state=Run.State.FAILED, error="The file is damaged.")
    client.post(reverse("slide_set_aside", args=[broken.pk]), {"reason": "Broken glass."})
    look_at(report.case, technologist)
    acknowledge(client, report.case)
    choice = {"smudge_shown": "yes", "smudge_as_lymphocytes": "yes", "smudge_reason": "Known CLL."}
    client.post(reverse("case_sign", args=[report.case_id]), {"act": "keep", "comment": "CLL.", **choice})
    acknowledge(client, report.case)
    assert post_signature(client, report.case, **choice).status_code == 302
    new = Report.objects.get(version=2)
    changes = {c["what"]: (c["before"], c["now"]) for c in new.content["amendment"]["changes"]}
    assert changes["Critical results"] == ("(empty)", "Blasts")
    assert changes["Smudge cells"] == ("(empty)", "counted as lymphocytes: Known CLL.")
    assert changes["Slides set aside"] == ("(empty)", f"{broken}: Broken glass.")
    assert changes["Verified"][1] == "103 of 103 cells verified by a person."
    assert "Detector" not in changes
    pdf = words(client.get(reverse("report_pdf", args=[new.pk])).content)[1]
    assert "counted as lymphocytes: Known CLL." in pdf
    assert str(slide) in changes["Slides"][1]


def test_a_withdrawn_report_is_no_previous_result_and_no_first_report(signed, make_case):
    """H22: the next specimen was compared with figures that had been taken back."""
    report, client = signed
    later = make_case("A-2", received_at=timezone.now() + timedelta(minutes=1))
    assert previous_result(later)["accession_number"] == "A-1001"
    client.post(reverse("report_withdraw", args=[report.pk]), {"reason": "Mixed up.", "password": PASSWORD})
    assert previous_result(later) is None


@pytest.fixture
def failed_slide(reviewed, make_slide):
    """A reviewed case with a second slide that cannot be read."""
    slide = make_slide(reviewed(), {})
    Run.objects.filter(slide=slide).update(state=Run.State.FAILED, error="The file is damaged.")
    return slide


def test_a_slide_that_cannot_be_read_is_set_aside_and_no_longer_blocks_its_case(failed_slide, sign_in, pathologist):
    """H44: with a reason that is audited and printed on the report."""
    client, case = sign_in(pathologist), failed_slide.case
    assert state(case) == "failed"
    address = reverse("slide_set_aside", args=[failed_slide.pk])
    client.post(address, {"reason": ""})
    assert state(case) == "failed"
    assert "Set this slide aside" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    client.post(address, {"reason": "The glass is broken."})
    assert state(case) == "to_review"
    assert Event.objects.get(action="slide.set_aside").changes["reason"] == "The glass is broken."
    report_page = client.get(post_signature(client, case).url).content.decode()
    report = Report.objects.get()
    pdf = words(client.get(reverse("report_pdf", args=[report.pk])).content)[1]
    for text in (report_page, pdf):
        assert "The glass is broken." in " ".join(text.split())
    assert [image["slide"] for image in report.content["images"]] == [Slide.objects.order_by("pk").first().pk]
    assert report.content["set_aside"][0]["by"] == "Paul"


def test_a_slide_set_aside_is_taken_back_and_a_good_one_is_never_set_aside(failed_slide, sign_in, technologist):
    client, case = sign_in(technologist), failed_slide.case
    client.post(reverse("slide_set_aside", args=[failed_slide.pk]), {"reason": "Broken."})
    client.post(reverse("slide_include", args=[failed_slide.pk]))
    assert state(case) == "failed"
    good = Slide.objects.order_by("pk").first()
    answer = client.post(reverse("slide_set_aside", args=[good.pk]), {"reason": "Too many blasts."}, follow=True)
    assert "Only a slide whose analysis failed" in answer.content.decode()
    assert Slide.objects.get(pk=good.pk).set_aside_at is None


def test_a_case_whose_only_slide_is_set_aside_waits_for_a_slide(make_case, make_slide, sign_in, technologist):
    case = make_case()
    slide = make_slide(case, {})
    Run.objects.update(state=Run.State.FAILED)
    sign_in(technologist).post(reverse("slide_set_aside", args=[slide.pk]), {"reason": "Broken."})
    assert state(case) == "registered"
    assert list(Case.objects.in_state("registered")) == [case]


def test_words_longer_than_allowed_are_refused_in_a_sentence_and_kept_nowhere(reviewed, sign_in, pathologist):
    """H50: a comment of 2 MB held a web thread for 240 s in the PDF."""
    case = reviewed()
    client = sign_in(pathologist)
    answer = client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "x" * 10_001})
    assert "The comment has 10,001 characters: write at most 10,000." in answer.content.decode()
    assert not Report.objects.exclude(comment="").exists()
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "x" * 10_000})
    assert len(Report.objects.get().comment) == 10_000
