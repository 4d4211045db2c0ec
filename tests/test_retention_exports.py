"""Retention with legal hold, everything about one patient, and a case without names."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from leukoweb.audit.models import Event
from leukoweb.cases.blood_counts import store_blood_count
from leukoweb.cases.models import Case, Patient, SlideImage
from leukoweb.cases.store import original_path
from leukoweb.ops.store_check import problems_of_store
from tests.test_cbc import RUN


@pytest.fixture
def old_case(make_case, make_slide):
    """A case of three years ago with one stored picture and five cells."""
    case = make_case(received_at=timezone.now() - timedelta(days=3 * 365))
    slide = make_slide(case, {"LYT": 4, "MYO": 1})
    path = original_path(slide.images.get().sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    Image.new("RGB", (2000, 2000), "white").save(path, "PNG")
    slide.images.update(size_bytes=path.stat().st_size)
    return case


def stored(case):
    return original_path(SlideImage.objects.get(slide__case=case).sha256)


def test_images_of_old_cases_go_and_their_rows_stay(old_case, settings, capsys):
    settings.RETENTION_DAYS = 365
    call_command("apply_retention", dry_run=True)
    assert stored(old_case).exists()
    for _ in range(2):
        call_command("apply_retention")
    assert not stored(old_case).exists()
    assert SlideImage.objects.get(slide__case=old_case).expired_at
    assert Event.objects.filter(action="image.expire").count() == 1
    assert not [p for p in problems_of_store(read_files=False) if p.startswith("lost")]


def test_a_legal_hold_keeps_them_until_it_is_lifted(old_case, settings, sign_in, pathologist, capsys):
    settings.RETENTION_DAYS = 365
    address = reverse("case_hold", args=[old_case.pk])
    client = sign_in(pathologist)
    client.post(address, {"reason": " "})
    assert Case.objects.get(pk=old_case.pk).held_at is None
    client.post(address, {"reason": "court order"})
    call_command("apply_retention")
    assert stored(old_case).exists()
    assert "court order" in client.get(reverse("case_detail", args=[old_case.pk])).content.decode()
    client.post(address, {"reason": "court has decided"})
    call_command("apply_retention")
    assert not stored(old_case).exists()


def test_young_cases_and_laboratories_without_the_rule_lose_nothing(old_case, settings, capsys):
    with pytest.raises(CommandError, match="for ever"):
        call_command("apply_retention")
    settings.RETENTION_DAYS = 10 * 365
    call_command("apply_retention")
    assert stored(old_case).exists()


def test_everything_about_a_patient_is_written(old_case, laboratory, technologist, tmp_path, capsys):
    store_blood_count(old_case, RUN, by=technologist)
    call_command("export_patient", "M-77", tmp_path / "out", laboratory=laboratory.name)
    everything = json.loads((tmp_path / "out" / "patient.json").read_text())
    assert everything["patient"]["name"] == Patient.objects.get().name
    assert len(everything["cells"]) == 5
    assert [count["analyser"] for count in everything["blood_counts"]] == [RUN.analyser]
    (original,) = (tmp_path / "out" / "originals").iterdir()
    assert original.read_bytes() == stored(old_case).read_bytes()
    with pytest.raises(CommandError, match="not empty"):
        call_command("export_patient", "M-77", tmp_path / "out", laboratory=laboratory.name)


@pytest.mark.slow
def test_a_case_without_names_holds_cells_and_pixels_and_no_name(old_case, laboratory, technologist, tmp_path, capsys):
    Case.objects.filter(pk=old_case.pk).update(clinical_note="Sister of Mr Wintermute")
    call_command("export_case", old_case.accession_number, tmp_path / "out", laboratory=laboratory.name)
    text = (tmp_path / "out" / "case.json").read_text()
    assert len(json.loads(text)["cells"]) == 5
    everything = text + " ".join(str(path.name) for path in (tmp_path / "out").iterdir())
    patient = Patient.objects.get()
    for name in (patient.name, "Wintermute", patient.mrn, old_case.accession_number, technologist.first_name):
        assert name not in everything
    assert Image.open(tmp_path / "out" / "image-1.png").size == (2000, 2000)


def test_a_number_of_another_laboratory_is_not_found(old_case, other_laboratory, tmp_path):
    with pytest.raises(CommandError, match="none of this number"):
        call_command("export_case", old_case.accession_number, tmp_path / "out", laboratory=other_laboratory.name)
