"""Calibration: temperature, reliability, and the fit to a laboratory's stain from few cells."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from detection import SHIPPED_CARD
from detection.__main__ import main
from detection.cell_types import BY_CODE, CODES
from detection.inference.detector import Detector
from detection.inference.stain_transfer import Stain, from_lists, recolour, transfer_stain, typical_stain
from detection.lab.data.datasets import View, read_pixels, write_dataset
from detection.lab.data.readers import read_class_map, read_yolo
from detection.lab.measuring import calibration
from detection.lab.measuring.calibration import (
    calibrate,
    calibration_error,
    called_right,
    colour_change,
    fit_temperature,
    rescale,
)
from detection.lab.measuring.evaluation import Found
from detection.lab.training.building import build_network, save_network
from tests.drawn_views import draw_views


def test_a_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.1, 0.9, 4000)
    hits = rng.random(4000) < chance
    loud = rescale(chance, 0.5)
    temperature = fit_temperature(loud, hits)
    assert temperature == pytest.approx(2.0, abs=0.2)
    assert calibration_error(rescale(loud, temperature), hits) < calibration_error(loud, hits) / 2


def test_calibration_error_of_a_case_worked_by_hand():
    """Four calls at .9 of which two are right: |.9 - .5| = .4; nothing at all: 0."""
    assert calibration_error(np.full(4, 0.9), np.array([1, 1, 0, 0], bool)) == pytest.approx(0.4)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) == 0.0
    assert fit_temperature(np.zeros(0), np.zeros(0, bool)) == 1.0


def test_a_colour_change_brings_another_stain_back(tmp_path):
    images = [read_pixels(view.path) for view in draw_views(tmp_path, 6)]
    home = typical_stain(images)
    abroad = Stain(np.array([225.0, 225.0, 232.0]), home.nucleus * [0.7, 1.2, 0.9], home.red_cell * [1.2, 0.8, 1.1])
    other = [transfer_stain(image, home, abroad, 1.0) for image in images]
    back = recolour(other[0], colour_change(typical_stain(other), home))
    before = np.abs(other[0].astype(int) - images[0]).mean()
    assert np.abs(back.astype(int) - images[0]).mean() < before / 3
    assert recolour(images[0], None) is images[0]


@pytest.mark.slow
def test_calibrate_gives_thresholds_for_all_types_and_never_claims_a_loss_as_gain(tmp_path):
    detector = Detector.of_network(build_network("yolov5.yaml"), 0.45)
    look = typical_stain(read_pixels(view.path) for view in draw_views(tmp_path / "home", 6))
    site = calibrate(detector, draw_views(tmp_path / "lab", 8), look)
    assert len(site["thresholds"]) == 15
    assert site["cells"] == 8
    assert site["typed_right"]["after"][0] >= site["typed_right"]["before"][0]
    assert set(site["at_thresholds"]) == {"after"}
    with pytest.raises(ValueError, match="500"):
        calibrate(detector, draw_views(tmp_path / "lab", 3) * 200, None)


@pytest.mark.slow
def test_calibration_brings_back_what_a_blue_lamp_took(real_images, tmp_path, monkeypatch, shipped_detector):
    """Cells of known type under a lamp that the detector never saw; drawn ones where no real ones are."""
    if real_images is None:
        views = draw_views(tmp_path, 12)
    else:
        read, _ = read_yolo(real_images / "oi_pbc", "oi_pbc", read_class_map(None), 0.102)
        views = [view for view in read if view.split == "val" and len(view.cells) == 1][::22]
    home = typical_stain(read_pixels(view.path) for view in views)
    lamp = replace(home, glass=np.array([170.0, 190.0, 235.0]))
    blue = {view.path: transfer_stain(read_pixels(view.path), home, lamp, 1.0) for view in views}
    monkeypatch.setattr(calibration, "read_pixels", blue.get)
    card = json.loads(SHIPPED_CARD.read_text())
    aim = from_lists(card["look"])
    site = calibrate(shipped_detector, views, aim)
    before, after = (site["typed_right"][when][0] for when in ("before", "after"))
    assert after >= before + (0.1 if real_images else 0)
    assert real_images is None or site["colour"]


def test_what_is_called_at_thresholds_is_counted_by_hand():
    """Two labelled cells; three findings: one right, one of another type, one right but below its threshold."""
    view = View("", "drawn", 100, 100, (("MYO", (0, 0, 20, 20)), ("LYT", (50, 50, 70, 70))))
    boxes = np.array([[0, 0, 20, 20], [50, 50, 70, 70], [0, 0, 19, 20]], float)
    types = np.array([BY_CODE[code].index for code in ("MYO", "MYO", "MYO")])
    found = Found(boxes, types, np.array([0.9, 0.6, 0.2]))
    assert called_right([view], [found], dict.fromkeys(CODES, 0.25)) == (1, 2, 2)
    assert called_right([view], [found], dict.fromkeys(CODES, 0.95)) == (0, 0, 2)


def test_a_patient_is_never_in_two_folds(tmp_path, monkeypatch):
    """Cells of one patient look alike: transform and thresholds must be tried on other patients than they come from."""
    views = [replace(view, patient=f"P{number % 3}") for number, view in enumerate(draw_views(tmp_path, 9))]
    seen = []
    monkeypatch.setattr(calibration, "called_right", lambda out, *_: seen.append({v.patient for v in out}) or (0, 0, 3))
    calibrate(Detector.of_network(build_network("yolov5.yaml"), 0.45), views, None)
    assert sorted(seen, key=min) == [{"P0"}] * 2 + [{"P1"}] * 2 + [{"P2"}] * 2  # without and with a fit of typing


@pytest.mark.slow
def test_the_calibrate_command_writes_a_site_file_and_draws_among_more_than_500_cells(tmp_path, capsys):
    save_network(tmp_path / "net.pt", build_network("yolov5.yaml"), {})
    (tmp_path / "run.json").write_text(json.dumps({"recipe": {"um_per_px": 0.45}}))
    write_dataset(tmp_path / "home.json", draw_views(tmp_path / "home", 6), seed=0)
    write_dataset(tmp_path / "lab.json", draw_views(tmp_path / "lab", 4), seed=0)
    command = [
        "calibrate",
        str(tmp_path / "net.pt"),
        str(tmp_path / "lab.json"),
        "--reference",
        str(tmp_path / "home.json"),
        "--out",
        str(tmp_path / "site.json"),
    ]
    main(command)
    site = json.loads((tmp_path / "site.json").read_text())
    assert site["cells"] == 4
    assert site["weights_sha256"] == hashlib.sha256((tmp_path / "net.pt").read_bytes()).hexdigest()
    crowded = [replace(view, cells=view.cells * 130) for view in draw_views(tmp_path / "lab", 4)]
    write_dataset(tmp_path / "lab.json", crowded, seed=0)
    main(command)
    assert json.loads((tmp_path / "site.json").read_text())["cells"] == 390
    assert "390 cells of 3 views are drawn" in capsys.readouterr().err
