"""Training: canvases are lawful, a run learns, survives a kill, and leaves weights that the product can load."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from detection.__main__ import main
from detection.augment import augment, change_stain
from detection.cell_types import BY_CODE, CODES
from detection.datasets import write_dataset
from detection.detector import Detector
from detection.evaluation import find_on_views
from detection.release import evidence
from detection.sampling import Canvases, collate
from detection.stains import Look, dress, look_of, read_looks
from detection.training import (
    RECIPE,
    build_network,
    learning_rate,
    load_network,
    save_network,
    smoothing_matrix,
    train,
    widen,
)
from tests.drawn_views import draw_views
from tests.services import ROOT

QUICK = {"canvas_px": 64, "um_per_px": 0.45, "batch": 2, "canvases": 2, "epochs": 2}


@pytest.fixture
def dataset(tmp_path):
    views = draw_views(tmp_path / "views", 6) + draw_views(tmp_path / "views", 2, split="val")
    write_dataset(tmp_path / "dataset.json", views, seed=0)
    return tmp_path / "dataset.json"


def test_canvases_follow_from_their_number_and_their_boxes_lie_on_dark_cells(tmp_path):
    canvases = Canvases(draw_views(tmp_path, 6), canvas_px=96, um_per_px=0.3, seed=1, composed=1.0, strong=0.0)
    again = Canvases(draw_views(tmp_path, 6), canvas_px=96, um_per_px=0.3, seed=1, composed=1.0, strong=0.0)
    counts = []
    for number in range(12):
        image, classes, boxes = canvases[number]
        assert torch.equal(image, again[number][0])
        assert image.shape == (3, 96, 96)
        assert ((boxes >= 0) & (boxes <= 1)).all()
        counts.append(len(classes))
        for x, y, w, h in (boxes.numpy() * 96).round().astype(int):
            if w > 20 and h > 20:
                inside = image[0, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].float().mean()
                assert inside < np.percentile(image[0].numpy(), 90)
    assert max(counts) >= 3  # composed canvases hold several cells
    batch = collate([canvases[k] for k in range(3)])
    assert len(batch["cls"]) == len(batch["bboxes"]) == len(batch["batch_idx"])


def test_a_stain_change_of_no_strength_changes_nothing_and_augmentation_is_seeded():
    image = np.random.default_rng(0).integers(60, 250, (40, 40, 3)).astype(np.uint8)
    assert np.abs(change_stain(image, np.random.default_rng(1), 0.0).astype(int) - image).max() <= 2
    one, two = (augment(image, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)


def test_neighbouring_stages_share_a_little_of_the_target_and_strangers_nothing():
    matrix = smoothing_matrix(0.06)
    assert torch.allclose(matrix.sum(1), torch.ones(15))
    ngs, ngb, bas = (BY_CODE[code].index for code in ("NGS", "NGB", "BAS"))
    assert matrix[ngs, ngb] == pytest.approx(0.06)
    assert matrix[bas, bas] == 1


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    recipe = RECIPE | {"lr0": 1.0, "warmup": 0.1, "lr_end": 0.0}
    rates = [learning_rate(recipe, share) for share in (0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-6)


def test_a_run_that_was_stopped_ends_like_one_that_was_not(dataset, tmp_path):
    whole = train(dataset, tmp_path / "whole", "yolov5.yaml", workers=0, threads=1, **QUICK)
    train(dataset, tmp_path / "broken", "yolov5.yaml", workers=0, threads=1, **QUICK | {"epochs": 1})
    with pytest.raises(ValueError, match="no_such_thing"):
        train(dataset, tmp_path / "broken", no_such_thing=1)
    stopped = torch.load(tmp_path / "broken" / "state.pt", weights_only=False)["state"]
    assert stopped["epoch"] == 1
    resumed = train(dataset, tmp_path / "broken", "yolov5.yaml", workers=0, threads=1, **QUICK)
    log = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2]
    names = [set(load_network(path).state_dict()) for path in (whole, resumed)]
    assert names[0] == names[1]
    network = load_network(resumed)
    assert network.names == dict(enumerate(CODES))
    found, speed = find_on_views(network, draw_views(tmp_path / "more", 2), um_per_px=0.45)
    assert len(found) == 2
    assert speed > 0


def test_the_train_command_checks_stops_early_and_says_where_the_best_weights_are(dataset, tmp_path, capsys):
    sets = [f"--set={name}={value}" for name, value in (QUICK | {"patience": 1, "epochs": 5}).items()]
    main(
        [
            "train",
            str(dataset),
            "--out",
            str(tmp_path / "run"),
            "--architecture",
            "yolov5-focus.yaml",
            "--workers",
            "0",
            *sets,
        ]
    )
    assert "best.pt" in capsys.readouterr().out or (tmp_path / "run" / "last.pt").exists()
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(log) < 5


@pytest.mark.parametrize("name", ["yolov1", "yolov2", "yolov3", "yolov4", "yolov5", "yolov5-focus"])
def test_every_generation_builds_with_fifteen_types_at_n_scale(name):
    network = build_network(f"{name}.yaml")
    scales = 1 if name in ("yolov1", "yolov2") else 3
    assert len(network.stride) == scales
    with torch.no_grad():
        out = network.eval()(torch.zeros(1, 3, 64, 64))[0]
    assert out.shape[1] == 4 + 15


def test_an_average_lies_between_its_two_networks(tmp_path):
    first, second = build_network("yolov5.yaml"), build_network("yolov5.yaml")
    save_network(tmp_path / "first.pt", first, {})
    save_network(tmp_path / "second.pt", second, {})
    main(
        [
            "average",
            str(tmp_path / "first.pt"),
            str(tmp_path / "second.pt"),
            "--share",
            "0.25",
            "--out",
            str(tmp_path / "mean.pt"),
        ]
    )
    name = "model.0.conv.weight"
    ends = [load_network(tmp_path / f"{which}.pt").state_dict()[name] for which in ("first", "second", "mean")]
    assert torch.allclose(ends[2], 0.75 * ends[0] + 0.25 * ends[1], atol=1e-3)


def test_a_data_set_without_cells_is_refused(tmp_path):
    write_dataset(tmp_path / "dataset.json", [], seed=0)
    with pytest.raises(ValueError, match="prepare"):
        train(tmp_path / "dataset.json", tmp_path / "run")


def test_evidence_follows_the_rule_of_the_card():
    assert evidence(0, [{"n": 50, "ap50": 0.9}]) == "none"
    assert evidence(10, [{"n": 9, "ap50": 0.9}]) == "weak"
    assert evidence(10, [{"n": 50, "ap50": 0.9}, {"n": 20, "ap50": 0.7}]) == "fair"
    assert evidence(10, [{"n": 50, "ap50": 0.9}]) == "good"


def test_a_release_is_a_detector_that_the_product_loads_with_figures_and_evidence_for_each_type(dataset, tmp_path):
    """MYO is the myeloblast (domain.md, section 1); no training cells: evidence none, no threshold."""
    run = {"architecture": "yolov5.yaml", "recipe": RECIPE, "device": "cpu", "precision": "bfloat16"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    save_network(tmp_path / "run" / "last.pt", build_network("yolov5.yaml"), run)
    figures = {"n": 12, "ap50": 0.9, "ap50_95": 0.8}
    result = {
        "one_type_a_cell": {"types": {"LYT": figures}, "macro_n10": figures},
        "several_types_a_cell": {"types": {"LYT": figures}, "macro_n10": figures},
        "precision_recall": {"LYT": {"precision": [0.9, 0.6, 1.0], "recall": [0.8, 0.5, 1.0]}},
        "thresholds": dict.fromkeys(CODES, 0.4),
        "temperature": 1.2,
        "ece_before": 0.1,
        "ece_after": 0.05,
        "stages_apart": {"0": 3},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    main(
        ["release", str(tmp_path / "run" / "last.pt"), str(dataset), "--name", "lab", "--version", "2"]
        + ["--evaluation", f"val={tmp_path / 'evaluation.json'}", "--out", str(tmp_path / "weights"), "--weak", "drawn"]
    )
    detector = Detector.load(
        tmp_path / "weights" / "lab.pt", tmp_path / "weights" / "lab.json", device="cpu", backend="torch"
    )
    rows = {row["code"]: row for row in detector.card["classes"]}
    assert rows["LYT"]["evidence"] == "good"
    assert rows["LYT"]["val"]["recall"] == [0.8, 0.5, 1.0]
    assert rows["MYO"]["evidence"] == "none"
    assert rows["MYO"]["score_threshold"] is None
    assert detector.card["training"]["manifest_sha256"] == json.loads(dataset.read_text())["manifest_sha256"]


def test_a_network_of_twice_the_width_starts_as_the_equal_of_the_narrow_one(tmp_path):
    """Net2Net: equal output on the same picture, and copies of a channel that differ in what reads them."""
    torch.manual_seed(3)
    narrow = build_network("yolov5n.yaml").eval()
    save_network(tmp_path / "n.pt", narrow, {})
    wide = build_network("yolov5s.yaml", start=tmp_path / "n.pt").eval()
    assert sum(p.numel() for p in wide.parameters()) > 3 * sum(p.numel() for p in narrow.parameters())
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        one, two = load_network(tmp_path / "n.pt").eval()(picture)[0], wide(picture)[0]
    assert torch.allclose(one, two, atol=0.05)
    reader = wide.state_dict()["model.1.conv.weight"]
    assert not torch.allclose(reader[:, 0], reader[:, 1])
    assert not widen(narrow, build_network("yolov5n.yaml"))
    assert not widen(narrow, build_network("yolov3.yaml"))


def test_a_view_can_wear_the_colours_of_another_laboratory(tmp_path):
    home = draw_views(tmp_path / "home", 4)
    image = cv2.cvtColor(cv2.imread(home[1].path), cv2.COLOR_BGR2RGB)
    own = look_of(image)
    foreign = Look(np.array([205.0, 205.0, 203.0]), own.nucleus * [0.5, 0.5, 0.2], own.red_cell * [0.8, 0.9, 1.2])
    dressed = look_of(dress(image, own, foreign, 1.0))
    assert np.abs(dressed.glass - foreign.glass).max() < 6
    assert np.abs(dressed.nucleus - foreign.nucleus).max() < 0.15
    assert np.abs(dress(image, own, foreign, 0.0).astype(int) - image).max() <= 2
    assert look_of(np.full((90, 90, 3), 240, np.uint8)) is None
    assert len(read_looks([tmp_path / "home"], most=3)) == 3


def test_canvases_wear_borrowed_looks_by_their_number(tmp_path):
    views = draw_views(tmp_path, 6)
    looks = read_looks([tmp_path])
    plain, dressed, again = (
        Canvases(views, canvas_px=96, um_per_px=0.3, seed=1, strong=0.0, looks=own, dressed=1.0)
        for own in ((), looks, looks)
    )
    assert torch.equal(dressed[3][0], again[3][0])
    assert any(not torch.equal(dressed[k][0], plain[k][0]) for k in range(6))
    assert all(torch.equal(dressed[k][2], plain[k][2]) for k in range(6))  # places never follow colours


@pytest.mark.slow
def test_both_trainers_are_measured_on_the_same_views():
    """Ultralytics' trainer changes its process (threads, seeds, logging): it runs in one of its own."""
    code = (
        "import json; from detection.training_speed import measure; "
        "print(json.dumps(measure(pictures=8, picture_px=64, batch=4)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    rates = json.loads(done.stdout.splitlines()[-1])
    assert set(rates) == {"ultralytics", "ours"}
    assert min(rates.values()) > 0
