"""Training: canvases are lawful, a run learns, survives a kill, and leaves weights that the product can load."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detection import SHIPPED_CARD
from detection.__main__ import COMMANDS, build_parser, main
from detection.cell_types import BY_CODE, CODES
from detection.inference.detector import Detector
from detection.inference.networks import load_network
from detection.inference.stain_transfer import Stain, stain_of, transfer_stain
from detection.lab.data.datasets import View, read_dataset, write_dataset
from detection.lab.data.stains import read_stains
from detection.lab.measuring.evaluation import find_on_views, macro_ap50
from detection.lab.measuring.release import evidence, refuse_foreign_figures
from detection.lab.training.augment import change_colours, change_optics, change_stain, compress
from detection.lab.training.building import build_network, save_network, widen
from detection.lab.training.compose import Pictures, lay_view, visible_share
from detection.lab.training.loss import smoothing_matrix
from detection.lab.training.recipe import RECIPE
from detection.lab.training.sampling import Canvases, collate
from detection.lab.training.schedule import composed_share, learning_rate
from detection.lab.training.training import train
from detection.phantom import draw_field
from tests.drawn_views import draw, draw_views
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
        image, classes, boxes, weights, unlabelled = canvases[number]
        assert len(weights) == len(classes)
        assert unlabelled.shape == (0, 4)
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
    one, two = (change_optics(change_colours(image, rng), rng) for rng in map(np.random.default_rng, (5, 5)))
    assert np.array_equal(one, two)


def test_a_view_is_compressed_as_a_camera_does():
    """Pillow, which takes RGB, at the same quality: the pictures agree but for the rounding of two decoders."""
    image = draw_field(96, 96, um_per_px=0.3, seed=1, leukocytes={"MYO": 1}).image
    quality = int(np.random.default_rng(3).uniform(35, 95))
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    expected = np.asarray(Image.open(stored)).astype(int)
    assert np.abs(compress(image, np.random.default_rng(3)) - expected).mean() < 0.5


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


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_one_that_was_not(dataset, tmp_path):
    """Killed in the second epoch, after its log row and before its state: every weight is that of an unbroken run."""
    how = {"architecture": "yolov5.yaml", "workers": 0, "threads": 1, **QUICK}

    def kill_in_second_epoch(network, views, recipe):
        if (tmp_path / "broken" / "log.jsonl").exists():
            raise KeyboardInterrupt
        return 0.5

    whole = train(dataset, tmp_path / "whole", **how)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "broken", check=kill_in_second_epoch, **how)
    log = tmp_path / "broken" / "log.jsonl"
    log.write_text(log.read_text() + '{"epoch": 2}\n')
    train(dataset, tmp_path / "broken", **how)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2]
    ends = [torch.load(tmp_path / name / "state.pt", weights_only=False) for name in ("whole", "broken")]
    for part in ("network", "average"):
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name
    assert not torch.equal(
        ends[0]["network"]["model.0.conv.weight"], build_network("yolov5.yaml").state_dict()["model.0.conv.weight"]
    )
    network = load_network(whole)
    assert network.names == dict(enumerate(CODES))
    found, speed = find_on_views(Detector.of_network(network, 0.45), draw_views(tmp_path / "more", 2))
    assert len(found) == 2
    assert speed > 0


@pytest.mark.slow
def test_a_run_says_what_it_was_trained_on_and_is_not_gone_on_with_as_another(dataset, tmp_path):
    how = {"architecture": "yolov5.yaml", "workers": 0, "threads": 1, **QUICK, "epochs": 1}
    train(dataset, tmp_path / "run", **how)
    path = tmp_path / "run" / "run.json"
    facts = path.read_text()
    assert json.loads(facts)["manifest_sha256"] == json.loads(dataset.read_text())["manifest_sha256"]
    other = tmp_path / "other.json"
    write_dataset(other, draw_views(tmp_path / "others", 3), seed=0)
    wrong = {"lr0": {"lr0": 0.5}, "architecture": {"architecture": "yolov3.yaml"}, "scale": {"scale": "s"}}
    for name, change in (wrong | {"manifest_sha256": {"dataset": other}}).items():
        with pytest.raises(ValueError, match=f"another {name}"):
            train(**{"dataset": dataset, "out": tmp_path / "run"} | how | change)
    with pytest.raises(ValueError, match="no_such_thing"):
        train(dataset, tmp_path / "run", no_such_thing=1)
    train(dataset, tmp_path / "run", **how | {"patience": 99})  # finished: nothing is done, nothing rewritten
    assert path.read_text() == facts
    old = json.loads(facts)
    del old["manifest_sha256"], old["recipe"]["transferred"]  # a run of a time that did not write these down
    path.write_text(json.dumps(old))
    train(dataset, tmp_path / "run", **how | {"epochs": 2})
    assert json.loads(path.read_text())["recipe"]["epochs"] == 2


@pytest.mark.slow
def test_without_ten_cells_of_a_type_all_types_choose_the_weights_and_without_any_cell_the_last_ones_count(
    dataset, tmp_path, capsys
):
    class FindsFirst(torch.nn.Module):
        """Finds the cell of the first view, and its type."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            out = torch.zeros(len(x), 4 + 15, 1)
            out[:, :4, 0] = torch.tensor([45.0, 48, 42, 44]) * 0.3 / 0.45
            out[:, 4 + BY_CODE["EOS"].index, 0] = 0.9
            return [out]

    views = read_dataset(dataset, "val")
    bare = [replace(view, cells=()) for view in views]
    assert macro_ap50(FindsFirst(), views, QUICK) == 0.5  # EOS 1, LYT 0: one cell each
    assert macro_ap50(FindsFirst(), bare, QUICK) is None
    write_dataset(tmp_path / "bare.json", read_dataset(dataset, "train") + bare, seed=0)
    how = {"workers": 0, "threads": 1, "check": macro_ap50, **QUICK, "patience": 1}
    assert train(tmp_path / "bare.json", tmp_path / "run", "yolov5.yaml", **how) == tmp_path / "run" / "last.pt"
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "run" / "best.pt").exists()
    assert "the last weights count" in capsys.readouterr().err


@pytest.mark.slow
def test_frozen_layers_and_statistics_of_a_network_stay_as_they_were(dataset, tmp_path):
    save_network(tmp_path / "start.pt", build_network("yolov5.yaml"), {})
    how = {"workers": 0, "threads": 1, "start": tmp_path / "start.pt", "frozen": 3, "frozen_norms": 1, **QUICK}
    last = train(dataset, tmp_path / "run", "yolov5.yaml", **how)
    before, after = (load_network(path).state_dict() for path in (tmp_path / "start.pt", last))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert not any(name.startswith(("model.0.", "model.1.", "model.2.")) for name in changed)
    assert not any("running_" in name for name in changed)


@pytest.fixture
def field(tmp_path):
    """A whole field of 1400 px: 48 segmented neutrophils in rows, and one eosinophil in the last corner."""
    boxes = [
        (200.0 * (k % 7) + 20, 200.0 * (k // 7) + 20, 200.0 * (k % 7) + 80, 200.0 * (k // 7) + 80) for k in range(48)
    ]
    cells = tuple(("NGS", box) for box in boxes) + (("EOS", (1330.0, 1330.0, 1390.0, 1390.0)),)
    path = draw(tmp_path / "field.png", cells, size=1400)
    return View(str(path), "lab", 1400, 1400, cells, um_per_px=0.2, split="train")


@pytest.mark.slow
@pytest.mark.parametrize("guessed", [False, True])
def test_every_cell_of_a_whole_field_is_trained_on_and_the_cell_that_was_drawn_is_seen(field, tmp_path, guessed):
    """The square root of 48 and 1: the lone eosinophil is drawn for every eighth canvas."""
    views = [replace(field, guessed=guessed), *draw_views(tmp_path, 1, source="crops")]
    canvases = Canvases(views, canvas_px=160, um_per_px=0.2, seed=2, composed=0.0, guessed=1.0)
    seen = Counter()
    for number in range(700):
        drawn = canvases.draw(np.random.default_rng(number))
        assert len(drawn.codes) == len(drawn.boxes) == len(drawn.weights)
        seen.update(k for k, box in enumerate(drawn.boxes) if len(drawn.codes) > 1 and visible_share(box, 160) > 0.5)
    assert set(seen) == set(range(49))
    if not guessed:
        assert seen[48] > 40


def test_a_view_drawn_for_a_cell_shows_it_and_its_surroundings_stay_on_the_canvas(field):
    shares = []
    for about in range(49):
        canvas, boxes, _ = lay_view(field, 160, 1.0, np.random.default_rng(about), about=about)
        shares.append(visible_share(boxes[about], 160))
    assert np.mean(np.array(shares) > 0.99) > 0.8
    assert min(shares) > 0.4


def test_a_drawing_process_keeps_pictures_up_to_a_number_of_bytes(tmp_path):
    paths = [view.path for view in draw_views(tmp_path, 4)]
    pictures = Pictures(most_bytes=3 * 96 * 96 * 3)
    first = pictures(paths[0])
    for path in (*paths[1:3], paths[0], paths[3]):
        pictures(path)
    assert pictures.bytes == 3 * 96 * 96 * 3
    assert pictures(paths[0]) is first
    assert list(pictures.kept) == [paths[2], paths[3], paths[0]]
    assert len(Pictures(most_bytes=10)(paths[0])) == 96  # larger than the whole cache: read and not kept


def test_the_last_share_of_a_run_draws_no_composed_canvas(tmp_path):
    """Two epochs of twenty at close_composed .1; the drawn views have one cell each."""
    recipe = RECIPE | {"composed": 1.0, "close_composed": 0.1}
    shares = [composed_share(recipe, epoch / 20) for epoch in range(20)]
    assert shares == [1.0] * 18 + [0.0] * 2
    views, size = draw_views(tmp_path, 6), {"canvas_px": 96, "um_per_px": 0.3}
    late, early = (Canvases(views, **size, composed=share) for share in (shares[-1], shares[0]))
    assert max(len(late[k][1]) for k in range(30)) == 1
    assert max(len(early[k][1]) for k in range(30)) > 1


@pytest.mark.slow
def test_the_train_command_checks_stops_early_and_says_where_the_best_weights_are(dataset, tmp_path, capsys):
    sets = [f"--set={name}={value}" for name, value in (QUICK | {"patience": 1, "epochs": 5}).items()]
    main(
        ["train", str(dataset), "--out", str(tmp_path / "run"), "--architecture", "yolov5-focus.yaml", "--workers", "0"]
        + sets
    )
    assert "best.pt" in capsys.readouterr().out
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(log) < 5


GENERATIONS = ("yolov1", "yolov2", "yolov3", "yolov4", "yolov5", "yolov5-focus")


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATIONS)
def test_a_generation_grows_from_scale_to_scale(name):
    scales = ("n", "s", "m", "full") if name.startswith("yolov5") else ("n", "full")
    sizes = [sum(p.numel() for p in build_network(f"{name}.yaml", scale=scale).parameters()) for scale in scales]
    assert all(larger > 1.9 * smaller for smaller, larger in zip(sizes, sizes[1:]))


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_builds_with_fifteen_types_at_n_scale(name):
    network = build_network(f"{name}.yaml")
    scales = 1 if name in ("yolov1", "yolov2") else 3
    assert len(network.stride) == scales
    with torch.no_grad():
        out = network.eval()(torch.zeros(1, 3, 64, 64))[0]
    assert out.shape[1] == 4 + 15


@pytest.mark.slow
def test_train_takes_the_scale_of_an_own_architecture(dataset, tmp_path):
    sets = [f"--set={name}={value}" for name, value in (QUICK | {"epochs": 1}).items()]
    command = ["train", str(dataset), "--out", str(tmp_path / "run"), "--architecture", "yolov5-focus.yaml"]
    main([*command, "--scale", "s", "--workers", "0", *sets])
    sizes = [
        sum(p.numel() for p in network.parameters())
        for network in (load_network(tmp_path / "run" / "last.pt"), build_network("yolov5-focus.yaml", scale="s"))
    ]
    assert sizes[0] == sizes[1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["scale"] == "s"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("epoch=1", "The recipe has no epoch"),
        ("architecture=foo", "The recipe has no architecture"),
        ("epochs", "write epochs=VALUE"),
        ("epochs=many", "write epochs=VALUE"),
        ('epochs="2"', "epochs is a number"),
        ("stains=1", "stains is a list"),
    ],
)
def test_a_wrong_change_of_the_recipe_is_said_in_a_sentence(dataset, tmp_path, capsys, change, words):
    assert main(["train", str(dataset), "--out", str(tmp_path / "run"), "--set", change]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_an_absent_file_is_named_and_the_traceback_is_to_be_had(tmp_path, capsys):
    command = ["evaluate", "none.pt", str(tmp_path / "absent.json"), "--out", str(tmp_path)]
    assert main(command) == 2
    assert "none.pt: No such file or directory." in capsys.readouterr().err
    command[1] = str(SHIPPED_CARD.with_suffix(".pt"))
    assert main(command) == 2
    assert "absent.json: No such file or directory." in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        main(["--traceback", *command])


def test_every_argument_of_every_command_has_words():
    silent = []
    for name in COMMANDS:
        (commands,) = (action.choices for action in build_parser([name])._actions if action.dest == "command")
        silent += [f"{name} {action.dest}" for action in commands[name]._actions if not action.help]
    assert silent == []


@pytest.mark.slow
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
    command = ["release", str(tmp_path / "run" / "last.pt"), str(dataset), "--name", "lab", "--version", "2"]
    command += ["--evaluation", f"val={tmp_path / 'evaluation.json'}", "--out", str(tmp_path / "weights")]
    main([*command, "--weak", "drawn"])
    detector = Detector.load(
        tmp_path / "weights" / "lab.pt", tmp_path / "weights" / "lab.json", device="cpu", backend="torch"
    )
    rows = {row["code"]: row for row in detector.card.facts["classes"]}
    assert rows["LYT"]["evidence"] == "good"
    assert rows["LYT"]["val"]["recall"] == [0.8, 0.5, 1.0]
    assert rows["MYO"]["evidence"] == "none"
    assert rows["MYO"]["score_threshold"] is None
    assert detector.card.facts["training"]["manifest_sha256"] == json.loads(dataset.read_text())["manifest_sha256"]
    assert detector.card.default_score_threshold == 0.4  # the middle one: this evaluation has no common one
    sha256 = detector.card.sha256
    (tmp_path / "evaluation.json").write_text(json.dumps(result | {"common_threshold": 0.22, "weights_sha256": sha256}))
    main(command)
    assert json.loads((tmp_path / "weights" / "lab.json").read_text())["default_score_threshold"] == 0.22


def test_a_release_refuses_figures_of_other_weights_and_another_data_set(tmp_path):
    weights = tmp_path / "last.pt"
    weights.write_bytes(b"weights")
    own = {"weights_sha256": hashlib.sha256(b"weights").hexdigest()}
    refuse_foreign_figures(weights, {"manifest_sha256": "a"}, {"manifest_sha256": "a"}, {"val": own, "old": {}})
    refuse_foreign_figures(weights, {"manifest_sha256": "a"}, {}, {})
    with pytest.raises(ValueError, match="val measured other weights"):
        refuse_foreign_figures(weights, {"manifest_sha256": "a"}, {}, {"val": {"weights_sha256": "b"}})
    with pytest.raises(ValueError, match="another data set"):
        refuse_foreign_figures(weights, {"manifest_sha256": "a"}, {"manifest_sha256": "b"}, {})


@pytest.mark.slow
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
    own = stain_of(image)
    foreign = Stain(np.array([205.0, 205.0, 203.0]), own.nucleus * [0.5, 0.5, 0.2], own.red_cell * [0.8, 0.9, 1.2])
    transferred = stain_of(transfer_stain(image, own, foreign, 1.0))
    assert np.abs(transferred.glass - foreign.glass).max() < 6
    assert np.abs(transferred.nucleus - foreign.nucleus).max() < 0.15
    assert np.abs(transfer_stain(image, own, foreign, 0.0).astype(int) - image).max() <= 2
    assert stain_of(np.full((90, 90, 3), 240, np.uint8)) is None
    assert len(read_stains([tmp_path / "home"], most=3)) == 3


def test_stains_are_transferred_to_canvases_by_their_number(tmp_path):
    views = draw_views(tmp_path, 6)
    stains = read_stains([tmp_path])
    plain, transferred, again = (
        Canvases(views, canvas_px=96, um_per_px=0.3, seed=1, strong=0.0, stains=own, transferred=1.0)
        for own in ((), stains, stains)
    )
    assert torch.equal(transferred[3][0], again[3][0])
    assert any(not torch.equal(transferred[k][0], plain[k][0]) for k in range(6))
    assert all(torch.equal(transferred[k][2], plain[k][2]) for k in range(6))  # places never follow colours


@pytest.mark.slow
def test_both_trainers_are_measured_on_the_same_views():
    """Ultralytics' trainer changes its process (threads, seeds, logging): it runs in one of its own."""
    code = (
        "import json; from detection.lab.training.training_speed import measure; "
        "print(json.dumps(measure(pictures=8, picture_px=64, batch=4)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    rates = json.loads(done.stdout.splitlines()[-1])
    assert set(rates) == {"ultralytics", "ours"}
    assert min(rates.values()) > 0
