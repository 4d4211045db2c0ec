"""Twelve cases of a laboratory, from cells to page and PDF; every figure is counted again from the decisions alone.

The counting here shares no code with the product (rules C4, C5, C8, C11, C12).
"""

import io
import re
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from html import unescape
from typing import NamedTuple

import pytest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import strip_tags
from pypdf import PdfReader

from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.models import Patient
from leukoweb.cases.services import reject_case
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.criticals.calls import give_receipt, record_call
from leukoweb.review.criticals.models import Critical
from leukoweb.review.findings.marking import Mark, mark_findings
from leukoweb.review.models import Decision, Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.page import page_of
from leukoweb.review.reports.printing import pdf_of, rejection_pdf
from leukoweb.review.reports.rejection import rejection_of
from leukoweb.review.services import count_case
from leukoweb.review.tasks import store_flags
from tests.conftest import PASSWORD
from tests.test_report_forms import squeezed
from tests.test_reports import NORMAL, look_at

pytestmark = pytest.mark.slow

ADULT, CHILD, NEWBORN = 365 * 65 + 200, 365 * 3 + 40, 2
SEEN_NORMAL = {"red_cells": "normal", "white_cells": "normal", "platelets": "normal", "parasites": "not_seen"}


class Golden(NamedTuple):
    """What is on the film and on the request; `unsaid` stands neither on page nor PDF."""

    cells: dict
    cbc: dict
    age: int | None = ADULT
    findings: dict = {}
    words: dict = {}
    unsaid: tuple = ()


GOLDEN = {
    "normal adult": Golden(NORMAL, {"WBC": "6.2", "HGB": "138", "PLT": "250"}, findings=SEEN_NORMAL,
                           unsaid=("URGENT",)),
    "newborn": Golden({"NGS": 58, "NGB": 6, "LYT": 27, "MON": 8, "EOS": 2, "EBO": 4}, {"WBC": "18.2"}, NEWBORN),
    "child": Golden({"LYT": 62, "NGS": 29, "MON": 6, "EOS": 3, "BAS": 1}, {"WBC": "9.1"}, CHILD),
    "unknown age": Golden(NORMAL, {"WBC": "6.2"}, None),
    "left shift": Golden(
        {"NGS": 52, "NGB": 23, "MMZ": 6, "MYB": 4, "LYT": 12, "MON": 6}, {"WBC": "22.4", "HGB": "121", "PLT": "410"},
        words={"comment": "Left shift to myelocytes."},
    ),
    "AML": Golden(
        {"MYO": 71, "MOB": 8, "PMO": 3, "NGS": 9, "LYT": 14, "MON": 4}, {"WBC": "48.3", "HGB": "82", "PLT": "31"},
        words={"interpretation": "Acute leukaemia, most likely myeloid.", "comment": "Auer rods in some blasts."},
    ),
    "APL": Golden(
        {"PMB": 44, "PMO": 31, "MYO": 6, "NGS": 12, "LYT": 15}, {"WBC": "3.1", "HGB": "96", "PLT": "18"},
        words={"interpretation": "Suspected acute promyelocytic leukaemia.", "comment": "Faggot cells."},
    ),
    "CLL": Golden(
        {"LYT": 131, "LYA": 5, "KSC": 44, "NGS": 14, "MON": 3}, {"WBC": "88.4", "HGB": "118", "PLT": "170"},
        words={"lya_meaning": "abnormal", "smudge_as_lymphocytes": True, "smudge_reason": "Known CLL.",
               "comment": "Small mature lymphocytes."},
    ),
    "NRBC": Golden({**NORMAL, "EBO": 12}, {"WBC": "17.4", "HGB": "88"}),
    "amended": Golden(NORMAL, {"WBC": "6.2"}),
    "limited count": Golden(
        {"NGS": 9, "LYT": 22, "MON": 3}, {"WBC": "0.7", "HGB": "90", "PLT": "60"},
        words={"comment": "34 leukocytes on the whole film."},
    ),
}  # fmt: skip


@pytest.fixture
def make_golden(laboratory, make_case, make_slide, technologist, pathologist):
    """Build a case by the services, and sign its report."""

    def make(name):
        golden = GOLDEN[name]
        born = None if golden.age is None else timezone.localdate() - timedelta(days=golden.age)
        patient = Patient.objects.create(
            laboratory=laboratory, mrn=f"M-{len(name)}", name="Wintermute, Edelgard", birth_date=born,
            sex="U" if born is None else "F",
        )  # fmt: skip
        case = make_case(f"G-{list(GOLDEN).index(name) + 1}", patient=patient, requester="Dr Ida Mole", ward="Ward 7",
                         specimen_type="EDTA blood", collected_at=timezone.now() - timedelta(hours=1))  # fmt: skip
        units = {"WBC": "10*9/L", "PLT": "10*9/L", "HGB": "g/L"}
        values = tuple(value_of(key, value, units[key]) for key, value in golden.cbc.items())
        store_blood_count(case, BloodCount("XN-1000", timezone.now() - timedelta(minutes=30), True, values),
                          by=technologist)  # fmt: skip
        make_slide(case, golden.cells)
        mark_findings(case, [Mark(key, value) for key, value in golden.findings.items()], by=technologist)
        case.refresh_from_db()
        store_flags()
        look_at(case, technologist)
        return sign(case, technologist, pathologist, **golden.words)

    return make


def sign(case, technologist, pathologist, **words):
    """Acknowledge, tell and sign, as the gates ask for."""
    report = signing.draft_of(case, by=pathologist)
    signing.edit_draft(report, by=pathologist, **{"comment": "Mature cells.", **words})
    for flag in count_case(case).flags:
        if flag.is_urgent:
            signing.acknowledge_flag(case, flag.key, by=pathologist)
    for critical in Critical.objects.filter(case=case).open():
        give_receipt(critical, by=pathologist)
        record_call(critical, by=technologist, told_to="Dr Ida Mole", told_role="ward physician", how="phone",
                    is_reached=True, is_read_back=True)  # fmt: skip
    return signing.sign_report(
        Report.objects.get(pk=report.pk), by=pathologist, password=PASSWORD, meaning="Review and approval"
    )


def page_and_paper(report):
    """The report as the page and the PDF print it."""
    page = page_of(report, report.content)
    html = render_to_string("review/_report.html", {**page, "pictures": []})
    return html, PdfReader(io.BytesIO(pdf_of({**page, "address": "https://leukoweb.example/reports/1/"})))


def recounted(case, wbc, *, smudge_as_lymphocytes=False):
    """Key to (count, percent, per 100, absolute) from the last decision on each cell, in exact fractions."""
    last = dict(Decision.objects.filter(cell__run__slide__case=case).order_by("pk").values_list("cell", "to_code"))
    counts = Counter(last.values())
    if smudge_as_lymphocytes:
        counts["LYT"] += counts.pop("KSC")
    beside = {code: counts.pop(code) for code in ("EBO", "KSC") if code in counts}
    total = sum(counts.values())
    nucleated = Fraction(100 * beside.get("EBO", 0), total)
    corrected = Fraction(Decimal(wbc)) * (100 / (100 + nucleated) if nucleated >= 5 else 1)
    sums = {"neutrophils": ("NGS", "NGB"), "blasts": ("MYO", "MOB")} | (
        {"promyelocytes": ("PMO", "PMB")} if counts["PMB"] else {}
    )
    inside = counts | {key: sum(counts[code] for code in codes) for key, codes in sums.items()}
    figures = {
        key: (n, Fraction(100 * n, total), None, corrected * Fraction(n, total)) for key, n in inside.items() if n
    }
    return total, figures | {key: (n, None, Fraction(100 * n, total), None) for key, n in beside.items()}


def lines_on(html):
    """Key to the texts of the cells of its line: name, count, percent or per 100, and the absolute count."""
    found = {}
    for key, line in re.findall(r'<tr class="line[^"]*" data-key="(\w+)">(.*?)</tr>', html, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
        found[key] = [" ".join(unescape(strip_tags(cell.replace("<div", " <div"))).split()) for cell in cells]
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_page_and_paper_of_a_golden_case_print_what_the_decisions_say(name, make_golden, technologist, pathologist):
    golden, report = GOLDEN[name], make_golden(name)
    case = report.case
    if name == "amended":
        signing.amend_report(report, by=pathologist, reason="Ten cells were bands.")
        relabel_cells([c for c in current_cells(case) if c.code == "NGS"][:10], to="NGB", by=technologist)
        report = sign(case, technologist, pathologist)
    html, pdf = page_and_paper(report)
    paper = squeezed("".join(page.extract_text() for page in pdf.pages))
    printed = {key: line for key, line in lines_on(html).items() if line[1].split()[0] != "0"}
    smudge = golden.words.get("smudge_as_lymphocytes", False)
    total, figures = recounted(case, golden.cbc["WBC"], smudge_as_lymphocytes=smudge)
    assert printed.keys() - {"KSC"} == figures.keys() - {"KSC"}
    for key, (count, percent, per_100, absolute) in figures.items():
        line = printed[key]
        assert line[1].split()[0] == str(count), line
        assert abs(Decimal(line[2]) - Decimal(float(percent if percent is not None else per_100))) < Decimal("0.1"), (
            line
        )
        if absolute is not None:
            assert abs(Decimal(line[4]) - Decimal(float(absolute))) <= Decimal("0.0051"), line
        assert squeezed(line[0] + line[1] + line[2]) in paper, line
    of_types = [Decimal(line[2]) for key, line in printed.items() if key.isupper() and key in figures]
    assert (
        sum(of_types) - sum(Decimal(printed[key][2]) for key in ("EBO", "KSC") if key in printed and key in figures)
        == 100
    )
    for text in (squeezed(unescape(strip_tags(html))), paper):
        assert squeezed(f"Leukocytes counted {total} 100.0") in text
        assert [one for one in golden.unsaid if squeezed(one) in text] == []


def test_the_rejected_specimen_has_a_page_and_a_paper_without_figures(make_case, make_slide, technologist):
    case = make_case("G-12", specimen_type="EDTA blood", requester="Dr Ida Mole")
    make_slide(case, NORMAL)
    look_at(case, technologist)
    reject_case(case, by=technologist, code="RC", reason="Clotted specimen.")
    case.refresh_from_db()
    content = rejection_of(case)
    html = render_to_string("review/_rejection.html", {"content": content})
    pdf = PdfReader(io.BytesIO(rejection_pdf(content, "https://leukoweb.example/cases/1/rejection/")))
    assert len(pdf.pages) == 1
    for text in (squeezed(unescape(strip_tags(html))), squeezed(pdf.pages[0].extract_text())):
        assert squeezed("Clotted specimen.") in text
        assert "Wintermute" in text
        assert "60.0" not in text
