"""The logo of a laboratory: untrusted bytes like every upload, on page and PDF, sealed by its hash."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from PIL import Image

from leukoweb.accounts.models import Logo
from leukoweb.review.models import Report
from leukoweb.review.reports.page import page_of
from leukoweb.review.reports.printing import pdf_of
from tests.test_reports import post_signature, reviewed  # noqa: F401  a fixture


def file_of(mode="RGBA", size=(900, 300), form="PNG"):
    raw = io.BytesIO()
    Image.new(mode, size, {"L": 90, "RGBA": (90, 20, 160, 255), "RGB": (90, 20, 160)}[mode]).save(raw, form)
    return SimpleUploadedFile("logo.png", raw.getvalue())


def send(client, laboratory, file, text="The tree of the Example Laboratory"):
    form = {"name": laboratory.name, "is_active": "on", "logo": file, "logo_text": text}
    return client.post(reverse("laboratory_edit", args=[laboratory.pk]), form)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        (file_of(), " ", "Describe the logo in words"),
        (SimpleUploadedFile("logo.png", b"<svg onload='x'>"), "A tree", "a web page or XML text"),
        (SimpleUploadedFile("logo.png", b"\x89PNG\r\n\x1a\n" + bytes(50)), "A tree", "damaged"),
    ],
    ids=["no words", "a script", "broken"],
)
def test_what_is_no_logo_is_refused_in_words_and_nothing_is_saved(admin, sign_in, laboratory, file, text, sentence):
    file.seek(0)
    page = send(sign_in(admin), laboratory, file, text).content.decode()
    assert sentence.lower() in page.lower()
    assert not Logo.objects.exists()


@pytest.mark.slow
def test_a_logo_is_written_anew_shown_and_kept_by_the_reports_that_were_signed_with_it(
    admin, sign_in, laboratory, reviewed, pathologist  # noqa: F811
):  # fmt: skip
    client = sign_in(admin)
    grey = file_of("L", (60, 40))
    assert send(client, laboratory, grey).status_code == 302
    logo = Logo.objects.get()
    picture = client.get(reverse("laboratory_logo", args=[logo.sha256]))
    assert Image.open(io.BytesIO(picture.content)).size == (60, 40)
    client, case = sign_in(pathologist), reviewed()
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    assert report.content["laboratory"]["logo"]["sha256"] == logo.sha256
    send(sign_in(admin), laboratory, file_of(), "Another")
    page = sign_in(pathologist).get(reverse("report_detail", args=[report.pk])).content.decode()
    assert f'src="{reverse("laboratory_logo", args=[logo.sha256])}" alt="The tree of the Example Laboratory"' in page
    assert Image.open(io.BytesIO(bytes(Logo.objects.first().png))).size == (800, 267)
    pdf = pdf_of({**page_of(report, report.content), "address": "http://x/"})
    assert pdf.count(b"/Subtype /Image") == 1
