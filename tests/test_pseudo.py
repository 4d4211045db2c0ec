"""Guessed labels of fields, kept where every nucleus has a box; and sources left out of training."""

import json

import numpy as np
import pytest
from PIL import Image

from detection.__main__ import main
from detection.lab.data.datasets import write_dataset
from detection.lab.data.pseudo import on_tile, tiles
from detection.lab.data.readers import read_class_map, read_yolo
from detection.lab.measuring.covering import count
from detection.phantom import draw_field
from tests.drawn_views import draw_views


def test_boxes_are_clipped_to_a_tile_and_slivers_are_dropped():
    boxes = np.array([[90, 90, 130, 130], [190, 100, 260, 140], [300, 300, 340, 340]], float)
    numbers, clipped = on_tile(boxes, 100, 100, 100)
    assert numbers.tolist() == [0]
    assert clipped.tolist() == [[0, 0, 30, 30]]


def test_tiles_lie_whole_in_the_picture():
    corners = list(tiles((700, 900), 0.2))
    assert len(corners) == 3 * 4
    assert all(x + edge <= 900 and y + edge <= 700 for x, y, edge in corners)


@pytest.mark.slow
def test_the_command_writes_a_yolo_folder_whose_tiles_hold_no_uncovered_nucleus(tmp_path, capsys):
    fields = tmp_path / "fields"
    fields.mkdir()
    drawn = draw_field(800, 800, um_per_px=0.2, seed=31, leukocytes={"MYO": 8, "LYT": 6, "NGS": 6})
    Image.fromarray(drawn.image).save(fields / "one.png")
    Image.fromarray(drawn.image).save(fields / "kept-aside.png")
    assert main(["pseudo", str(fields), "--out", str(tmp_path / "out"), "--leave-out", "kept-aside"]) == 0
    kept = json.loads((tmp_path / "out" / "pseudo.json").read_text())["tiles"]
    views, problems = read_yolo(tmp_path / "out", "fields", read_class_map(None), 0.2)
    assert problems == []
    assert len(views) == kept["with cells"] + kept["empty"]
    assert sum(len(view.cells) for view in views) >= 5
    assert not any("kept-aside" in view.path for view in views)


def test_nuclei_and_boxes_are_counted_against_each_other():
    """Two nuclei, one in a box; a box on empty glass is bare, and a box on a nucleus' corner too."""
    nuclei = np.array([[10, 10, 30, 30], [100, 100, 120, 120]], float)
    boxes = np.array([[5, 5, 40, 40], [200, 200, 240, 240], [115, 115, 160, 160]], float)
    assert count(boxes, nuclei) == {"nuclei": 2, "covered": 1, "boxes": 3, "bare": 2}
    assert count(np.zeros((0, 4)), nuclei) == {"nuclei": 2, "covered": 0, "boxes": 0, "bare": 0}
    assert count(boxes, np.zeros((0, 4)))["bare"] == 3


@pytest.mark.slow
def test_the_command_cover_prints_every_field_and_the_sum(tmp_path, capsys):
    drawn = draw_field(500, 500, um_per_px=0.2, seed=33, leukocytes={"MYO": 5, "LYT": 4})
    Image.fromarray(drawn.image).save(tmp_path / "one.png")
    command = ["cover", str(tmp_path), "--um-per-px", "0.2", "--pictures", str(tmp_path / "drawn")]
    assert main([*command, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["one.png"]
    assert row["covered"] >= 7
    assert (tmp_path / "drawn" / "one.jpg").is_file()
    assert main(["cover", str(tmp_path / "one.png"), "--um-per-px", "0.2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all")


@pytest.mark.slow
def test_leaving_a_source_out_trains_without_it_and_prints_the_loss(tmp_path, capsys):
    views = []
    for source in ("here", "there"):
        views += draw_views(tmp_path / source, 6, source=source)
        views += draw_views(tmp_path / source, 30, split="val", source=source)
    write_dataset(tmp_path / "dataset.json", views, seed=0)
    quick = {"canvas_px": 64, "um_per_px": 0.45, "batch": 2, "canvases": 2, "epochs": 1}
    changes = [part for name, value in quick.items() for part in ("--set", f"{name}={value}")]
    command = ["leave-out", str(tmp_path / "dataset.json"), "--out", str(tmp_path / "out"), "--architecture"]
    main([*command, "yolov5.yaml", *changes])
    table = capsys.readouterr().out
    assert "| here | 3 |" in table
    assert "| there | 3 |" in table
    left = json.loads((tmp_path / "out" / "without-here.json").read_text())["views"]
    assert {view["source"] for view in left if view["split"] == "train"} == {"there"}
    write_dataset(tmp_path / "one.json", draw_views(tmp_path / "one", 4, split="val"), seed=0)
    assert main(["leave-out", str(tmp_path / "one.json"), "--out", str(tmp_path / "none")]) == 2
    assert "two sources" in capsys.readouterr().err
