"""The comparison of the YOLO generations: one recipe, one split, one table beside the figures of the seed article."""

import json

import pytest

from detection.__main__ import main
from detection.lab.data.datasets import write_dataset
from detection.lab.training.comparison import SEED, markdown
from tests.drawn_views import draw_views


@pytest.mark.slow
def test_compare_trains_measures_and_prints_a_table_and_goes_on_where_it_stopped(tmp_path, capsys):
    views = draw_views(tmp_path / "views", 6) + draw_views(tmp_path / "views", 3, split="val")
    write_dataset(tmp_path / "dataset.json", views, seed=0)
    quick = [
        f"--set={pair}"
        for pair in (
            "canvas_px=128",
            "um_per_px=0.45",
            "batch=2",
            "canvases=2",
            "epochs=1",
        )
    ]
    quick += ["--workers", "0", "--threads", "1", "--bootstrap", "5"]
    command = [
        "compare",
        str(tmp_path / "dataset.json"),
        "--out",
        str(tmp_path / "out"),
        "--architectures",
        "yolov1.yaml",
        "yolov5.yaml",
        *quick,
    ]
    main(command)
    table = capsys.readouterr().out
    assert "| yolov1 |" in table
    assert "86.47, 57.61, 56.7" in table
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert set(rows) == {"yolov1", "yolov5"}
    assert rows["yolov1"]["parameters"] > rows["yolov5"]["parameters"]
    assert all(row["images_per_s"] > 0 for row in rows.values())
    assert f"| {rows['yolov5']['images_per_s']:.1f} | {rows['yolov5']['parameters'] / 1e6:.1f} M | 86.47" in table
    main(command)
    assert len((tmp_path / "out" / "yolov1-n" / "log.jsonl").read_text().splitlines()) == 1


def test_a_source_that_does_not_exist_is_refused_before_anything_is_trained(tmp_path, capsys):
    views = draw_views(tmp_path / "views", 3) + draw_views(tmp_path / "views", 3, split="val")
    write_dataset(tmp_path / "dataset.json", views, seed=0)
    command = ["compare", str(tmp_path / "dataset.json"), "--out", str(tmp_path / "out"), "--val-source", "drwan"]
    assert main(command) == 2
    assert "no labelled validation view of source drwan. Sources with some: drawn." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_seeds_figures_stand_as_printed_in_its_table():
    """domain.md, section 4."""
    assert SEED["yolov5"] == (86.47, 57.61, 56.7)
    assert SEED["yolov1"] == (83.21, 53.52, 30.3)
    row = {"parameters": 2_500_000, "images_per_s": 20.0, "ap50": 0.5, "ap50_95": 0.25}
    assert "| yolov5 | 50.0 | 25.0 | 20.0 | 2.5 M | 86.47, 57.61, 56.7 |" in markdown({"yolov5": row}, "n")
