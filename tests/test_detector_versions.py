"""Detector versions: registered, activated with a reason, compared on signed cases, corrections exported."""

import json
from collections import Counter

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from PIL import Image

from detection import SHIPPED_CARD
from detection.cell_types import BY_CODE
from detection.lab.data.readers import read_class_map, read_yolo
from leukoweb.analysis import services
from leukoweb.analysis.detectors import active_detector, load_detector, register_detector
from leukoweb.analysis.models import Cell, DetectorVersion, Run
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, Patient, SlideImage
from leukoweb.cases.store import original_path
from leukoweb.review.models import Decision, Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.exports import export_case
from leukoweb.review.studies.training_set import export_training_set


@pytest.fixture
def newer_detector(db):
    """A second version: the shipped card under another name and hash."""
    shipped = active_detector()
    return DetectorVersion.objects.create(
        name=shipped.name, version="next", sha256="f" * 64, weights_path=shipped.weights_path, card=shipped.card
    )


def sign(case, pathologist):
    report = Report.objects.create(case=case, created_by=pathologist)
    Report.objects.filter(pk=report.pk).update(
        state="signed",
        signed_by=pathologist,
        signed_at=case.registered_at,
        content=content_of(Report.objects.get(pk=report.pk)),
    )


@pytest.fixture
def signed_slide(make_case, make_slide, pathologist):
    """A slide of a signed case: ten segmented neutrophils, of which the pathologist called one a band."""
    case = make_case()
    slide = make_slide(case, {"NGS": 10})
    cell = Cell.objects.filter(run__slide=slide).first()
    Decision.objects.create(cell=cell, from_code="NGS", to_code="NGB", decided_by=pathologist)
    sign(case, pathologist)
    return slide


def test_admin_activates_a_version_only_with_a_reason(sign_in, admin, newer_detector):
    address = reverse("detector_activate", args=[newer_detector.pk])
    sign_in(admin).post(address, {"reason": " "})
    assert active_detector() != newer_detector
    sign_in(admin).post(address, {"reason": "better on our stain"})
    assert active_detector() == newer_detector
    event = Event.objects.filter(action="detector.activate").latest("id")
    assert event.changes["reason"] == "better on our stain"


def test_going_back_to_the_former_version_is_the_same_act(sign_in, admin, newer_detector):
    former = active_detector()
    for detector in (newer_detector, former):
        sign_in(admin).post(reverse("detector_activate", args=[detector.pk]), {"reason": "trial"})
    assert active_detector() == former


def test_the_card_page_shows_every_type_with_its_evidence(sign_in, admin):
    page = sign_in(admin).get(reverse("detector_detail", args=[active_detector().pk])).content.decode()
    for entry in active_detector().card["classes"]:
        assert BY_CODE[entry["code"]].label in page
    assert "Known weak points" in page
    training = active_detector().card["training"]
    for fact in (training["manifest_sha256"], training["sources"][0]["licence"], "Mean of the types with n ≥ 10"):
        assert fact in page
    assert "../" not in page


def test_the_page_of_a_former_version_offers_the_way_back(sign_in, admin, newer_detector):
    former = active_detector()
    client = sign_in(admin)
    client.post(reverse("detector_activate", args=[newer_detector.pk]), {"reason": "trial"})
    assert "Go back to this version" in client.get(reverse("detector_detail", args=[former.pk])).content.decode()


def test_the_card_page_draws_the_curves_of_each_type(sign_in, admin, newer_detector):
    curve = {"precision_over_recall": {"MYO": [[0, 1.0], [0.5, 0.8], [1, 0.25]]}, "reliability": [[0.3, 0.4, 9]]}
    newer_detector.card["curves"] = {"home": curve, "abroad": curve | {"precision_over_recall": {}}}
    newer_detector.save()
    page = sign_in(admin).get(reverse("detector_detail", args=[newer_detector.pk])).content.decode()
    assert page.count("<figure>") == 2  # one type, and the reliability of both tests
    assert 'points="0.0,0.0 50.0,20.0 100.0,75.0"' in page
    assert page.count('points="30.0,60.0"') == 2


@pytest.mark.parametrize("person", ["technologist", "pathologist"])
def test_only_admins_see_detector_pages(sign_in, request, person, newer_detector):
    client = sign_in(request.getfixturevalue(person))
    assert client.get(reverse("detector_list")).status_code == 403
    assert client.post(reverse("detector_activate", args=[newer_detector.pk]), {"reason": "x"}).status_code == 403


def test_comparison_queues_shadow_runs_once_and_leaves_the_report_alone(
    sign_in, admin, signed_slide, newer_detector, django_capture_on_commit_callbacks
):
    address = reverse("detector_compare", args=[active_detector().pk, newer_detector.pk])
    with django_capture_on_commit_callbacks(execute=False):
        for _ in range(2):
            sign_in(admin).post(address)
    shadow = Run.objects.get(is_shadow=True)
    assert (shadow.slide, shadow.detector, shadow.state) == (signed_slide, newer_detector, "queued")
    assert Cell.objects.counted().count() == 10


def test_a_comparison_asks_a_broker_that_does_not_answer_once(
    make_case, make_slide, admin, newer_detector, monkeypatch, django_capture_on_commit_callbacks
):
    """Each of a hundred runs waited for it on its own."""
    slides = [make_slide(make_case(f"C-{number}"), {"NGS": 1}) for number in range(3)]
    asked = []
    monkeypatch.setattr(services, "enqueue_run", lambda run: asked.append(run) or len(asked) < 2)
    with django_capture_on_commit_callbacks(execute=True):
        assert services.ask_shadow_runs(slides, [newer_detector], by=admin) == 3
    assert len(asked) == 2
    assert Run.objects.filter(is_shadow=True, sent_at=services.NEVER_SENT).count() == 2


def test_comparison_counts_right_missed_and_extra_cells_against_the_signed_labels(
    sign_in, admin, signed_slide, newer_detector
):
    """Ten signed cells (9 NGS, 1 NGB); the newer version finds eight, all NGS, and one that is not there."""
    shadow = Run.objects.create(slide=signed_slide, detector=newer_detector, is_shadow=True, state="done")
    found = list(Cell.objects.filter(run__slide=signed_slide, run__is_shadow=False).order_by("id"))[:8]
    for cell in found:
        Cell.objects.create(
            run=shadow, image=cell.image, detector_code="NGS", score=0.8,
            x1=cell.x1 + 2, y1=cell.y1, x2=cell.x2 + 2, y2=cell.y2,
        )  # fmt: skip
    Cell.objects.create(
        run=shadow, image=found[0].image, detector_code="BAS", score=0.8, x1=1900, y1=1900, x2=1960, y2=1960
    )
    response = sign_in(admin).get(reverse("detector_compare", args=[active_detector().pk, newer_detector.pk]))
    rows = {row["code"]: row for row in response.context["rows"]}
    assert response.context["right"] == [9, 7]
    assert rows["NGS"]["sides"][1] == (7, 2, 0)
    assert rows["BAS"]["sides"][1] == (0, 0, 1)
    (change,) = response.context["changes"]
    assert [(row.key, row.count, round(row.percent)) for row in change.second.rows] == [("BAS", 1, 11), ("NGS", 8, 89)]
    assert signed_slide.case.accession_number not in response.content.decode()


def test_comparison_shows_the_flags_that_a_version_would_have_raised(sign_in, admin, signed_slide, newer_detector):
    shadow = Run.objects.create(slide=signed_slide, detector=newer_detector, is_shadow=True, state="done")
    for cell in Cell.objects.filter(run__slide=signed_slide, run__is_shadow=False):
        Cell.objects.create(
            run=shadow, image=cell.image, detector_code="MYO", score=0.8, x1=cell.x1, y1=cell.y1, x2=cell.x2, y2=cell.y2
        )
    response = sign_in(admin).get(reverse("detector_compare", args=[active_detector().pk, newer_detector.pk]))
    (change,) = response.context["changes"]
    assert not any("last" in flag for flag in change.first.flags)
    assert any("last" in flag for flag in change.second.flags)
    assert change.second.flags[0] in response.content.decode()


def test_register_detector_refuses_weights_that_are_not_those_of_the_card(tmp_path, db):
    card = json.loads(SHIPPED_CARD.read_text())
    (tmp_path / card["weights"]).write_bytes(b"something else")
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(CommandError, match="was not registered"):
        call_command("register_detector", tmp_path / "card.json")
    assert not DetectorVersion.objects.exists()


def test_a_card_that_says_more_than_the_registered_one_replaces_it(db):
    detector = register_detector(SHIPPED_CARD)
    facts = detector.card
    detector.card = {name: value for name, value in facts.items() if name != "likeness"}
    detector.save()
    assert register_detector(SHIPPED_CARD).card == facts
    assert Event.objects.get(action="detector.card").changes["added"] == ["likeness"]


def test_a_card_that_says_something_else_than_the_registered_one_changes_nothing(db):
    detector = register_detector(SHIPPED_CARD)
    detector.card |= {"temperature": 0.5}
    del detector.card["likeness"]
    detector.save()
    assert register_detector(SHIPPED_CARD).card == detector.card
    assert not Event.objects.filter(action="detector.card").exists()


def test_register_detector_copies_and_activates_a_version(db, settings, capsys):
    call_command("register_detector", SHIPPED_CARD, activate="first detector")
    detector = DetectorVersion.objects.get()
    assert detector.is_active
    assert detector.weights_path.startswith(str(settings.DATA_DIR))


@pytest.mark.slow
def test_a_registered_version_keeps_its_card(tmp_path, db):
    """The card may be named otherwise than its weights; the same weights never get another card."""
    card = json.loads(SHIPPED_CARD.read_text())
    (tmp_path / card["weights"]).write_bytes(SHIPPED_CARD.with_suffix(".pt").read_bytes())
    (tmp_path / "card.json").write_text(json.dumps(card | {"um_per_px": 0.2}))
    call_command("register_detector", tmp_path / "card.json")
    detector = DetectorVersion.objects.get()
    assert load_detector(detector).card.um_per_px == 0.2
    (tmp_path / "card.json").write_text(json.dumps(card | {"um_per_px": 0.3}))
    with pytest.raises(CommandError, match="registered with another card"):
        call_command("register_detector", tmp_path / "card.json")
    assert load_detector(DetectorVersion.objects.get()).card.um_per_px == 0.2


def test_a_newly_shipped_version_is_listed_and_not_yet_active(sign_in, admin, newer_detector):
    shipped = DetectorVersion.objects.exclude(pk=newer_detector.pk)
    DetectorVersion.objects.filter(pk=newer_detector.pk).update(is_active=False)
    shipped.delete()
    DetectorVersion.objects.filter(pk=newer_detector.pk).update(is_active=True)
    sign_in(admin).get(reverse("detector_list"))
    assert active_detector() == newer_detector
    assert DetectorVersion.objects.count() == 2


@pytest.mark.slow
def test_training_export_holds_signed_labels_and_nothing_that_names_a_patient(
    tmp_path, signed_slide, laboratory, pathologist, capsys
):
    image = signed_slide.images.get()
    path = original_path(image.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (image.width_px, image.height_px), "white").save(path, "PNG")
    # An amendment under way: what it changes is not signed yet.
    mine = Cell.objects.filter(run__slide=signed_slide).order_by("id")
    Decision.objects.create(cell=mine[5], from_code="NGS", to_code="BAS", decided_by=pathologist)
    out = tmp_path / "out"
    call_command("export_training_set", out, laboratory=laboratory.name)
    (labels,) = (out / "labels").iterdir()
    classes = sorted(line.split()[0] for line in labels.read_text().splitlines())
    assert classes == ["11"] + ["12"] * 9
    (view,) = read_yolo(out, "signed", read_class_map(None), None)[0]  # what `python -m detection prepare` makes of it
    assert Counter(code for code, _ in view.cells) == {"NGS": 9, "NGB": 1}
    assert (view.um_per_px, view.patient[0], view.split) == (0.2, "P", "")
    everything = "".join(str(p) for p in out.rglob("*")) + (out / "images.csv").read_text()
    patient = Patient.objects.get()
    for secret in (patient.name, patient.mrn, signed_slide.case.accession_number, image.sha256):
        assert secret not in everything
    with pytest.raises(FileExistsError):
        export_training_set(out, laboratory=laboratory)
    export_training_set(tmp_path / "again", laboratory=laboratory)
    assert (tmp_path / "again/images.csv").read_text() == (out / "images.csv").read_text()  # one patient, one name


@pytest.mark.slow
def test_a_picture_whose_boxes_were_found_on_its_side_is_left_out(tmp_path, signed_slide, laboratory):
    """Read before pictures were turned upright: its labels would lie beside its cells."""
    image = signed_slide.images.get()
    SlideImage.objects.filter(pk=image.pk).update(width_px=1600)
    path = original_path(image.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1600, image.height_px), "white").save(path, "PNG", exif=exif)
    assert export_training_set(tmp_path / "out", laboratory=laboratory) == 0
    assert "read before pictures were turned upright" in (tmp_path / "out" / "left-out.csv").read_text()
    assert not list((tmp_path / "out").rglob("*.png")) + list((tmp_path / "out").rglob("*.txt"))
    assert export_case(Case.objects.get(pk=signed_slide.case_id), tmp_path / "case") == 0
    assert not list((tmp_path / "case").glob("*.png"))


def test_whole_slides_are_left_out_and_the_command_says_how_many(tmp_path, signed_slide, laboratory, capsys):
    signed_slide.images.update(format="SVS")
    call_command("export_training_set", tmp_path / "out", laboratory=laboratory.name)
    assert "1 images were left out: see left-out.csv." in capsys.readouterr().out
    assert "whole slide" in (tmp_path / "out" / "left-out.csv").read_text()


@pytest.mark.slow
def test_a_cell_without_a_name_is_not_taught_as_background(tmp_path, make_case, make_slide, laboratory, pathologist):
    case = make_case()
    image = make_slide(case, {"NGS": 10}).images.get()
    path = original_path(image.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = Cell.objects.filter(image=image).first()
    Decision.objects.create(cell=cell, from_code="NGS", to_code="UNI", decided_by=pathologist)
    sign(case, pathologist)
    pixels = np.full((image.height_px, image.width_px, 3), (240, 205, 225), np.uint8)
    pixels[int(cell.y1) + 3, int(cell.x1) + 3] = (90, 40, 120)
    Image.fromarray(pixels).save(path, "PNG")
    export_training_set(tmp_path / "out", laboratory=laboratory)
    (written,) = (tmp_path / "out/images").iterdir()
    assert np.asarray(Image.open(written)).min() == 205
    assert len(next((tmp_path / "out/labels").iterdir()).read_text().splitlines()) == 9


def test_the_shipped_detector_is_the_one_with_the_highest_number(tmp_path):
    from detection import newest_card

    for name in ("leukocyte-yolov5s-9.json", "leukocyte-yolov5n-10.json", "leukocyte-yolov5x-2.json"):
        (tmp_path / name).touch()
    assert newest_card(tmp_path).name == "leukocyte-yolov5n-10.json"
