"""How many findings a person must look at, and how many wrong ones nobody looks at: the command `looks`."""

import json

import numpy as np
import pytest
from PIL import Image

from detection.__main__ import main
from detection.cell_types import CODES
from detection.lab.data.datasets import View, write_dataset
from detection.lab.measuring.evaluation import match_places
from detection.lab.measuring.looking import Call, count
from detection.phantom import draw_field

PROVEN = dict.fromkeys(CODES, "good") | {"BAS": "weak", "PMB": "none"}


def test_what_is_wrong_and_not_looked_at_slips_and_a_blast_that_slips_is_counted_apart():
    calls = [
        Call("NGS", 0.9, "NGS"),
        Call("NGS", 0.9, "NGB"),  # slips
        Call("NGS", 0.5, "NGB"),  # a low score is looked at
        Call("LYT", 0.9, "MYO"),  # slips, a blast
        Call("MYO", 0.9, "LYT"),
        Call("BAS", 0.9, "BAS"),
        Call("EOS", 0.9, ""),  # slips: nothing is labelled there
    ]
    found = count(calls, PROVEN)
    assert dict(found) == {"found": 7, "looks": 3, "wrong": 5, "slipped": 3, "slipped grave": 1}


def test_a_labelled_cell_is_taken_once_by_the_best_score():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)
    own = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 29, 10], [50, 50, 60, 60]], float)
    assert match_places(own, np.array([0.4, 0.8, 0.9, 0.7]), boxes).tolist() == [-1, 0, 1, -1]
    assert match_places(own, np.ones(4), boxes[:0]).tolist() == [-1] * 4


@pytest.mark.slow
def test_the_command_reads_labelled_views_as_the_product_does(tmp_path, capsys):
    drawn = draw_field(500, 500, um_per_px=0.2, seed=3, leukocytes={"NGS": 4, "LYT": 3})
    Image.fromarray(drawn.image).save(tmp_path / "one.png")
    cells = tuple((code, tuple(map(float, box))) for code, box in drawn.cells)
    view = View(str(tmp_path / "one.png"), "drawn", 500, 500, cells, patient="p1", um_per_px=0.2, split="val")
    write_dataset(tmp_path / "dataset.json", [view], seed=0)
    assert main(["looks", str(tmp_path / "dataset.json"), "--samples", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["drawn"] == rows["drawn p1"]
    assert 4 <= rows["drawn"]["found"] <= 9
    assert rows["drawn"]["slipped"] <= rows["drawn"]["wrong"] <= rows["drawn"]["found"]
    assert main(["looks", str(tmp_path / "dataset.json"), "--split", "train"]) == 2
    assert "no view with labelled boxes" in capsys.readouterr().err
