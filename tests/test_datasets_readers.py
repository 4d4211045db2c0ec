"""Foreign label files are read as they were meant, and what cannot be read is said by file and line."""

import shutil

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from detection.lab.data.datasets import picture_size, read_pixels
from detection.lab.data.readers import read_class_map, read_crops, read_voc, read_yolo
from tests.drawn_views import draw

BOX = (24.0, 26.0, 66.0, 70.0)
LINE = "0 0.46875 0.5 0.4375 0.458333"
CORNERS = "<xmin>24</xmin><ymin>26</ymin><xmax>66</xmax><ymax>70</ymax>"


def yolo(root, pictures, **card):
    """Write pictures (path: label text or None) and `data.yaml`, and read them."""
    for number, (path, label) in enumerate(pictures.items()):
        draw(root / path, [("LYT", BOX)], seed=number)
        if label is not None:
            beside = root / path.replace("images", "labels")
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.with_suffix(".txt").write_text(label)
    (root / "data.yaml").write_text(yaml.safe_dump({"names": ["LY", "EO"]} | card, sort_keys=False))
    return read_yolo(root, "y", read_class_map(None), 0.3)


def crops(root, text, encoding="utf-8"):
    draw(root / "a.png", [("NGS", BOX)])
    (root / "cells.csv").write_text(text, encoding)
    return read_crops(root, "c", read_class_map(None), 0.3)


def voc(root, annotation):
    draw(root / "JPEGImages" / "a.jpg", [("LYT", BOX)])
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(annotation)
    return read_voc(root, "v", read_class_map(None), None)


def codes_of(views):
    return [code for view in views for code, _ in view.cells]


def kinds_of(problems):
    return [problem.kind for problem in problems]


def test_names_that_are_numbered_in_another_order_keep_their_numbers(tmp_path):
    views, problems = yolo(tmp_path, {"images/a.png": LINE}, names={1: "EO", 0: "LY"})
    assert (codes_of(views), problems) == (["LYT"], [])


def test_a_label_number_without_a_name_is_reported(tmp_path):
    views, problems = yolo(tmp_path, {"images/a.png": LINE}, names={1: "EO", 2: "LY"})
    assert (codes_of(views), kinds_of(problems)) == ([], ["unknown-name"])
    assert problems[0].where == "labels/a.txt:1"


def test_label_lines_that_cannot_be_read_are_reported_by_line_and_blank_ones_are_skipped(tmp_path):
    bad = ["0 0.5 0.5", "LY 0.5 0.5 0.2 0.2", "0 nan 0.5 0.2 0.2", "0.5 0.5 0.5 0.2 0.2"]
    views, problems = yolo(tmp_path, {"images/a.png": "\n\n".join([LINE, *bad, LINE])})
    assert codes_of(views) == ["LYT", "LYT"]
    assert [(p.kind, p.where) for p in problems] == [("bad-label", f"labels/a.txt:{n}") for n in (3, 5, 7, 9)]


def test_a_polygon_becomes_its_bounding_box_and_a_score_behind_a_box_is_passed_over(tmp_path):
    polygon = "0 0.25 0.4 0.5 0.270833 0.6875 0.4 0.5 0.729167"
    views, problems = yolo(tmp_path, {"images/a.png": f"{polygon}\n{LINE} 0.9"})
    assert problems == []
    assert [box for _, box in views[0].cells] == [pytest.approx(BOX, abs=0.1)] * 2


@pytest.mark.parametrize(
    ("pictures", "card"),
    [
        (("images/train/a.png", "images/val/b.png"), {}),
        (("train/images/a.png", "valid/images/b.png"), {"train": "../train/images", "val": "../valid/images"}),
        (("train/images/a.png", "valid/images/b.png"), {}),
        (("images/train/p1/a.png", "images/val/p2/b.png"), {"train": "images/train", "val": "images/val"}),
        (("images/one/a.png", "images/two/b.png"), {"path": ".", "train": ["images/one"], "val": "images/two"}),
        (("set/images/a/a.png", "set/images/b/b.png"), {"path": "set", "train": "images/a", "val": "images/b"}),
        (("images/a.png", "images/b.png"), {"train": "train.txt", "val": "val.txt"}),
    ],
)
def test_the_layouts_of_yolo_folders_are_read_with_their_splits(tmp_path, pictures, card):
    (tmp_path / "train.txt").write_text("./images/a.png\n")
    (tmp_path / "val.txt").write_text("images/b.png\n")
    views, problems = yolo(tmp_path, dict.fromkeys(pictures, LINE), **card)
    assert problems == []
    assert [view.split for view in views] == ["train", "val"]
    assert codes_of(views) == ["LYT", "LYT"]


def test_pictures_that_are_named_for_both_sides_have_no_split(tmp_path):
    views, _ = yolo(tmp_path, {"images/a.png": LINE}, train="images", val="images")
    assert [view.split for view in views] == [""]


def test_what_a_yolo_folder_lacks_is_reported(tmp_path):
    _, problems = yolo(tmp_path, {"images/a.png": None, "images/b.png": None}, train="images", test="images/test")
    assert sorted(kinds_of(problems)) == ["missing-picture", "no-labels"]
    draw(tmp_path / "images" / "a.jpg", [("LYT", BOX)])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(LINE)
    (tmp_path / "labels" / "classes.txt").write_text("LY\nEO\n")
    (tmp_path / "labels" / "lost.txt").write_text(LINE)
    views, problems = read_yolo(tmp_path, "y", read_class_map(None), 0.3)
    assert [p.where for p in problems if p.kind == "bad-label"] == ["images/a.png"]
    assert [p.where for p in problems if p.kind == "missing-picture"] == ["data.yaml", "labels/lost.txt"]
    assert len(views) == 2


@pytest.mark.parametrize("card", ["names: [LY, EO", "path: .\n", "names: {one: LY}"])
def test_a_data_yaml_that_cannot_be_used_gives_a_sentence(tmp_path, card):
    (tmp_path / "data.yaml").write_text(card)
    with pytest.raises(ValueError, match=r"data\.yaml"):
        read_yolo(tmp_path, "y", read_class_map(None), 0.3)


def test_a_table_with_semicolons_decimal_commas_and_a_byte_order_mark_is_read(tmp_path):
    views, problems = crops(tmp_path, "file;code;x0;y0;x1;y1\na.png;NGS;24,0;26,0;66,0;70,0\n", "utf-8-sig")
    assert problems == []
    assert views[0].cells == (("NGS", BOX),)


def test_a_row_with_a_box_that_cannot_be_read_is_reported_by_line(tmp_path):
    head = "file,code,x0,y0,x1,y1\n"
    views, problems = crops(tmp_path, head + "a.png,NGS,24,26,66,70\na.png,NGS,x,26,66,70\na.png,NGS,24,26,,\n")
    assert len(views[0].cells) == 1
    assert [(p.kind, p.where) for p in problems] == [("bad-label", "cells.csv:3"), ("bad-label", "cells.csv:4")]


def test_a_table_without_its_column_gives_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no column `file`"):
        crops(tmp_path, "picture,code\na.png,NGS\n")


def test_a_row_without_a_box_waits_for_one_unless_its_picture_holds_other_cells(tmp_path):
    views, problems = crops(tmp_path, "file,code\na.png,NGS\n")
    assert (views[0].cells, views[0].boxless, problems) == ((("NGS", (0.0, 0.0, 96.0, 96.0)),), True, [])
    views, problems = crops(tmp_path, "file,code,x0,y0,x1,y1\na.png,NGS,24,26,66,70\na.png,EOS,,,,\n")
    assert (views, kinds_of(problems)) == ([], ["no-box"])


def test_a_voc_picture_is_the_one_that_its_file_names(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "JPEGImages" / "a.csv").write_text("no picture")
    thing = f"<object><name>LY</name><bndbox>{CORNERS}</bndbox></object>"
    views, problems = voc(tmp_path, f"<a>{thing}</a>")
    assert (views[0].path[-5:], views[0].cells, problems) == ("a.jpg", (("LYT", BOX),), [])
    draw(tmp_path / "JPEGImages" / "other.png", [("LYT", BOX)])
    (tmp_path / "Annotations" / "a.xml").write_text(f"<a><filename>C:\\old\\other.png</filename>{thing}</a>")
    views, _ = read_voc(tmp_path, "v", read_class_map(None), None)
    assert views[0].path.endswith("other.png")


@pytest.mark.parametrize(
    ("annotation", "kept"),
    [
        ("<a><object><name>LY</name></object></a>", 1),
        ("<a><object><name>LY</name><bndbox><xmin>x</xmin></bndbox></object></a>", 1),
        ("<a><object>", 0),
    ],
)
def test_a_voc_file_that_cannot_be_read_is_reported(tmp_path, annotation, kept):
    views, problems = voc(tmp_path, annotation)
    assert (len(views), codes_of(views), kinds_of(problems)) == (kept, [], ["bad-label"])


@pytest.mark.parametrize("nothing", ["-", "'-'", "none"])
def test_a_class_map_says_what_is_no_leukocyte_and_keeps_names_that_look_like_answers(tmp_path, nothing):
    (tmp_path / "map.yaml").write_text(f"Debris: {nothing}\nNo: LYT\n06: EOS\n")
    names = read_class_map(tmp_path / "map.yaml")
    assert (names["Debris"], names["No"], names["06"]) == ("-", "LYT", "EOS")


@pytest.mark.parametrize("text", ["a: [", "- LYT\n"])
def test_a_class_map_that_cannot_be_read_gives_a_sentence(tmp_path, text):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"map\.yaml"):
        read_class_map(tmp_path / "map.yaml")


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_what_is_transparent_in_a_training_picture_becomes_white(tmp_path, ending):
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, 32:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / f"a.{ending}")
    pixels = read_pixels(tmp_path / f"a.{ending}")
    assert (pixels[:, :32] == 255).all()
    assert (pixels[:, 32:] == 0).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_size_and_pixels_of_a_turned_training_picture_agree(tmp_path, ending, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    image = np.full((48, 96, 3), 255, np.uint8)
    image[:24, :48] = 0
    Image.fromarray(image).save(tmp_path / f"a.{ending}", exif=exif)
    pixels = read_pixels(tmp_path / f"a.{ending}")
    assert picture_size(tmp_path / f"a.{ending}") == pixels.shape[1::-1] == ((96, 48) if turn < 5 else (48, 96))
    dark = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[turn]
    assert (pixels[dark] < 9).all()
    assert (pixels[dark[0], -1 - dark[1]] > 246).all()


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_picture_whose_orientation_is_nonsense_is_upright(tmp_path, ending):
    for exif in (b"nonsense", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0ab\0\0"):
        Image.new("RGB", (96, 48)).save(tmp_path / f"a.{ending}", exif=exif)
        assert picture_size(tmp_path / f"a.{ending}") == (96, 48)
        assert read_pixels(tmp_path / f"a.{ending}").shape == (48, 96, 3)


def test_a_jpeg_of_which_half_is_missing_is_not_read(tmp_path):
    noise = np.random.default_rng(0).integers(150, 250, (96, 96, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), noise)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-60])
    assert read_pixels(tmp_path / "a.jpg").shape == (96, 96, 3)
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"a\.jpg"):
        read_pixels(tmp_path / "a.jpg")


def test_label_files_keep_apart_pictures_of_one_name_in_two_folders(tmp_path):
    draw(tmp_path / "images" / "train" / "p1" / "a.png", [("LYT", BOX)])
    views, problems = yolo(
        tmp_path, {"images/train/p1/a.png": LINE, "images/train/p2/a.png": LINE.replace("0", "1", 1)}
    )
    assert (codes_of(views), problems) == (["LYT", "EOS"], [])
    shutil.rmtree(tmp_path / "labels" / "train" / "p2")
    views, _ = read_yolo(tmp_path, "y", read_class_map(None), 0.3)
    assert codes_of(views) == ["LYT"]
