"""Cells of a demonstration: signed or not, they never leave it in any way, and each page says what it is."""

# ruff: noqa: F811 (the fixture of another file is an argument here)

import contextlib
import io
import sqlite3

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from pypdf import PdfReader

from leukoweb.analysis.uploads import accept_upload
from leukoweb.cases.intake import hash_of
from leukoweb.cases.models import Case, Slide
from leukoweb.cases.services import reject_case
from leukoweb.cases.store import original_path
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.outbox import collect
from leukoweb.delivery.services import save_interface
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.counting.policies import Rules
from leukoweb.review.models import AtlasPicture, Withdrawal
from leukoweb.review.reports.withdrawing import withdraw_report
from leukoweb.review.services import previous_result, save_policy
from leukoweb.review.studies.shadow import signed_slides
from leukoweb.review.studies.training_set import export_training_set
from tests.conftest import PASSWORD
from tests.pictures import picture
from tests.test_backup import Installation
from tests.test_reports import post_signature, reviewed  # noqa: F401 (fixture)

pytestmark = pytest.mark.slow

WHOSE = "Painted by Somebody, https://example.org/1, licence CC BY 4.0, not changed."


@pytest.fixture
def signed_twice(reviewed, draw_pixels, sign_in, pathologist):
    """A demonstration case and a patient's case, both signed, with pictures in the store."""
    slides = []
    for number, is_demonstration in (("DEMO-1", True), ("A-2", False)):
        case = reviewed({"NGS": 98, "EOS": 2}, number, is_demonstration=is_demonstration)
        Slide.objects.filter(case=case).update(attribution=WHOSE if is_demonstration else "")
        slides.append(draw_pixels(case.slides.get()))
        assert post_signature(sign_in(pathologist), case).status_code == 302
    return slides


def test_demonstration_cells_are_never_reference_cells_beside_patients_cells(signed_twice, sign_in, technologist):
    shown = sign_in(technologist).get(reverse("reference_cells", args=["EOS"])).json()["cells"]
    patients = current_cells(Case.objects.get(accession_number="A-2")).filter(code="EOS")
    assert set(shown) == set(patients.values_list("pk", flat=True))


def test_demonstration_cells_are_never_in_a_training_set(signed_twice, laboratory, tmp_path):
    assert export_training_set(tmp_path / "out", laboratory=laboratory) == 1


def test_demonstration_slides_are_never_the_truth_of_a_comparison_of_detectors(signed_twice):
    _, photographed = signed_twice
    assert signed_slides(50) == [photographed]


def test_cells_of_a_withdrawn_report_are_neither_shown_nor_taught_nor_the_truth(
    signed_twice, laboratory, sign_in, pathologist, tmp_path
):
    _, photographed = signed_twice
    report = photographed.case.reports.get()
    Withdrawal.objects.create(report=report, reason="Wrong patient's film.", withdrawn_by=pathologist)
    assert sign_in(pathologist).get(reverse("reference_cells", args=["EOS"])).json()["cells"] == []
    assert export_training_set(tmp_path / "out", laboratory=laboratory) == 0
    assert signed_slides(50) == []


def test_a_demonstration_is_never_sent_as_a_result(
    laboratory, admin, pathologist, technologist, make_case, signed_twice
):
    """Neither its signature nor its withdrawal, nor the rejection of its specimen."""
    interface = Interface(laboratory=laboratory, name="Results", direction="results_out", port=1, authority="MRN")
    interface = save_interface(interface, by=admin)
    interface.last_event = 0
    interface.save()
    shown, _ = signed_twice
    withdraw_report(shown.case.reports.get(), by=pathologist, reason="Only a show.", password=PASSWORD)
    reject_case(make_case("DEMO-2", is_demonstration=True), by=technologist, reason="Clotted.", code="RC")
    assert collect(interface) == 1
    assert Message.objects.get().case.accession_number == "A-2"


def test_fhir_gives_out_no_figure_of_a_demonstration(signed_twice, sign_in, technologist):
    client = sign_in(technologist)
    for slide, has_results in zip(signed_twice, (False, True)):
        report = client.get(f"/fhir/DiagnosticReport/{slide.case_id}").json()
        assert bool(report.get("result")) == has_results


def test_a_demonstration_is_never_the_previous_result_of_a_patient(signed_twice, make_case):
    """Also where somebody registers a specimen under the number of an invented person."""
    shown, patients = signed_twice
    assert previous_result(make_case("A-9", patient=shown.case.patient))["accession_number"] == "A-2"
    Case.objects.filter(pk=patients.case_id).update(is_demonstration=True)
    assert previous_result(make_case("A-10", patient=shown.case.patient)) is None


def test_a_picture_of_a_demonstration_is_refused_in_a_patients_case(signed_twice, make_case, technologist, smear_files):
    """Page, pieces and API all end here; the picture beside it is taken, and a demonstration takes both."""
    shown, _ = signed_twice
    path = original_path(shown.images.get().sha256)
    shown.images.update(sha256=hash_of(path))
    for case, taken in (
        (make_case("A-3"), ["field.png"]),
        (make_case("DEMO-2", is_demonstration=True), ["mine.png", "field.png"]),
    ):
        files = [
            SimpleUploadedFile("mine.png", path.read_bytes()),
            SimpleUploadedFile("field.png", smear_files[0].read_bytes()),
        ]
        slide, refused = accept_upload(case, files, by=technologist)
        assert [image.name for image in slide.images.all()] == taken
        assert [(one.name, one.position) for one in refused] == ([] if "mine.png" in taken else [("mine.png", 0)])
        assert all("demonstration case" in one.sentence for one in refused)


def test_a_picture_of_a_demonstration_is_refused_in_the_atlas(signed_twice, sign_in, admin):
    shown, client = signed_twice[0], sign_in(admin)
    path = original_path(shown.images.get().sha256)
    shown.images.update(sha256=hash_of(path))
    for file, is_taken in ((SimpleUploadedFile("a.png", path.read_bytes()), False), (picture("b.png"), True)):
        asked = {"picture": file, "code": "NGS", "caption": "", "source": "own"}
        page = client.post(reverse("atlas_list"), asked, follow=True).content.decode()
        assert ("belongs to a demonstration case" in page) != is_taken
        assert AtlasPicture.objects.exists() == is_taken


def pages_of(case):
    """Every page of a signed case, as addresses."""
    slide, report = case.slides.get(), case.reports.get()
    return [
        *(reverse(name, args=[case.pk]) for name in ("case_detail", "workbench", "reference_detail", "case_hold")),
        reverse("slide_detail", args=[slide.pk]),
        reverse("report_detail", args=[report.pk]),
    ]


def test_each_page_of_a_demonstration_says_so_and_no_page_of_a_patient(signed_twice, sign_in, pathologist, make_case):
    client = sign_in(pathologist)
    for slide, is_said in zip(signed_twice, (True, False)):
        for address in pages_of(slide.case):
            page = client.get(address).content.decode()
            assert ("<strong>Demonstration case</strong>, not a patient" in page) == is_said, address
    report = signed_twice[0].case.reports.get()
    save_policy(report.case.laboratory, Rules(), reason="To compare.", by=pathologist)
    page = client.get(reverse("report_policies", args=[report.pk]), {"policy": 1}).content.decode()
    assert "<strong>Demonstration case</strong>, not a patient" in page
    rejected = make_case("DEMO-3", is_demonstration=True)
    reject_case(rejected, by=pathologist, reason="Clotted.", code="RC")
    page = client.get(reverse("case_rejection", args=[rejected.pk])).content.decode()
    assert "<strong>Demonstration case</strong>, not a patient" in page
    open_case = make_case("DEMO-2", is_demonstration=True)
    for name in ("slide_upload", "case_edit", "case_reject", "case_sign"):
        page = client.get(reverse(name, args=[open_case.pk])).content.decode()
        assert "<strong>Demonstration case</strong>, not a patient" in page, name


def test_every_sheet_of_paper_of_a_demonstration_says_so(signed_twice, sign_in, pathologist):
    client = sign_in(pathologist)
    for slide, is_said in zip(signed_twice, (True, False)):
        answer = client.get(reverse("report_pdf", args=[slide.case.reports.get().pk]))
        sheets = [sheet.extract_text() for sheet in PdfReader(io.BytesIO(answer.content)).pages]
        assert all(("DEMONSTRATION CASE" in sheet) == is_said for sheet in sheets)
        assert ("Demonstration case, not a patient" in " ".join(sheets[0].split())) == is_said


def test_whose_pictures_they_are_stands_with_them_on_slide_case_and_paper(signed_twice, sign_in, pathologist):
    client = sign_in(pathologist)
    shown, patients = signed_twice
    for slide, is_said in ((shown, True), (patients, False)):
        names = (
            ("slide_detail", slide.pk),
            ("case_detail", slide.case_id),
            ("report_detail", slide.case.reports.get().pk),
        )
        for name, key in names:
            page = client.get(reverse(name, args=[key])).content.decode()
            assert ("Painted by Somebody" in page) == is_said, name
    page = client.get(reverse("slide_detail", args=[shown.pk])).content.decode()
    assert 'href="https://example.org/1"' in page


def test_the_api_tells_a_demonstration_and_whose_its_pictures_are(signed_twice, sign_in, technologist):
    client = sign_in(technologist)
    assert [client.get(f"/api/v1/cases/{n}/").json()["is_demonstration"] for n in ("DEMO-1", "A-2")] == [True, False]
    assert client.get(f"/api/v1/slides/{signed_twice[0].pk}/").json()["attribution"] == WHOSE


def test_the_drawn_case_of_an_earlier_version_becomes_a_demonstration(tmp_path):
    former = Installation(tmp_path / "former", "")
    assert former.manage("migrate", "cases", "0011_text_lengths")[0] == 0
    with contextlib.closing(sqlite3.connect(former.folder / "leukoweb.sqlite3")) as database, database:
        database.execute("PRAGMA ignore_check_constraints = ON")  # of a row only what the migration reads is filled in

        def insert(table, **values):
            for _, name, _, is_required, _, is_key in database.execute(f"PRAGMA table_info({table})"):
                if is_required and not is_key:
                    values.setdefault(name, 1)
            names = ", ".join(values)
            marks = ", ".join("?" * len(values))
            return database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*values.values()]).lastrowid

        insert("accounts_laboratory")
        insert("accounts_user", laboratory_id=1)
        insert("cases_patient")
        for number in ("DEMO-1", "A-2"):
            case = insert("cases_case", accession_number=number)
            insert("cases_slide", case_id=case, is_drawn=number == "DEMO-1")
    code, said = former.manage("migrate", "cases", "0012_demonstration")
    assert code == 0, said
    with contextlib.closing(sqlite3.connect(former.folder / "leukoweb.sqlite3")) as database:
        cases = database.execute("SELECT accession_number, is_demonstration FROM cases_case")
        assert dict(cases) == {"DEMO-1": 1, "A-2": 0}
