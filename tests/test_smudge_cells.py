"""Smudge cells as lymphocytes: the signer's choice for one report with a reason; figures as printed (C5, C12)."""

# ruff: noqa: F811 (the fixture of another file is an argument here)

import csv
import io

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.delivery.results import result_message
from leukoweb.review.counting.policies import Rules
from leukoweb.review.models import Report
from leukoweb.review.reports.seal import canonical, digest, problems_of, seal_of
from leukoweb.review.reports.signing import draft_of, edit_draft
from leukoweb.review.services import save_policy
from tests.test_reports import WBC, post_signature, reviewed  # noqa: F401 (fixture)

CLL = {"NGS": 40, "LYT": 90, "KSC": 60}


@pytest.mark.slow
def test_the_signer_counts_smudge_cells_as_lymphocytes_for_one_report_and_says_why(
    reviewed,
    sign_in,
    pathologist,
):
    """C5: refused without a reason; then the table adds up, and the next case is counted as ever."""
    case, client = reviewed(CLL, **WBC), sign_in(pathologist)
    assert "smudge_as_lymphocytes" in client.get(reverse("case_sign", args=[case.pk])).content.decode()
    choice = {"smudge_shown": "yes", "smudge_as_lymphocytes": "yes"}
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "smudge_reason": "", **choice})
    refused = post_signature(client, case, smudge_reason="", **choice)
    assert "Give the reason for counting smudge cells" in refused.content.decode()
    answer = post_signature(client, case, smudge_reason="CLL, no albumin film possible", **choice)
    assert answer.status_code == 302, answer.content.decode()
    report = Report.objects.get()
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "60 of them smudge cells" in page
    assert "CLL, no albumin film possible" in page
    rows = {row["key"]: row for row in report.content["differential"]["rows"]}
    assert (rows["LYT"]["counted"], report.content["differential"]["total"]) == (150, 190)
    other = reviewed(CLL, accession_number="A-2")
    page = client.get(reverse("case_sign", args=[other.pk]))
    assert page.context["content"]["differential"]["total"] == 130


@pytest.mark.slow
def test_lymphocytes_150_of_them_60_smudge_cells_adds_up_in_every_form_of_the_report(reviewed, sign_in, pathologist):
    """C5: page, clipboard, PDF, CSV, the interface of programs and the message to the hospital."""
    from pypdf import PdfReader  # as in tests/test_reports.py: it is slow to load

    case, client = reviewed(CLL, **WBC), sign_in(pathologist)
    edit_draft(draft_of(case, by=pathologist), by=pathologist, smudge_as_lymphocytes=True, smudge_reason="CLL, fragile")
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get()
    page = client.get(reverse("report_detail", args=[report.pk]))
    words = " ".join(page.content.decode().split())
    assert "150<div" in words.replace(" ", "")
    assert "60 of them smudge cells" in words
    assert "(60 of them smudge cells)\t150\t78.9" in page.context["clipboard"]
    answer = client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode("utf-8-sig")
    rows = {row["code"]: row for row in csv.DictReader(io.StringIO(answer))}
    assert (rows["LYT"]["count"], rows["LYT"]["count_note"]) == ("150", "60 of them smudge cells")
    assert (rows["KSC"]["count_note"], rows["KSC"]["per_100_wbc"], rows["KSC"]["absolute_10*9/L"]) == (
        "counted as lymphocytes", "", "",
    )  # fmt: skip
    told = client.get(f"/api/v1/cases/id/{case.pk}/differential/").json()
    lymphocytes, smudge = told["cells"]["LYT"], told["cells"]["KSC"]
    assert (lymphocytes["count"], lymphocytes["count_note"], told["total"]) == (150, "60 of them smudge cells", 190)
    assert (smudge["percent"], smudge["absolute"], smudge["count_note"]) == (None, None, "counted as lymphocytes")
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    paper = " ".join(" ".join(sheet.extract_text() for sheet in pdf.pages).split())
    assert "60 of them smudge cells" in paper
    assert "CLL, fragile" in paper
    message = result_message(report, control_id="1", zone_time=timezone.localtime()).decode()
    assert "60 smudge cells counted as lymphocytes: CLL, fragile" in message
    assert "34992-8" not in message
    assert "34993-6" not in message


@pytest.mark.slow
def test_a_report_with_smudge_cells_as_lymphocytes_verifies_and_is_rederived(
    reviewed,
    sign_in,
    pathologist,
    admin,
    laboratory,
):
    """S5: counting again gives the same figures."""
    case, client = reviewed(CLL), sign_in(pathologist)
    edit_draft(draft_of(case, by=pathologist), by=pathologist, smudge_as_lymphocytes=True, smudge_reason="CLL")
    assert post_signature(client, case).status_code == 302
    raw = client.get(reverse("report_export", args=[Report.objects.get().pk, "bundle"])).content
    assert problems_of(raw) == []


@pytest.mark.slow
def test_a_report_of_before_version_1_3_still_verifies(reviewed, sign_in, pathologist, laboratory, admin):
    """S5: ages in years, five single limits, smudge cells as a rule, a rare type rounded to 0."""
    save_policy(laboratory, Rules(decimals=0), reason="Whole percent", by=admin)
    case, client = reviewed({"NGS": 150, "MYO": 1, "KSC": 60, "LYT": 40}), sign_in(pathologist)
    client.post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"})
    edit_draft(draft_of(case, by=pathologist), by=pathologist, smudge_as_lymphocytes=True, smudge_reason="CLL")
    assert post_signature(client, case).status_code == 302
    content = Report.objects.get().content
    years = content["patient"].pop("age")["years"]
    content["patient"]["age_years"] = years + 0.5
    rules = content["policies"]["rules"]
    rules["smudge_cells"] = "as_lymphocytes"
    rules["lya_limit"] = 5.0
    for name in ("flag_rules", "apl_share", "wbc_hours"):
        rules.pop(name)
    for name in ("smudge_as_lymphocytes", "smudge_reason"):
        content["report"].pop(name)
    differential = content["differential"]
    differential.pop("smudge_as_lymphocytes")
    for row in (*differential["rows"], *differential["groups"].values()):
        if row["percent"] is not None and row["percent"] < 1:
            row["percent"] = 0.0
        for name in ("percent_range", "absolute_range"):
            if row[name]:
                row[name]["age_from"] = 18
    for range_ in rules["ranges"]:
        range_["age_from"] = 18
    sections = {name: digest(section) for name, section in content.items()}
    seal = seal_of(content, sequence=1, previous_seal="0" * 64)
    bundle = {"format": "leukoweb-report/1", "content": content, "sections": sections, "sequence": 1,
              "previous_seal": "0" * 64, "seal": seal}  # fmt: skip
    assert problems_of(canonical(bundle)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "json", "page", "differential"])
def test_one_blast_in_2100_never_reads_zero(make_case, make_slide, sign_in, pathologist, kind):
    """C12: table, CSV, JSON and the interface of programs."""
    case, client = make_case(), sign_in(pathologist)
    make_slide(case, {"NGS": 2099, "MYO": 1})
    report = draft_of(case, by=pathologist)
    if kind == "csv":
        answer = client.get(reverse("report_export", args=[report.pk, "csv"]))
        assert answer.content.startswith(b"\xef\xbb\xbf")  # or a spreadsheet reads umlauts as Latin-1
        rows = {row["code"]: row for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
        assert (rows["MYO"]["percent"], rows["blasts"]["percent"]) == ("<0.1", "<0.1")
    elif kind == "json":
        content = client.get(reverse("report_export", args=[report.pk, "json"])).json()
        assert all(row["percent"] > 0 for row in content["differential"]["rows"] if row["counted"])
    elif kind == "page":
        page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
        assert '<td class="num">&lt;0.1</td>' in page
    else:
        answer = client.get(f"/api/v1/cases/{case.accession_number}/differential/").json()
        assert answer["cells"]["MYO"]["percent"] > 0
        assert answer["printed"]["MYO"] == "<0.1"
