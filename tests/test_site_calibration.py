"""A detector fitted to a laboratory: registered, switched with a reason, used by its runs, named in the report."""

import json

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from detection.cell_types import CODES
from detection.inference.detector import DetectorRefused
from detection.phantom import draw_field
from leukoweb.analysis.detectors import active_detector, computed_on, load_for, register_calibration, switch_calibration
from leukoweb.analysis.models import Cell, Run, SiteCalibration
from leukoweb.audit.models import Event
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of

COLOUR = {
    "own": {"glass": [230, 230, 230], "nucleus": [0.5, 0.8, 0.1], "red_cell": [0.1, 0.25, 0.2]},
    "aim": {"glass": [250, 230, 205], "nucleus": [1.3, 2.2, 0.4], "red_cell": [0.2, 0.3, 0.2]},
}
NO_CHANGE = {"matrix": np.eye(15).tolist(), "offsets": [0.0] * 15}


@pytest.fixture
def site_file(tmp_path, db):
    path = tmp_path / "site.json"
    fitted = {
        "weights_sha256": active_detector().sha256, "colour": COLOUR, "thresholds": dict.fromkeys(CODES, 0.25),
        "common_threshold": 0.25, "cells": 90,
        "typed_right": {"before": [0.5, 0.4, 0.6], "after": [0.7, 0.6, 0.79]},
    }  # fmt: skip
    path.write_text(json.dumps(fitted))
    return path


@pytest.fixture
def site(site_file, laboratory):
    return register_calibration(site_file, laboratory)


def test_a_registered_calibration_is_used_only_after_an_administrator_says_why(sign_in, admin, laboratory, site):
    address = reverse("calibration_switch", args=[site.pk])
    assert load_for(active_detector(), laboratory)[1] is None
    sign_in(admin).post(address, {"reason": " "})
    assert load_for(active_detector(), laboratory)[1] is None
    sign_in(admin).post(address, {"reason": "the gain holds"})
    detector, used = load_for(active_detector(), laboratory)
    assert used == site
    assert detector.thresholds.tolist() == pytest.approx([0.25] * 15)
    assert computed_on(detector, used)["calibration"] == {"sha256": site.sha256, "cells": 90}
    assert Event.objects.get(action="calibration.switch").changes["reason"] == "the gain holds"
    sign_in(admin).post(address, {"reason": "new stain"})
    assert load_for(active_detector(), laboratory)[1] is None


def test_a_fit_of_typing_is_used_and_its_types_are_shown(sign_in, admin, site_file, laboratory):
    offsets = [1.0 if code == "NGB" else 0.0 for code in CODES]
    typing = {"types": ["NGB", "NGS"], "matrix": NO_CHANGE["matrix"], "offsets": offsets}
    site_file.write_text(json.dumps(json.loads(site_file.read_text()) | {"typing": typing}))
    site = register_calibration(site_file, laboratory)
    switch_calibration(site, is_active=True, by=admin, reason="trial")
    fitted = load_for(active_detector(), laboratory)[0].typing
    assert fitted.offsets.tolist() == offsets
    assert [code for code, shown in zip(CODES, fitted.labelled) if shown] == ["NGB", "NGS"]
    page = sign_in(admin).get(reverse("detector_detail", args=[site.detector_id])).content.decode()
    assert "Band, Seg" in page


def test_another_laboratory_reads_without_it(laboratory, other_laboratory, site, admin):
    switch_calibration(site, is_active=True, by=admin, reason="trial")
    assert load_for(active_detector(), other_laboratory)[1] is None


def test_a_newer_fit_takes_the_place_of_the_older_one(laboratory, site, site_file, admin):
    newer = register_calibration(site_file, laboratory)
    for one in (site, newer):
        switch_calibration(one, is_active=True, by=admin, reason="trial")
    assert list(SiteCalibration.objects.filter(is_active=True)) == [newer]


def test_the_page_of_the_detector_shows_the_gain_and_only_admins_switch(sign_in, admin, technologist, site):
    page = sign_in(admin).get(reverse("detector_detail", args=[site.detector_id])).content.decode()
    for text in ("0.500", "0.700", "0.60–0.79", site.laboratory.name):
        assert text in page
    answer = sign_in(technologist).post(reverse("calibration_switch", args=[site.pk]), {"reason": "x"})
    assert answer.status_code == 403
    assert not SiteCalibration.objects.filter(is_active=True).exists()


def test_the_command_registers_and_says_what_is_wrong(site_file, laboratory, capsys, tmp_path):
    call_command("register_calibration", site_file, laboratory=laboratory.name, activate="measured on 90 cells")
    assert SiteCalibration.objects.get().is_active
    with pytest.raises(CommandError, match="no laboratory named"):
        call_command("register_calibration", site_file, laboratory="Elsewhere")
    (tmp_path / "words.json").write_text("[1]")
    with pytest.raises(CommandError, match="no file of"):
        call_command("register_calibration", tmp_path / "words.json", laboratory=laboratory.name)
    fitted = json.loads(site_file.read_text())
    for typing in (
        {"types": ["NGS"]},
        {"types": ["XYZ"], **NO_CHANGE},
        {"types": ["NGS"], **NO_CHANGE, "offsets": [0]},
        [1],
    ):
        (tmp_path / "typing.json").write_text(json.dumps(fitted | {"typing": typing}))
        with pytest.raises(CommandError, match="no matrix of 15 x 15"):
            call_command("register_calibration", tmp_path / "typing.json", laboratory=laboratory.name)
    foreign = json.loads(site_file.read_text()) | {"weights_sha256": "0" * 64}
    site_file.write_text(json.dumps(foreign))
    with pytest.raises(CommandError, match="register the version first"):
        call_command("register_calibration", site_file, laboratory=laboratory.name)


@pytest.mark.slow
def test_a_fitted_detector_sees_other_colours_and_leaves_the_shipped_one_alone(shipped_detector, site):
    seen = []

    class Camera:
        batch_tiles = 8
        backend = precision = device = "none"

        def __call__(self, tiles):
            seen.append(tiles)
            return np.zeros((len(tiles), 19, 1), np.float32)

    field = draw_field(300, 300, um_per_px=0.2, seed=5, leukocytes={"MYO": 3}).image
    fitted = shipped_detector.calibrated(site.fitted)
    assert shipped_detector.colour is None
    for detector in (shipped_detector, fitted):
        own = type(detector)(detector.card, Camera())
        own.colour = detector.colour
        assert own.find_cells(field, 0.2) == []
    assert seen[0].shape == seen[1].shape
    assert np.abs(seen[0].astype(int) - seen[1]).mean() > 5
    with pytest.raises(DetectorRefused, match="other weights"):
        shipped_detector.calibrated(site.fitted | {"weights_sha256": "0" * 64})


def test_the_report_names_the_fit_that_read_the_slide(make_case, make_slide, pathologist, site, sign_in):
    slide = make_slide(make_case(), {"NGS": 3})
    slide.runs.update(computed_on={"calibration": {"sha256": site.sha256, "cells": 90}})
    report = Report.objects.create(case=slide.case, created_by=pathologist)
    (said,) = content_of(Report.objects.get(pk=report.pk))["detectors"]
    assert said["computed_on"]["calibration"]["sha256"] == site.sha256
    page = sign_in(pathologist).get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "fitted to this laboratory on 90 cells" in page


def test_a_slide_read_without_the_fit_in_use_can_be_read_again_and_both_are_kept(
    sign_in, technologist, admin, make_case, make_slide, site, django_capture_on_commit_callbacks
):
    slide = make_slide(make_case(), {"LYT": 3})
    address = reverse("slide_reread", args=[slide.pk])
    page = reverse("slide_detail", args=[slide.pk])
    assert address not in sign_in(technologist).get(page).content.decode()
    switch_calibration(site, is_active=True, by=admin, reason="trial")
    assert address in sign_in(technologist).get(page).content.decode()
    with django_capture_on_commit_callbacks(execute=False):
        for _ in range(2):
            sign_in(technologist).post(address)
    counted = Run.objects.get(slide=slide, is_shadow=False)
    assert counted.state == "queued"
    assert Run.objects.filter(slide=slide).count() == 2
    assert Cell.objects.filter(run__slide=slide).count() == 3
    assert slide.images.get().um_per_px == 0.2
    event = Event.objects.get(action="slide.reread")
    assert "um_per_px" not in event.changes
