"""Data sets of the detection bench: foreign layouts are read, problems stop a run, patients never sit on both sides."""

import csv
import json
import shutil

import pytest
import yaml

from detection.__main__ import main
from detection.lab.data.datasets import read_dataset, read_pixels
from detection.lab.data.derive_boxes import box_agreement, derive_boxes, stain_box
from detection.lab.data.prepare import DatasetRefused, prepare, split_views
from detection.lab.data.readers import read_class_map, read_code_folders, read_crops, read_voc, read_yolo
from tests.drawn_views import draw, draw_views

BOX = (24.0, 26.0, 66.0, 70.0)


def yolo_folder(root, count=20, names=("LY", "EO", "RBC")):
    (root / "labels" / "train").mkdir(parents=True)
    for number in range(count):
        code = ("LYT", "EOS")[number % 2]
        draw(root / "images" / "train" / f"{number}.png", [(code, BOX)], seed=number)
        lines = [f"{number % 2} 0.46875 0.5 0.4375 0.458333", "2 0.1 0.1 0.1 0.1"]
        (root / "labels" / "train" / f"{number}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(yaml.safe_dump({"names": list(names)}))
    return root


def crops_folder(root, patients):
    rows = []
    for number, patient in enumerate(patients):
        draw(root / "crops" / f"{number}.png", [("NGS", BOX)], seed=100 + number)
        rows.append(
            {"file": f"crops/{number}.png", "patient": patient, "code": "NGS"}
            | dict(zip(("x0", "y0", "x1", "y1"), BOX))
        )
    with open(root / "cells.csv", "w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def sources_file(folder, *sources):
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump(list(sources)))
    return path


def test_a_yolo_folder_becomes_views_with_our_codes_and_without_red_cells(tmp_path):
    views, problems = read_yolo(yolo_folder(tmp_path), "y", read_class_map(None), 0.3)
    assert problems == []
    assert {code for view in views for code, _ in view.cells} == {"LYT", "EOS"}
    assert views[0].cells[0][1] == pytest.approx(BOX, abs=0.1)


def test_a_code_folder_with_alpha_tiffs_is_read_and_its_boxes_come_from_the_stain(tmp_path):
    import cv2

    picture = cv2.imread(str(draw(tmp_path / "drawn.png", [("LYT", BOX)])))
    (tmp_path / "LYT").mkdir()
    cv2.imwrite(str(tmp_path / "LYT" / "LYT_0001.tiff"), cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA))
    views, problems = read_code_folders(tmp_path, "lmu", read_class_map(None), 0.3)
    assert problems == []
    assert [code for code, _ in views[0].cells] == ["LYT"]
    boxed = derive_boxes(views[0])
    assert box_agreement([draw_views(tmp_path / "x", 1)[0]], [None])["mean"] == 0
    assert boxed.cells[0][1] == pytest.approx(BOX, abs=7)


def test_a_voc_folder_is_read_through_a_class_map_and_an_unknown_name_is_reported(tmp_path):
    draw(tmp_path / "JPEGImages" / "a.jpg", [("LYT", BOX)])
    (tmp_path / "Annotations").mkdir()
    thing = (
        "<object><name>{}</name><bndbox><xmin>24</xmin><ymin>26</ymin><xmax>66</xmax><ymax>70</ymax></bndbox></object>"
    )
    (tmp_path / "Annotations" / "a.xml").write_text(f"<a>{thing.format('Lymph')}{thing.format('odd')}</a>")
    (tmp_path / "map.yaml").write_text("Lymph: LYT\n")
    views, problems = read_voc(tmp_path, "v", read_class_map(tmp_path / "map.yaml"), None)
    assert [code for code, _ in views[0].cells] == ["LYT"]
    assert [problem.kind for problem in problems] == ["unknown-name"]


def test_a_class_map_with_a_code_that_does_not_exist_is_refused(tmp_path):
    (tmp_path / "map.yaml").write_text("Lymph: LYMPH\n")
    with pytest.raises(ValueError, match="LYMPH"):
        read_class_map(tmp_path / "map.yaml")


def test_labelled_crops_keep_their_patients_and_leave_out_unsure_boxes(tmp_path):
    views, _ = read_crops(crops_folder(tmp_path, ["A", "B"]), "c", read_class_map(None), 0.3)
    assert [view.patient for view in views] == ["A", "B"]
    rows = (tmp_path / "cells.csv").read_text().splitlines()
    (tmp_path / "cells.csv").write_text("\n".join([rows[0] + ",box_score", rows[1] + ",0.05", rows[2] + ",0.9"]))
    views, _ = read_crops(tmp_path, "c", read_class_map(None), 0.3, min_box_score=0.1)
    assert [view.patient for view in views] == ["B"]


def test_no_patient_sits_on_both_sides_of_a_split(tmp_path):
    patients = [f"P{k % 9}" for k in range(60)]
    views, _ = read_crops(crops_folder(tmp_path, patients), "c", read_class_map(None), 0.3)
    for seed in range(5):
        sides = {}
        for view in split_views(views, seed=seed, val_share=0.2):
            sides.setdefault(view.patient, set()).add(view.split)
        assert all(len(own) == 1 for own in sides.values())
        assert {"train", "val"} == set.union(*sides.values())


@pytest.mark.slow
def test_prepare_splits_nine_to_one_within_types_and_writes_a_manifest_that_does_not_move(tmp_path):
    source = {"name": "y", "layout": "yolo", "root": str(yolo_folder(tmp_path / "y", 40)), "um_per_px": 0.3}
    first = prepare(sources_file(tmp_path, source), tmp_path / "a", seed=1)
    again = prepare(sources_file(tmp_path, source), tmp_path / "b", seed=1)
    assert [view.cells[0][0] for view in read_dataset(first, "val")].count("LYT") == 2
    assert len(read_dataset(first, "val")) == 4
    manifests = [json.loads(path.read_text())["manifest_sha256"] for path in (first, again)]
    assert manifests[0] == manifests[1]
    assert (tmp_path / "a" / "balance.png").stat().st_size > 1000
    assert "atypical lymphocyte" in (tmp_path / "a" / "balance.txt").read_text()


@pytest.mark.slow
def test_problems_stop_a_run_unless_they_are_allowed_by_name(tmp_path):
    root = yolo_folder(tmp_path / "y", 10, names=("LY", "strange", "RBC"))
    shutil.copy(root / "images/train/0.png", root / "images/train/copy.png")
    shutil.copy(root / "labels/train/0.txt", root / "labels/train/copy.txt")
    (root / "labels/train/lost.txt").write_text("0 0.5 0.5 0.2 0.2")
    (root / "labels/train/2.txt").write_text("0 0.95 0.5 0.4 0.2")
    sources = sources_file(tmp_path, {"name": "y", "layout": "yolo", "root": str(root), "um_per_px": 0.3})
    kinds = ("unknown-name", "missing-picture", "box-outside", "duplicate", "duplicate-across-splits")
    with pytest.raises(DatasetRefused) as refusal:
        prepare(sources, tmp_path / "out")
    assert all(kind in str(refusal.value) for kind in kinds[:3])
    assert "duplicate" in str(refusal.value)
    assert "lost.txt" in (tmp_path / "out" / "problems.txt").read_text()
    path = prepare(sources, tmp_path / "out", allow=kinds)
    hashes = [view.sha256 for view in read_dataset(path)]
    assert len(hashes) == len(set(hashes)) == 10


@pytest.mark.slow
def test_the_prepare_command_prints_the_balance_and_says_what_to_mend(tmp_path, capsys):
    root = yolo_folder(tmp_path / "y", 10)
    sources = sources_file(tmp_path, {"name": "y", "layout": "yolo", "root": str(root), "um_per_px": 0.3})
    main(["prepare", str(sources), "--out", str(tmp_path / "out")])
    assert "manifest" in capsys.readouterr().out
    (root / "labels/train/lost.txt").write_text("0 0.5 0.5 0.2 0.2")
    assert main(["prepare", str(sources), "--out", str(tmp_path / "out")]) == 2
    assert "--allow" in capsys.readouterr().err


def test_stain_boxes_agree_with_drawn_boxes(tmp_path):
    views = draw_views(tmp_path, 9)
    agreement = box_agreement(views, [stain_box(read_pixels(view.path), 0.3) for view in views])
    assert agreement["n"] == 9
    assert agreement["mean"] > 0.7


def test_a_jpeg_that_ends_early_is_read_as_far_as_it_goes(tmp_path):
    path = draw(tmp_path / "a.jpg", [("LYT", BOX)])
    path.write_bytes(path.read_bytes()[:-40])
    assert read_pixels(path).shape == (96, 96, 3)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"b\.jpg"):
        read_pixels(tmp_path / "b.jpg")
