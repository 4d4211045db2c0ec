"""Guessed labels of fields, kept where every nucleus has a box; and sources left out of training."""

import json

import numpy as np
import pytest
from PIL import Image

from detection.__main__ import main
from detection.datasets import write_dataset
from detection.datasets_readers import read_class_map, read_yolo
from detection.phantom import draw_field
from detection.pseudo import on_tile, tiles
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
    with pytest.raises(SystemExit, match="two sources"):
        main(["leave-out", str(tmp_path / "one.json"), "--out", str(tmp_path / "none")])
