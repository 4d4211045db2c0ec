"""The gate in front of bfloat16 and int8, and what the product does with its result; the command `find`."""

import copy
import json
import subprocess
import sys

import pytest
from PIL import Image

from detection import SHIPPED
from detection.__main__ import main
from detection.inference.detector import Detector
from detection.inference.precision import export_folder, fastest, form_sha256, int8_form, write_verdicts
from detection.lab.measuring.gate import compare, is_worse
from detection.phantom import draw_field
from tests.conftest import EXPORTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn():
    return draw_field(500, 500, um_per_px=0.2, seed=21, leukocytes={"MYO": 6, "LYT": 5, "NGS": 4})


@pytest.fixture(scope="module")
def truth(drawn, shipped_detector):
    """The field with what float32 finds on it taken as its truth."""
    cells = shipped_detector.find_cells(drawn.image, 0.2)
    assert len(cells) >= 8
    return [(drawn.image, 0.2, [(cell.code, cell.xyxy) for cell in cells])]


def test_a_detector_passes_against_itself(shipped_detector, truth, drawn):
    result = compare(shipped_detector, shipped_detector, truth, [(drawn.image, 0.2)])
    assert result["passed"]
    assert result["why"] == []
    assert result["equal"] == 1
    assert {one["f32"] for one in result["recall"].values()} == {1.0}


def test_a_detector_that_loses_cells_does_not_pass_and_the_types_are_named(shipped_detector, truth, drawn):
    worse = copy.copy(shipped_detector)
    worse.thresholds = shipped_detector.thresholds.copy()
    worse.thresholds[10] = 1.0  # no myeloblast any more
    result = compare(worse, shipped_detector, truth, [(drawn.image, 0.2)])
    assert not result["passed"]
    assert any(sentence.startswith("recall of MYO falls from 1.000 to 0.000") for sentence in result["why"])
    assert result["equal"] < 0.99


@pytest.mark.parametrize(
    ("lost", "gained", "n", "is_grave", "worse"),
    [
        (0, 0, 50, True, False),
        (1, 0, 59, False, False),  # one cell at the border of its picture
        (1, 0, 59, True, False),
        (2, 0, 500, True, True),  # two blasts
        (3, 2, 59, True, False),
        (2, 0, 59, False, True),
        (2, 0, 500, False, False),  # two of 500 cells: within half a point, and a chance of one half
        (6, 0, 2000, False, True),  # within half a point, and a chance of 1 in 32
        (5, 9, 59, False, False),
    ],
)
def test_one_cut_cell_decides_nothing_and_a_real_loss_shuts_the_gate(lost, gained, n, is_grave, worse):
    """By hand: the exact McNemar test of six lost and none gained is 2 / 64, of two 2 / 4."""
    assert is_worse(lost, gained, n, is_grave=is_grave) is worse


def test_without_cells_nothing_is_shown(shipped_detector, drawn):
    with pytest.raises(ValueError, match="labelled cells"):
        compare(shipped_detector, shipped_detector, [], [(drawn.image, 0.2)])


def verdict(passed, backend, precision, gain, form=""):
    return {"passed": passed, "candidate": [backend, precision], "gain": gain, "form_sha256": form}


def test_the_product_uses_the_fastest_precision_that_passed_the_gate_here(tmp_path, shipped_detector):
    folder = export_folder(tmp_path, shipped_detector.card)
    copied = tmp_path / SHIPPED[0].name
    form = int8_form(copied)

    def chosen(*verdicts, backend="openvino"):
        write_verdicts(folder, verdicts)
        return fastest(folder, backend, copied)

    assert fastest(None, "openvino", copied) == fastest(folder, "openvino", copied) == "f32"
    assert chosen(verdict(False, "openvino", "bf16", 2.0)) == "f32"
    assert chosen(verdict(True, "openvino", "bf16", 1.05)) == "f32"  # equal, and hardly faster
    assert chosen(verdict(True, "openvino", "bf16", 2.0), backend="torch") == "f32"
    assert chosen(verdict(True, "openvino", "bf16", 2.0)) == "bf16"
    for path in (form, form.with_suffix(".bin")):
        path.write_text("as it was tried")
    tried = verdict(True, "openvino", "int8", 3.0, form_sha256(copied, "int8"))
    assert chosen(verdict(True, "openvino", "bf16", 2.0), tried) == "int8"
    form.with_suffix(".bin").write_text("made anew since")
    assert chosen(verdict(True, "openvino", "bf16", 2.0), tried) == "bf16"
    form.unlink()
    assert chosen(tried) == "f32"


def test_a_detector_runs_in_the_precision_that_was_chosen(tmp_path, shipped_detector):
    folder = export_folder(tmp_path, shipped_detector.card)
    for passed, used in ((False, "f32"), (True, "bf16")):
        write_verdicts(folder, [verdict(passed, "torch", "bf16", 2.0)])
        assert Detector.load(*SHIPPED, device="cpu", backend="torch", cache_folder=tmp_path).precision == used


def test_the_command_find_prints_cells_and_draws_them(tmp_path, drawn, capsys):
    Image.fromarray(drawn.image).save(tmp_path / "field.png")
    arguments = ["find", str(tmp_path / "field.png"), "--um-per-px", "0.2", "--cache", str(EXPORTS)]
    assert main([*arguments, "--json", "--out", str(tmp_path / "out.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["scale_method"] == "given"
    assert answer["precision"] == "f32"
    assert len(answer["cells"]) >= 8
    assert set(answer["cells"][0]) == {"code", "score", "xyxy"}
    assert Image.open(tmp_path / "out.png").size == (500, 500)


def test_the_command_find_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "words.jpg").write_text("words")
    assert main(["find", str(tmp_path / "words.jpg")]) == 1
    assert "Use JPEG, PNG, BMP or TIFF" in capsys.readouterr().err
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    assert main(["find", str(tmp_path / "white.png"), "--cache", str(EXPORTS)]) == 1
    assert "give --um-per-px" in capsys.readouterr().err


def test_a_worker_stays_under_its_memory_limit_on_a_small_field(tmp_path, drawn):
    Image.fromarray(drawn.image).save(tmp_path / "field.png")
    command = ["-m", "detection", "bench", "--worker-on", str(tmp_path / "field.png"), "--cache", str(tmp_path)]
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["cells"] >= 8
    assert answer["peak_gb"] < 2.5


def test_the_command_line_starts_without_torch():
    code = "import sys, detection.__main__, detection.images; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
