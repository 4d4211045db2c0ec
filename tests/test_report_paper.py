"""The paper of a report: the result first, types not seen in one line; the sign page shows it as it will be printed."""

import csv
import io
import json

import pytest
from django.urls import reverse
from pypdf import PdfReader

from leukoweb.cases.models import Case
from leukoweb.review.counting.differential import count_differential
from leukoweb.review.counting.policies import Rules
from leukoweb.review.counting.table import lines_of, result_of, unseen_of
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.fhir import report_of
from leukoweb.review.reports.page import page_of
from tests.test_reports import AML, WBC, acknowledge, post_signature, reviewed, signed  # noqa: F401

pytestmark = pytest.mark.slow


def shown(counts):
    """The lines and the result of a count."""
    differential = count_differential(counts, Rules()).as_dict()
    lines = lines_of(differential, Rules().as_dict())
    return lines, result_of(lines, differential)


@pytest.mark.parametrize(
    ("counts", "result"),
    [
        ({"MYO": 30, "PMO": 10, "NGS": 50, "LYT": 10}, "Blasts 30.0% (30 of 100); promyelocytes 10.0% (10 of 100)."),
        ({"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3}, "No blasts or promyelocytes."),
        ({}, ""),
    ],
)
def test_the_result_says_blasts_and_promyelocytes_first(counts, result):
    assert shown(counts)[1].startswith(result)


def test_the_result_of_a_normal_report_from_before_ranges_had_ages_claims_no_ranges():
    differential = count_differential({"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3}, Rules()).as_dict()
    del differential["range_refusal"]
    assert result_of(lines_of(differential, Rules().as_dict()), differential) == "No blasts or promyelocytes."


@pytest.mark.parametrize(
    ("cells", "result"),
    [
        ({"NGS": 92, "LYT": 8}, "No blasts or promyelocytes; neutrophils high; lymphocytes low"),
        ({"NGS": 66, "LYT": 26, "MON": 8}, "No blasts or promyelocytes; no type surely outside its reference range."),
        ({"PMB": 40, "PMO": 20, "NGS": 40}, "Promyelocytes 60.0% (60 of 100); lymphocytes low"),
    ],
)
def test_the_result_names_what_is_surely_outside_its_range(reviewed, cells, result):  # noqa: F811
    """Where the interval reaches the limit, the "?" stands in the table alone."""
    reviewed(cells)
    report = Report(case=Case.objects.get())
    page = page_of(report, content_of(report))
    assert page["result"].startswith(result)
    assert "?" not in page["result"]


def test_types_without_a_cell_and_without_a_flag_share_one_line():
    lines, _ = shown({"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3})
    unseen = unseen_of(lines)
    assert {"basophils", "myelocytes", "nucleated red cells"} <= set(unseen)
    assert not {"lymphocytes", "neutrophils", "blasts"} & set(unseen)


def test_a_reference_range_is_drawn_on_a_scale_that_holds_it_and_the_value(reviewed):  # noqa: F811
    reviewed({"NGS": 92, "LYT": 8})
    report = Report(case=Case.objects.get())
    lines = {line["key"]: line for line in page_of(report, content_of(report))["lines"]}
    for key, is_high in (("neutrophils", True), ("LYT", False)):
        band = lines[key]["band"]
        assert 0 <= band["start"] <= band["start"] + band["width"] <= 100
        assert 0 <= band["value"] <= 100
        assert (band["value"] > band["start"] + band["width"]) == is_high
    assert lines["MYB"]["band"] is None or lines["MYB"]["band"]["value"] == 0


def test_a_normal_report_is_one_page_with_its_record(signed):  # noqa: F811
    report, client = signed
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    [text] = (page.extract_text() for page in pdf.pages)
    assert text.index("Not seen: ") < text.index("Signed by Paul") < text.index("Technical record")
    assert text.index("Technical record") < text.index("SHA-256")


def test_the_interpretation_is_printed_first_and_reaches_every_form(reviewed, sign_in, pathologist):  # noqa: F811
    case, client = reviewed(**WBC), sign_in(pathologist)
    answer = post_signature(client, case, interpretation="  Reactive   picture. ", comment="Repeat in a week.")
    assert answer.status_code == 302
    report = Report.objects.get()
    assert report.content["report"]["interpretation"] == "Reactive picture."
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert page.index("Reactive picture.") < page.index("Differential of 100") < page.index("Repeat in a week.")
    export = {form: client.get(reverse("report_export", args=[report.pk, form])).content for form in ("csv", "json")}
    rows = list(csv.DictReader(io.StringIO(export["csv"].decode("utf-8-sig"))))
    assert {(row["interpretation"], row["comment"]) for row in rows} == {("Reactive picture.", "Repeat in a week.")}
    assert json.loads(export["json"])["report"]["interpretation"] == "Reactive picture."
    assert report_of(Case.objects.with_state().get(), report)["conclusion"] == "Reactive picture.\nRepeat in a week."


def test_an_interpretation_that_is_too_long_is_refused_and_nothing_is_kept(reviewed, sign_in, pathologist):  # noqa: F811
    case, client = reviewed(), sign_in(pathologist)
    address = reverse("case_sign", args=[case.pk])
    answer = client.post(address, {"act": "keep", "interpretation": "x" * 301, "comment": "Kept?"})
    assert "interpretation" in answer.content.decode()
    assert Report.objects.get().comment == ""


def test_the_sign_page_shows_the_paper_and_gives_its_parts_to_a_saved_draft(reviewed, sign_in, pathologist):  # noqa: F811
    case, client = reviewed(AML), sign_in(pathologist)
    address = reverse("case_sign", args=[case.pk])
    page = client.get(address).content.decode()
    assert '<article class="paper">' in page
    assert page.index('id="report-form"') < page.index('<article class="paper">')
    assert 'value="sign" disabled' in page
    client.post(address, {"act": "autosave", "interpretation": "Blasts, see comment.", "comment": "Two."})
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "Blasts, see comment." in part
    assert 'id="gates"' in part
    assert "<html" not in part
    acknowledge(client, case)
    assert 'value="sign" disabled' not in client.get(address).content.decode()
