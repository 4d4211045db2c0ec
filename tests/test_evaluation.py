"""Evaluation: average precision equals the reference implementation, and reports say what they rest on."""

import contextlib
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from detection.__main__ import main
from detection.cell_types import BY_CODE, CODES
from detection.inference.detector import Detector
from detection.inference.networks import machine_name
from detection.lab.data.datasets import View, write_dataset
from detection.lab.measuring.calibration import choose_thresholds
from detection.lab.measuring.evaluation import (
    Found,
    ap_table,
    average_precisions,
    confusion,
    match_views,
    precision_recall,
    stages_apart,
    truth,
)
from detection.lab.measuring.pictures import draw_errors, worst_errors
from detection.lab.measuring.report import evaluate, percentage_errors
from detection.lab.training.building import build_network, save_network
from tests.drawn_views import draw_views


def chance_views(seed, count=40):
    """Views with chance cells, and detections that are moved, mistyped, missing or invented."""
    rng = np.random.default_rng(seed)
    views, found = [], []
    for number in range(count):
        corners = rng.uniform(0, 200, (rng.integers(0, 6), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(30, 90, (len(corners), 2))], 1)
        types = rng.integers(0, 6, len(boxes))
        cells = tuple((CODES[t], tuple(box)) for t, box in zip(types, boxes))
        views.append(View(f"{number}.png", "drawn", 300, 300, cells, patient=f"P{number % 7}"))
        moved = boxes + rng.normal(0, 5, boxes.shape)
        called = np.where(rng.random(len(types)) < 0.7, types, rng.integers(0, 6, len(types)))
        extra = rng.uniform(0, 150, (rng.integers(0, 5), 2))
        moved = np.concatenate([moved, np.concatenate([extra, extra + 60], 1)])
        called = np.concatenate([called, rng.integers(0, 6, len(extra))]).astype(int)
        scores = rng.random(len(called))
        order = np.argsort(-scores)
        found.append(Found(moved[order], called[order], scores[order]))
    return views, found


def reference(views, found):
    """AP@.5 and AP@[.5,.95] of each type by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    labels, calls = [], []
    for number, (view, own) in enumerate(zip(views, found)):
        boxes, types = truth(view)
        for box, kind in zip(boxes, types):
            w, h = box[2:] - box[:2]
            row = {"id": len(labels) + 1, "image_id": number, "category_id": int(kind), "bbox": [*box[:2], w, h]}
            labels.append(row | {"area": w * h, "iscrowd": 0})
        for box, kind, score in zip(own.boxes, own.types, own.scores):
            xywh = [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]
            calls.append({"image_id": number, "category_id": int(kind), "bbox": xywh, "score": float(score)})
    images = [{"id": number, "width": 300, "height": 300} for number in range(len(views))]
    kinds = [{"id": k, "name": code} for k, code in enumerate(CODES)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO({"images": images, "annotations": labels, "categories": kinds})
        run = COCOeval_faster(coco, coco.loadRes(calls), "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]  # (10 IoUs, 101 recalls, types)
    return {code: (precision[0, :, k].mean(), precision[:, :, k].mean()) for k, code in enumerate(CODES)}


@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_equals_faster_coco_eval(seed):
    views, found = chance_views(seed)
    expected = reference(views, found)
    table = ap_table(views, match_views(views, found), repeats=0)
    assert len(table["types"]) == 6
    for code, row in table["types"].items():
        assert row["ap50"] == pytest.approx(expected[code][0], abs=1e-4)
        assert row["ap50_95"] == pytest.approx(expected[code][1], abs=1e-4)


def test_intervals_are_drawn_by_patient_and_hold_the_figure():
    views, found = chance_views(3)
    table = ap_table(views, match_views(views, found), repeats=60)
    assert table["by"] == "patient"
    some = [replace(view, patient="" if k % 2 else view.patient) for k, view in enumerate(views)]
    assert ap_table(some, match_views(some, found), repeats=0)["by"] == "patient or view"
    none = [replace(view, patient="") for view in views]
    assert ap_table(none, match_views(none, found), repeats=0)["by"] == "view"
    row = table["macro"]
    assert row["ap50_low"] <= row["ap50"] <= row["ap50_high"]
    assert row["ap50_low"] < row["ap50_high"]


def test_patients_of_two_sources_who_share_a_number_are_two():
    """Two views of one cell each, one found and one not: the interval of one patient would have no width."""
    views = [View("a.png", source, 99, 99, (("LYT", (0, 0, 50, 50)),), patient="1") for source in ("one", "two")]
    kind = np.array([BY_CODE["LYT"].index])
    found = [Found(np.array([[0, 0, 50, 50.0]]), kind, np.ones(1)), Found(np.zeros((0, 4)), kind[:0], np.zeros(0))]
    row = ap_table(views, match_views(views, found), repeats=50)["types"]["LYT"]
    assert row["ap50_low"] < row["ap50_high"]


def test_a_view_counted_twice_in_the_bootstrap_equals_the_view_twice():
    views, found = chance_views(4, 10)
    weights = np.array([2.0] + [1.0] * 9)
    weighted = [average_precisions(match, weights) for match in match_views(views, found)]
    doubled = [average_precisions(match) for match in match_views([*views, views[0]], [*found, found[0]])]
    assert np.allclose(weighted, doubled, atol=0.02, equal_nan=True)


def test_confusion_counts_every_labelled_cell_once_and_stages_are_counted_apart():
    """One segmented called band (one stage apart), one myeloblast missed, one invented lymphocyte."""
    cells = (("NGS", (0, 0, 50, 50)), ("MYO", (100, 0, 150, 50)), ("PMO", (0, 100, 50, 150)))
    view = View("a.png", "drawn", 300, 300, cells)
    boxes = np.array([[1, 1, 50, 50], [0, 100, 50, 150], [200, 200, 250, 250]], float)
    called = np.array([BY_CODE[code].index for code in ("NGB", "PMO", "LYT")])
    table = confusion([view], [Found(boxes, called, np.array([0.9, 0.8, 0.7]))], np.full(15, 0.5))
    assert table[BY_CODE["NGS"].index, BY_CODE["NGB"].index] == 1
    assert table[BY_CODE["MYO"].index, -1] == 1
    assert table[-1, BY_CODE["LYT"].index] == 1
    assert table[:-1].sum() == 3
    assert stages_apart(table)[0] == 1
    assert stages_apart(table)[1] == 1
    assert precision_recall(table)["PMO"]["recall"] == [1.0, 0.025, 1.0]  # Clopper-Pearson of 1 in 1


def test_percentages_of_a_sample_are_compared_with_the_truth():
    """Two lymphocytes and two eosinophils, one eosinophil called lymphocyte: 25 points off."""
    boxes = [(0, 0, 50, 50), (60, 0, 110, 50), (120, 0, 170, 50), (180, 0, 230, 50)]
    view = View("a.png", "drawn", 300, 300, tuple(zip(("LYT", "LYT", "EOS", "EOS"), boxes)), patient="P1")
    called = np.array([BY_CODE[code].index for code in ("LYT", "LYT", "EOS", "LYT")])
    errors = percentage_errors([view], [Found(np.array(boxes, float), called, np.full(4, 0.9))], np.full(15, 0.5))
    assert errors["samples"] == 1
    assert errors["types"]["EOS"] == {"mean_abs": 25.0, "bias": -25.0, "worst": -25.0}


def test_erythroblasts_and_smudge_cells_stay_out_of_the_hundred_and_are_given_per_hundred_leukocytes():
    """domain.md, C4 and C5. True: 2 LYT, 2 NGS, 1 EBO, 1 KSC; the KSC is called LYT.

    LYT 3 of 5 instead of 2 of 4: +10; NGS 2 of 5: -10; EBO 1 per 5 instead of 1 per 4: -5; KSC 0 instead of 25: -25.
    """
    boxes = [(60.0 * k, 0, 60.0 * k + 50, 50) for k in range(6)]
    codes = ("LYT", "LYT", "NGS", "NGS", "EBO", "KSC")
    view = View("a.png", "one", 400, 300, tuple(zip(codes, boxes)), patient="1")
    other = View("b.png", "two", 400, 300, (("LYT", boxes[0]),), patient="1")  # another laboratory's patient 1
    called = np.array([BY_CODE[code].index for code in (*codes[:5], "LYT")])
    right = Found(np.array(boxes[:1], float), np.array([BY_CODE["LYT"].index]), np.full(1, 0.9))
    found = [Found(np.array(boxes, float), called, np.full(6, 0.9)), right]
    errors = percentage_errors([view, other], found, np.full(15, 0.5))
    assert errors["samples"] == 2
    worst = {code: row["worst"] for code, row in errors["types"].items()}
    assert worst == {"LYT": 10.0, "NGS": -10.0, "EBO": -5.0, "KSC": -25.0}
    assert errors["types"]["LYT"]["bias"] == 5.0


def test_thresholds_balance_precision_and_recall():
    cells = tuple(("LYT", (60.0 * k, 0.0, 60.0 * k + 50, 50.0)) for k in range(12))
    view = View("a.png", "drawn", 1000, 300, cells)
    wrong = np.array([[0, 100.0 + 60 * k, 50, 150.0 + 60 * k] for k in range(3)])
    boxes = np.concatenate([np.array([box for _, box in cells]), wrong])
    found = Found(boxes, np.full(15, BY_CODE["LYT"].index), np.r_[np.linspace(0.9, 0.5, 12), 0.3, 0.2, 0.1])
    thresholds, common = choose_thresholds([view], [found])
    assert 0.3 < thresholds["LYT"] <= 0.55
    assert set(thresholds) == set(CODES)
    assert thresholds["MYO"] == common


def test_the_worst_errors_are_the_wrong_calls_of_the_highest_scores(tmp_path):
    """An eosinophil called lymphocyte at .9, a call on nothing at .7, one below its threshold; the rest is right."""
    views = draw_views(tmp_path, 3)  # EOS, LYT, NGS
    lyt, ngs = BY_CODE["LYT"].index, BY_CODE["NGS"].index
    boxes = [np.array([view.cells[0][1], (0, 0, 12, 12)], float) for view in views]
    found = [
        Found(boxes[0], np.array([lyt, lyt]), np.array([0.9, 0.3])),
        Found(boxes[1], np.array([lyt, ngs]), np.array([0.95, 0.7])),
        Found(boxes[2][:1], np.array([ngs]), np.array([0.99])),
    ]
    errors = worst_errors(views, found, np.full(15, 0.5))
    assert [(score, view, *codes) for score, view, _, *codes in errors] == [
        (0.9, views[0], "EOS", "LYT"),
        (0.7, views[1], None, "NGS"),
    ]
    assert draw_errors(errors).startswith("data:image/png")
    assert draw_errors([]) is None


@pytest.mark.slow
def test_a_report_holds_figures_pictures_and_the_warning_about_its_own_thresholds(tmp_path):
    views = draw_views(tmp_path / "views", 6, split="val")
    network = build_network("yolov5.yaml").eval()
    detector = Detector.of_network(network, 0.45)
    result = evaluate(detector, views, tmp_path / "report", repeats=5, fields=True, name="untrained")
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["views"] == 6
    assert result["speed"]["images_per_s"] > 0
    html = (tmp_path / "report" / "evaluation.html").read_text()
    assert html.count("data:image/png;base64,") == 3  # nothing is called, so nothing is called wrong
    for fact in (
        machine_name(),
        "images/s of 64 x 64 px",
        "types with n >= 10" if "macro_n10" in result else "all types",
    ):
        assert fact in html
    row = result["several_types_a_cell"]["macro"]
    assert f"{row['ap50_95']:.3f} [{row['ap50_95_low']:.3f}, {row['ap50_95_high']:.3f}]" in html
    assert "flattering" in html
    assert "Percentages of 6 samples" in html
    assert result["typing_left_aside"]["types"] == 1
    assert result["typed_right"][0] <= 1
    for code, curve in result["curves"]["precision_over_recall"].items():
        assert code in result["one_type_a_cell"]["types"]
        assert [point[0] for point in curve] == sorted(point[0] for point in curve)
        assert all(later[1] <= sooner[1] for sooner, later in zip(curve, curve[1:]))
    assert 0 < result["common_threshold"] <= 1
    with pytest.raises(ValueError, match="No view has a labelled cell"):
        evaluate(detector, [replace(views[0], cells=())], tmp_path / "none")
    for head in network.model[-1].cv3:  # an untrained network is sure of nothing; now it calls everything something
        head[-1].bias.data.zero_()
    fixed = evaluate(
        detector,
        views,
        tmp_path / "fixed",
        thresholds=dict.fromkeys(CODES, 0.0),
        temperature=1.0,
        repeats=0,
    )
    assert fixed["thresholds_fixed_elsewhere"]
    html = (tmp_path / "fixed" / "evaluation.html").read_text()
    assert "flattering" not in html
    assert html.count("data:image/png;base64,") == 4


@pytest.mark.slow
def test_the_evaluate_command_says_what_it_measured_and_shows_cells_as_the_product_does(tmp_path, capsys):
    """A card's `cell_score_threshold` lowers every type's own (`detector.score_thresholds`)."""
    views = draw_views(tmp_path / "views", 3, split="val")
    manifest = write_dataset(tmp_path / "dataset.json", views, seed=0)
    weights = tmp_path / "last.pt"
    save_network(weights, build_network("yolov5.yaml"), {})
    rows = [{"code": code, "score_threshold": 0.6 if code == "LYT" else None} for code in CODES]
    card = {"um_per_px": 0.45, "classes": rows, "default_score_threshold": 0.3, "cell_score_threshold": 0.4}
    (tmp_path / "card.json").write_text(json.dumps(card))
    main(
        ["evaluate", str(weights), str(tmp_path / "dataset.json"), "--card", str(tmp_path / "card.json")]
        + ["--out", str(tmp_path / "report"), "--bootstrap", "0"]
    )
    result = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert result["thresholds"]["LYT"] == pytest.approx(0.4)
    assert result["thresholds"]["MYO"] == result["common_threshold"] == pytest.approx(0.3)
    assert result["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert result["manifest_sha256"] == manifest
