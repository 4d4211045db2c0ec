"""A report says the same on page and PDF, in every part; reports of former versions still open and verify (S5, S13)."""

import io
import json
import re
import time
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from django.urls import reverse
from django.utils.html import strip_tags
from pypdf import PdfReader

from detection.cell_types import CODES
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.models import Report
from leukoweb.review.reports import fonts
from leukoweb.review.reports.files import file_of
from leukoweb.review.reports.fonts import undrawable
from leukoweb.review.reports.parts import Content
from leukoweb.review.reports.seal import problems_of
from tests.test_reports import AML, WBC, acknowledge, post_signature, reviewed  # noqa: F401

pytestmark = pytest.mark.slow

FROZEN = sorted((Path(__file__).parent / "data").glob("report-*.json"))


def squeezed(text):
    """Text without white space: a PDF breaks lines where it likes."""
    return "".join(text.split())


def page_and_pdf(client, report):
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    article = page[page.index('<article class="paper">') : page.index("</article>")]
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    from html import unescape

    return squeezed(unescape(strip_tags(article))), squeezed("".join(p.extract_text() for p in pdf.pages))


@pytest.fixture
def amended(reviewed, sign_in, pathologist, technologist):  # noqa: F811
    """An amended report with everything that a report can hold."""
    laboratory = pathologist.laboratory
    laboratory.address = "Wardway 7, 12345 Town"
    laboratory.telephone, laboratory.director = "+49 30 5550", "Dr. Ada Lund"
    laboratory.save()
    case = reviewed({**AML, "LYA": 6, "KSC": 3}, clinical_note="Fatigue.", priority="stat", **WBC)
    image = case.slides.get().images.get()
    image.warning = "The file is cut off at the end."
    image.save()
    client = sign_in(pathologist)
    acknowledge(client, case)
    post_signature(
        client, case, lya_meaning="abnormal", interpretation="Acute leukaemia.", comment="Blasts with Auer rods."
    )
    first = Report.objects.get()
    client.post(reverse("report_amend", args=[first.pk]), {"reason": "Ten cells were bands."})
    relabel_cells([c for c in current_cells(case) if c.code == "NGS"][:10], to="NGB", by=technologist)
    answer = post_signature(
        client,
        case,
        lya_meaning="abnormal",
        interpretation="Acute leukaemia, left shift.",
        comment="Blasts with Auer rods; left shift.",
    )
    assert answer.status_code == 302, answer.content.decode()
    return Report.objects.get(version=2), client


def test_page_and_paper_name_the_types_and_show_no_code(amended):
    """Research codes are for exports and the API."""
    report, client = amended
    pages = {
        name: reverse(name, args=[key]) for name, key in (("report_detail", report.pk), ("case_detail", report.case_id))
    }
    texts = {name: client.get(address).content.decode() for name, address in pages.items()}
    texts = {name: strip_tags(re.sub("<script.*?</script>", "", text, flags=re.DOTALL)) for name, text in texts.items()}
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    texts["pdf"] = " ".join(page.extract_text() for page in pdf.pages)
    shown = {name: sorted(set(re.findall(r"\w+", text)) & set(CODES)) for name, text in texts.items()}
    assert shown == {name: [] for name in texts}


def test_an_amended_report_prints_old_and_new_values_and_who_signed_version_1_and_when(amended, pathologist):
    """H30, S13: page, PDF and API."""
    report, client = amended
    page, pdf = page_and_pdf(client, report)
    first = report.amends
    for text in (page, pdf):
        assert squeezed("Changed since version 1") in text
        assert squeezed("Comment Blasts with Auer rods. Blasts with Auer rods; left shift.") in text
        assert squeezed("Band neutrophils 0, 0.0 %, 0.00 × 10⁹/L 10, ") in text
        assert squeezed(f"signed by Paul on {first.content['signature']['signed_at'][:10]}") in text
    told = json.loads(file_of(report, report.content, "json")[0])["amendment"]
    assert (told["version"], told["signed_by"], told["reason"]) == (1, "Paul", "Ten cells were bands.")
    assert {"what": "Comment", "before": "Blasts with Auer rods.", "now": "Blasts with Auer rods; left shift."} in told[
        "changes"
    ]


def undeclared(value, kind, path="content"):
    """Where a JSON value holds other keys than its type declares, or lacks one that it requires."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((one for one in get_args(kind) if one is not type(None)), kind)
    if value is None:
        return
    if is_typeddict(kind):
        kinds = get_type_hints(kind)
        yield from (f"{path}.{name} is not declared" for name in value.keys() - kinds.keys())
        yield from (f"{path}.{name} is absent" for name in kind.__required_keys__ - value.keys())
        for name in value.keys() & kinds.keys():
            yield from undeclared(value[name], kinds[name], f"{path}.{name}")
    elif get_origin(kind) is list:
        for inner in value:
            yield from undeclared(inner, get_args(kind)[0], path)
    elif get_origin(kind) is dict:
        for inner in value.values():
            yield from undeclared(inner, get_args(kind)[1], path)


def test_the_content_of_a_report_holds_exactly_what_its_type_declares(amended):
    report, _ = amended
    assert sorted(set(undeclared(report.content, Content))) == []
    assert sorted(set(undeclared(report.amends.content, Content))) == []


@pytest.mark.parametrize("file", FROZEN, ids=lambda file: file.stem)
def test_the_content_that_an_older_version_sealed_still_fits_the_type(file):
    assert sorted(set(undeclared(json.loads(file.read_bytes())["content"], Content))) == []


@pytest.mark.parametrize("file", FROZEN, ids=lambda file: file.stem)
def test_the_seal_of_a_report_that_an_older_version_signed_still_verifies(file):
    assert problems_of(file.read_bytes()) == []


@pytest.mark.parametrize("file", FROZEN, ids=lambda file: file.stem)
def test_a_report_that_an_older_version_signed_still_opens_in_every_form(file, make_case, sign_in, pathologist):
    bundle = json.loads(file.read_text())
    report = Report.objects.create(
        case=make_case(), version=1, state="signed", created_by=pathologist, content=bundle["content"],
        seal=bundle["seal"], sequence=bundle["sequence"], previous_seal=bundle["previous_seal"],
    )  # fmt: skip
    client = sign_in(pathologist)
    page, pdf = page_and_pdf(client, report)
    verified = sum(1 for cell in bundle["content"]["cells"] if cell["decisions"] and cell["decisions"][-1]["to"])
    for text in (page, pdf):
        assert squeezed("Blasts with Auer rods.") in text
        assert squeezed(f"{verified} of 121 cells verified by a person") in text
    for form in ("csv", "json", "bundle"):
        assert client.get(reverse("report_export", args=[report.pk, form])).status_code == 200
    assert problems_of(client.get(reverse("report_export", args=[report.pk, "bundle"])).content) == []


def test_a_text_of_many_letters_holds_the_pdf_up_for_no_time():
    """One question to fontconfig for all letters: a comment of 20,000 different ones asked 20,000 times."""
    fonts._spans.cache_clear()
    before = time.monotonic()
    undrawable("".join(map(chr, range(0x4E00, 0x9C20))))
    assert time.monotonic() - before < 5
    assert undrawable("plain, β, \U0010fffd\u200b") == (["\U0010fffd"] if fonts.can_be_asked() else [])


@pytest.mark.parametrize("name", ["王小明", "김민수", "สมชาย ใจดี", "अनिल कुमार", "محمد", "Jürgen Müller", "Ďuriš"])
def test_the_pdf_draws_every_name_or_says_that_it_cannot(name, reviewed, sign_in, pathologist):  # noqa: F811
    """H18: fonts as fontconfig names them; without one the letters are listed."""
    case = reviewed()
    case.patient.name = name
    case.patient.save()
    client = sign_in(pathologist)
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "x"})
    report = Report.objects.get()
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    text = " ".join(pdf.pages[0].extract_text().split())
    missing = undrawable(name)
    assert ("no font on this server draws" in text) == bool(missing)
    for letter in missing:
        assert f"U+{ord(letter):04X}" in text
    if not missing and name.isascii() or name.startswith(("J", "Ď")):
        assert name in text
