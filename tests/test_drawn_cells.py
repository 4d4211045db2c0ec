"""Drawn cells of the demonstration (H7): signed or not, they never leave their own case by any way."""

# ruff: noqa: F811 (the fixture of another file is an argument here)

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from leukoweb.analysis.uploads import accept_upload
from leukoweb.cases.intake import hash_of
from leukoweb.cases.models import Case, Slide
from leukoweb.cases.store import original_path
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.outbox import collect
from leukoweb.delivery.services import save_interface
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Withdrawal
from leukoweb.review.studies.shadow import signed_slides
from leukoweb.review.studies.training_set import export_training_set
from tests.test_reports import post_signature, reviewed  # noqa: F401 (fixture)


@pytest.fixture
def signed_twice(reviewed, draw_pixels, sign_in, pathologist):
    """A drawn case and a patient's case, both signed, with pictures in the store."""
    slides = []
    for number, is_drawn in (("DEMO-1", True), ("A-2", False)):
        case = reviewed({"NGS": 98, "EOS": 2}, number)
        Slide.objects.filter(case=case).update(is_drawn=is_drawn)
        slides.append(draw_pixels(case.slides.get()))
        assert post_signature(sign_in(pathologist), case).status_code == 302
    return slides


def test_drawn_cells_are_never_reference_cells_beside_patients_cells(signed_twice, sign_in, technologist):
    shown = sign_in(technologist).get(reverse("reference_cells", args=["EOS"])).json()["cells"]
    patients = current_cells(Case.objects.get(accession_number="A-2")).filter(code="EOS")
    assert set(shown) == set(patients.values_list("pk", flat=True))


def test_drawn_cells_are_never_in_a_training_set(signed_twice, laboratory, tmp_path):
    assert export_training_set(tmp_path / "out", laboratory=laboratory) == 1


def test_drawn_slides_are_never_the_truth_of_a_comparison_of_detectors(signed_twice):
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


def test_drawn_cells_are_never_sent_as_a_result(laboratory, admin, signed_twice):
    interface = Interface(laboratory=laboratory, name="Results", direction="results_out", port=1, authority="MRN")
    interface = save_interface(interface, by=admin)
    interface.last_event = 0
    interface.save()
    assert collect(interface) == 1
    assert Message.objects.get().case.accession_number == "A-2"


def test_a_drawn_picture_is_refused_in_a_patients_case(signed_twice, make_case, technologist, smear_files):
    """By every way, as all of them end in this one; the photograph beside it is taken."""
    drawn, _ = signed_twice
    case = make_case("A-3")
    photograph = smear_files[0].read_bytes()
    path = original_path(drawn.images.get().sha256)
    drawn.images.update(sha256=hash_of(path))
    files = [SimpleUploadedFile("mine.png", path.read_bytes()), SimpleUploadedFile("field.png", photograph)]
    slide, refused = accept_upload(case, files, by=technologist)
    assert [image.name for image in slide.images.all()] == ["field.png"]
    assert [(one.name, one.position) for one in refused] == [("mine.png", 0)]
    assert "drawn by a program" in refused[0].sentence
