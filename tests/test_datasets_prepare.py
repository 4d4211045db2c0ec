"""What `prepare` refuses: patients and pictures on both sides, boxes nobody gave, damaged files, typing errors."""

import csv
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from detection.__main__ import main
from detection.lab.data.datasets import View, manifest_hash, read_dataset, read_pixels, write_dataset
from detection.lab.data.derive_boxes import derive_boxes
from detection.lab.data.prepare import DatasetRefused, prepare
from detection.lab.data.split import split_views
from detection.lab.measuring.evaluation import Found
from detection.phantom import draw_field
from tests.drawn_views import draw, draw_views

BOX = (24.0, 26.0, 66.0, 70.0)


def crops(root, rows, *, seed=0):
    """Write a picture and a row (patient, code, with box or without) for each, and return the source."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "cells.csv", "w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["file", "patient", "code", "x0", "y0", "x1", "y1"])
        for number, (patient, code, has_box) in enumerate(rows):
            draw(root / f"{number}.png", [(code, BOX)], seed=seed + number)
            writer.writerow([f"{number}.png", patient, code, *(BOX if has_box else ())])
    return {"name": root.name, "layout": "crops", "root": str(root), "um_per_px": 0.3}


def split_folder(root, patients):
    """Write a YOLO folder of (split, patient) pictures with `images.csv`, and return the source."""
    lines = ["file,patient,um_per_px"]
    for number, (split, patient) in enumerate(patients):
        draw(root / "images" / split / f"{number}.png", [("LYT", BOX)], seed=number)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        (root / "labels" / split / f"{number}.txt").write_text("0 0.46875 0.5 0.4375 0.458333")
        lines.append(f"{number}.png,{patient},0.3")
    (root / "images.csv").write_text("\n".join(lines))
    (root / "data.yaml").write_text("names: [LYT]")
    return {"name": root.name, "layout": "yolo", "root": str(root), "keep_split": True}


def written(folder, *sources):
    (folder / "sources.yaml").write_text(yaml.safe_dump(list(sources)))
    return folder / "sources.yaml"


def sides_of(path):
    sides = {}
    for view in read_dataset(path):
        sides.setdefault(view.patient, set()).add(view.split)
    return sides


def test_crops_without_boxes_get_them_from_the_stain(tmp_path):
    sources = written(tmp_path, crops(tmp_path / "c", [("A", "LYT", False), ("B", "NGS", True)]))
    views = {view.patient: view for view in read_dataset(prepare(sources, tmp_path / "out", boxes=derive_boxes))}
    assert views["A"].cells[0][0] == "LYT"
    assert views["A"].cells[0][1] == pytest.approx(BOX, abs=7)
    assert views["B"].cells == (("NGS", BOX),)
    assert not any(view.boxless for view in views.values())


@pytest.mark.slow
def test_a_crop_in_which_no_box_is_found_stops_a_run_and_is_left_out_where_allowed(tmp_path):
    source = crops(tmp_path / "c", [("A", "LYT", False), ("B", "NGS", True)])
    glass = read_pixels(tmp_path / "c" / "0.png")
    glass[:] = (250, 232, 205)
    cv2.imwrite(str(tmp_path / "c" / "0.png"), glass[..., ::-1])
    with pytest.raises(DatasetRefused, match="no-box: 1"):
        prepare(written(tmp_path, source), tmp_path / "out", boxes=derive_boxes)
    path = prepare(tmp_path / "sources.yaml", tmp_path / "out", boxes=derive_boxes, allow=["no-box"])
    assert [view.patient for view in read_dataset(path)] == ["B"]


def test_a_detector_boxes_the_cell_in_the_middle_and_its_neighbours_stay_unlabelled(tmp_path):
    view = replace(draw_views(tmp_path, 1)[0], cells=(("LYT", (0.0, 0.0, 96.0, 96.0)),), boxless=True)
    middle, neighbour, faint = (24.0, 26.0, 66.0, 70.0), (70.0, 2.0, 95.0, 30.0), (2.0, 70.0, 20.0, 95.0)
    found = Found(np.array([middle, neighbour, faint]), np.zeros(3, int), np.array([0.6, 0.3, 0.05]))
    boxed = derive_boxes(view, found)
    assert boxed.cells == (("LYT", middle),)
    assert boxed.unlabelled == (neighbour,)
    assert not boxed.boxless
    write_dataset(tmp_path / "dataset.json", [boxed], seed=0)
    assert read_dataset(tmp_path / "dataset.json") == [boxed]
    assert manifest_hash([boxed]) != manifest_hash([replace(boxed, unlabelled=())])


def test_a_cell_that_a_detector_finds_weakly_or_as_the_whole_picture_gets_no_box(tmp_path):
    view = replace(draw_views(tmp_path, 1)[0], cells=(("LYT", (0.0, 0.0, 96.0, 96.0)),), boxless=True)
    for box, score in (((24.0, 26.0, 66.0, 70.0), 0.05), ((0.0, 0.0, 95.0, 95.0), 0.9), ((0.0, 0.0, 30.0, 30.0), 0.9)):
        assert derive_boxes(view, Found(np.array([box]), np.zeros(1, int), np.array([score]))).boxless


@pytest.mark.slow
def test_a_yolo_folder_of_webp_pictures_may_take_its_names_from_another_data_yaml(tmp_path):
    """As `oi_pbc_rest` does: the rest of a collection, without a data.yaml of its own."""
    for part in ("images", "labels"):
        (tmp_path / "rest" / part / "train").mkdir(parents=True)
    Image.fromarray(read_pixels(draw_views(tmp_path, 1)[0].path)).save(
        tmp_path / "rest" / "images" / "train" / "a.webp"
    )
    (tmp_path / "rest" / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.4 0.4")
    (tmp_path / "data.yaml").write_text("names: [LYT, EOS]\npath: .\ntrain: images/train")
    source = {
        "name": "rest",
        "layout": "yolo",
        "root": "rest",
        "data_yaml": "data.yaml",
        "keep_split": True,
        "um_per_px": 0.125,
    }
    (view,) = read_dataset(prepare(written(tmp_path, source), tmp_path / "out"))
    assert [code for code, _ in view.cells] == ["EOS"]
    assert view.split == "train"


def test_a_view_without_cells_has_no_box_to_derive(tmp_path):
    view = replace(draw_views(tmp_path, 1)[0], cells=())
    assert derive_boxes(view) == view


@pytest.mark.slow
def test_a_patient_on_both_sides_of_a_kept_split_stops_a_run_and_leaves_training_where_allowed(tmp_path):
    source = split_folder(tmp_path / "y", [("train", "A"), ("val", "A"), ("train", "B")])
    with pytest.raises(DatasetRefused, match="patient-across-splits: 1"):
        prepare(written(tmp_path, source), tmp_path / "out")
    path = prepare(tmp_path / "sources.yaml", tmp_path / "out", allow=["patient-across-splits"])
    assert sides_of(path) == {"A": {"val"}, "B": {"train"}}


@pytest.mark.slow
def test_sources_that_share_their_patients_keep_each_on_one_side(tmp_path):
    rows = [(f"P{number}", "LYT", True) for number in range(8)]
    first, second = crops(tmp_path / "a", rows), crops(tmp_path / "b", rows, seed=50)
    shared = [source | {"patients": "shared"} for source in (first, second)]
    for seed in range(4):
        path = prepare(written(tmp_path, *shared), tmp_path / "out", seed=seed, val_share=0.3)
        assert all(len(sides) == 1 for sides in sides_of(path).values())
    apart = [first | {"val_patients": ["P0"]}, second | {"val_patients": ["P1"]}]
    prepare(written(tmp_path, *apart), tmp_path / "out")
    with pytest.raises(DatasetRefused, match="patient-across-splits"):
        prepare(written(tmp_path, *(source | {"patients": "shared"} for source in apart)), tmp_path / "out")


@pytest.mark.slow
def test_validation_patients_whom_nobody_knows_are_named(tmp_path):
    source = crops(tmp_path / "c", [("06", "LYT", True), ("07", "LYT", True)])
    with pytest.raises(ValueError, match="names 6, of whom"):
        prepare(written(tmp_path, source | {"val_patients": ["06", "6"]}), tmp_path / "out")
    text = (tmp_path / "sources.yaml").read_text().replace("'06'", "06").replace("- '6'\n", "")
    (tmp_path / "sources.yaml").write_text(text)
    assert "- 06\n" in text
    assert sides_of(prepare(tmp_path / "sources.yaml", tmp_path / "out")) == {"06": {"val"}, "07": {"train"}}


def test_one_view_without_a_split_does_not_redraw_the_others():
    views = [View(f"{n}", "y", 96, 96, (), split="val" if n < 30 else "train") for n in range(60)]
    views += [View("new", "y", 96, 96, (), patient="A"), View("known", "y", 96, 96, (), patient="A", split="val")]
    for seed in range(3):
        sides = [view.split for view in split_views(views, seed=seed, val_share=0.1, keep=True)]
        assert sides == ["val"] * 30 + ["train"] * 30 + ["val"] * 2


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_patients_still_give_a_validation_side(tmp_path, count):
    views = [View(f"{n}", "c", 96, 96, (("LYT", BOX),) * 9, patient=f"P{n % count}") for n in range(3 * count)]
    for seed in range(3):
        held = {view.patient for view in split_views(views, seed=seed, val_share=0.1) if view.split == "val"}
        assert len(held) == 1


@pytest.mark.slow
def test_a_source_of_one_patient_says_that_nothing_is_held_back(tmp_path, capsys):
    prepare(written(tmp_path, crops(tmp_path / "c", [("A", "LYT", True), ("A", "EOS", True)])), tmp_path / "out")
    said = capsys.readouterr().err
    assert "c: none of 2 views (1 patients) is on the validation side." in said
    assert "nothing can be measured" in said


@pytest.mark.slow
def test_a_damaged_picture_stops_a_run_and_is_left_out_where_allowed(tmp_path):
    source = crops(tmp_path / "c", [("A", "LYT", True), ("B", "LYT", True)])
    path = tmp_path / "c" / "0.png"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DatasetRefused, match="unreadable-picture: 1"):
        prepare(written(tmp_path, source), tmp_path / "out")
    path = prepare(tmp_path / "sources.yaml", tmp_path / "out", allow=["unreadable-picture"])
    assert [view.patient for view in read_dataset(path)] == ["B"]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "kind"), [("LYT", "duplicate"), ("EOS", "conflicting-labels")])
def test_one_picture_in_two_files_is_found_by_its_pixels_and_its_labels_are_compared(tmp_path, code, kind):
    source = crops(tmp_path / "c", [("", "LYT", True), ("", code, True)])
    pixels = read_pixels(tmp_path / "c" / "0.png")
    cv2.imwrite(str(tmp_path / "c" / "1.png"), pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    with pytest.raises(DatasetRefused, match=f"{kind}: 1"):
        prepare(written(tmp_path, source), tmp_path / "out")
    assert len(read_dataset(prepare(tmp_path / "sources.yaml", tmp_path / "out", allow=[kind]))) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"val_patient": ["A"]}, "unknown keys: val_patient"),
        ({"layout": "coco"}, "unknown layout coco"),
        ({"root": "nowhere"}, "there is no folder"),
        ({"root": "."}, r"cells\.csv is absent"),
        ({"layout": "voc"}, "No view came of c"),
        ({"um_per_px": "wide"}, "um_per_px must be a number"),
        ({"um_per_px": -1}, "um_per_px must be above 0"),
        ({"keep_split": "maybe"}, "keep_split is true or false"),
        ({"patients": "all"}, "patients is own or shared"),
        ({"val_patients": "A"}, "val_patients must be a list"),
        ({"class_map": "map.yaml"}, "codes that do not exist: LYMPH"),
        ({"class_map": "lost.yaml"}, r"lost\.yaml is absent"),
        ({"data_yaml": "data.yaml"}, "data_yaml is for the layout yolo only"),
        ({"name": None}, "Source 1 lacks name"),
        ({"licence": {"CC": "BY"}}, "licence must be one value"),
    ],
)
def test_a_typing_error_in_a_source_is_said_by_the_command(tmp_path, capsys, change, sentence):
    (tmp_path / "map.yaml").write_text("Lymph: LYMPH\n")
    source = crops(tmp_path / "c", [("A", "LYT", True), ("B", "LYT", True)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text("of an earlier run")
    assert main(["prepare", str(written(tmp_path, source | change)), "--out", str(tmp_path / "out")]) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_typing_error_beside_the_sources_is_said_by_the_command(tmp_path, capsys):
    source = crops(tmp_path / "c", [("A", "LYT", True), ("B", "LYT", True)])
    sources, out = written(tmp_path, source, source), ["--out", str(tmp_path / "out")]
    for text, sentence in (("c: {root: c}", "must be a list of sources"), ("- [", "no valid YAML in line 1")):
        (tmp_path / "odd.yaml").write_text(text)
        assert main(["prepare", str(tmp_path / "odd.yaml"), *out]) == 2
        assert sentence in capsys.readouterr().err
    for arguments, sentence in (
        ([str(sources)], "Two sources have the name c"),
        ([str(tmp_path / "lost.yaml")], "is absent"),
        ([str(sources), "--allow", "duplicates"], "no kind of problem duplicates"),
        ([str(sources), "--boxes", "detector"], "--weights"),
    ):
        assert main(["prepare", *arguments, *out]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_an_earlier_data_set_is_removed_when_the_data_is_refused(tmp_path):
    sources = written(tmp_path, crops(tmp_path / "c", [("A", "LYT", True), ("B", "LYT", True)]))
    assert prepare(sources, tmp_path / "out").is_file()
    (tmp_path / "c" / "0.png").unlink()
    with pytest.raises(DatasetRefused, match="missing-picture"):
        prepare(sources, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_data_set_file_is_replaced_whole(tmp_path):
    views = draw_views(tmp_path, 2)
    write_dataset(tmp_path / "dataset.json", views)
    (tmp_path / "reader.json").hardlink_to(tmp_path / "dataset.json")  # what a reader that opened it sees
    write_dataset(tmp_path / "dataset.json", views[:1])
    assert read_dataset(tmp_path / "reader.json") == views
    assert read_dataset(tmp_path / "dataset.json") == views[:1]
    assert list(tmp_path.glob("*.part")) == []


def test_the_manifest_tells_scales_and_patients_apart(tmp_path):
    [view] = draw_views(tmp_path, 1)
    others = [replace(view, um_per_px=0.1), replace(view, patient="A"), replace(view, split="val")]
    assert len({manifest_hash([own]) for own in [view, *others]}) == 4


def test_the_boxes_command_prints_how_the_overlaps_lie(tmp_path, capsys):
    write_dataset(tmp_path / "dataset.json", draw_views(tmp_path, 6, split="val"))
    main(["boxes", str(tmp_path / "dataset.json")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["IoU", "all", "EOS", "LYT", "NGS"] in rows
    counts = [[int(part) for part in row[1:]] for row in rows if row and row[0][1:2] == "."]
    assert len(counts) == 10
    assert [sum(column) for column in zip(*counts)] == [6, 2, 2, 2]


@pytest.mark.slow
def test_a_source_without_a_scale_is_measured_by_its_red_cells_or_refused_and_never_guessed(tmp_path, capsys):
    source = crops(tmp_path / "c", [("A", "LYT", True), ("B", "LYT", True)])
    del source["um_per_px"]
    with pytest.raises(DatasetRefused, match="no-scale"):
        prepare(written(tmp_path, source), tmp_path / "out")
    field = draw_field(500, 500, um_per_px=0.2, seed=2, leukocytes={"LYT": 1})
    cv2.imwrite(str(tmp_path / "c" / "0.png"), field.image[..., ::-1])
    views = read_dataset(prepare(written(tmp_path, source), tmp_path / "out"))
    assert [view.um_per_px for view in views] == [pytest.approx(0.2, rel=0.12)] * 2
    assert "their red cells measure" in capsys.readouterr().err
