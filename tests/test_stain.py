"""Nuclei by stain, the check that does not trust the detector, on real and drawn fields."""

import time

import numpy as np
import pytest
from PIL import Image

from detection.inference.nuclei import find_nuclei, least_erythroblast_stain, uncovered_nuclei, without_nucleus
from detection.lab.data.datasets import read_pixels
from detection.lab.data.readers import read_class_map, read_crops, read_yolo
from detection.phantom import draw_field

MIX = {"NGS": 10, "LYT": 10, "MON": 6, "MYO": 10, "NGB": 6, "EBO": 4, "PMO": 4, "LYA": 4, "MMZ": 3, "MYB": 3}


def centres_in(nuclei, box):
    x, y = (nuclei[:, 0] + nuclei[:, 2]) / 2, (nuclei[:, 1] + nuclei[:, 3]) / 2
    return (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])


@pytest.mark.slow
def test_each_drawn_leukocyte_has_its_nucleus_and_red_cells_and_platelets_have_none():
    field = draw_field(1200, 1200, um_per_px=0.21, seed=6, leukocytes=MIX)
    nuclei = find_nuclei(field.image, 0.21)
    boxes = np.array([box for _, box in field.cells])
    assert np.mean([centres_in(nuclei, box).any() for box in boxes]) >= 0.97
    assert len(uncovered_nuclei(nuclei, boxes)) <= 1
    assert len(nuclei) <= 1.1 * len(boxes)  # the lobes of a neutrophil are one nucleus


def test_what_the_detector_left_out_is_shown_and_what_it_found_is_not():
    field = draw_field(900, 900, um_per_px=0.21, seed=8, leukocytes={"MYO": 12})
    nuclei = find_nuclei(field.image, 0.21)
    boxes = [box for _, box in field.cells]
    missed = uncovered_nuclei(nuclei, boxes[3:])
    assert len(missed) == 3
    for box in boxes[:3]:
        assert centres_in(missed, box).sum() == 1
    assert len(uncovered_nuclei(nuclei, [])) == len(nuclei)
    assert uncovered_nuclei(nuclei[:0], boxes).shape == (0, 4)


def test_boxes_around_red_cells_are_told_from_boxes_around_leukocytes():
    field = draw_field(900, 900, um_per_px=0.21, seed=9, leukocytes=dict.fromkeys(MIX, 1))
    boxes = np.array([box for _, box in field.cells])
    assert not without_nucleus(field.image, boxes).any()
    red_cells = draw_field(900, 900, um_per_px=0.21, seed=9, leukocytes={})
    assert without_nucleus(red_cells.image, boxes).mean() > 0.9  # a platelet may lie in one
    assert without_nucleus(field.image, []).shape == (0,)


@pytest.mark.slow
def test_erythroblasts_of_every_source_are_as_dark_as_they_must_be(real_images):
    if real_images is None:
        field = draw_field(900, 900, um_per_px=0.21, seed=4, leukocytes={"EBO": 12, "NGS": 4})
        boxes = [box for code, box in field.cells if code == "EBO"]
        assert not without_nucleus(field.image, boxes, least_erythroblast_stain(field.image)).any()
        return
    views, _ = read_yolo(real_images / "oi_pbc", "oi_pbc", read_class_map(None), 0.102)
    views += read_crops(real_images / "apl_aml", "apl_aml", read_class_map(None), 0.115)[0]
    bare = []
    for view in views[::5]:
        if boxes := [box for code, box in view.cells if code == "EBO"]:
            image = read_pixels(view.path)
            bare += without_nucleus(image, boxes, least_erythroblast_stain(image)).tolist()
    assert len(bare) >= 50
    assert sum(bare) <= 0.02 * len(bare)


def test_a_red_cell_with_a_dent_is_no_erythroblast():
    image = np.full((400, 400, 3), (250, 226, 199), np.uint8)
    y, x = np.mgrid[:400, :400]
    for at, radius, colour in (
        ((100, 100), 18, (190, 130, 140)),
        ((100, 100), 9, (150, 105, 125)),  # the dent: stained 0.3, more than glass and any red cell
        ((300, 300), 26, (118, 88, 152)),  # a leukocyte's nucleus
    ):
        image[(x - at[0]) ** 2 + (y - at[1]) ** 2 < radius**2] = colour
    dent, nucleus = (80, 80, 120, 120), (270, 270, 330, 330)
    assert not without_nucleus(image, [dent, nucleus]).any()
    assert without_nucleus(image, [dent, nucleus], least_erythroblast_stain(image)).tolist() == [True, False]


def test_no_leukocyte_of_any_source_is_taken_for_bare(real_images):
    """Boxes that people drew around white cells of BCCD, the palest stain we hold."""
    if real_images is None:
        return
    import re

    bare = []
    for path in sorted((real_images / "bccd").rglob("*.xml"))[::3]:
        items = re.findall(r"<object>.*?</object>", path.read_text(), re.DOTALL)
        boxes = [
            [float(value) for value in re.findall(r"<(?:xmin|ymin|xmax|ymax)>([\d.]+)<", item)]
            for item in items
            if "WBC" in item
        ]
        [picture] = (real_images / "bccd").rglob(f"{path.stem}.jpg")
        bare += without_nucleus(np.asarray(Image.open(picture).convert("RGB")), boxes).tolist()
    assert len(bare) >= 25
    assert not any(bare)


def test_nuclei_that_touch_are_counted_one_by_one():
    image = np.full((400, 400, 3), (250, 226, 199), np.uint8)
    y, x = np.mgrid[:400, :400]
    for at in (150, 192, 234):  # 42 px apart, radius 23 px of 0.21 um: three blasts' nuclei in a row
        image[(x - at) ** 2 + (y - 200) ** 2 < 23**2] = (118, 88, 152)
    assert len(find_nuclei(image, 0.21)) == 3


def test_a_pale_bare_nucleus_counts_and_the_cytoplasm_of_a_dark_one_does_not():
    image = np.full((600, 600, 3), (250, 226, 199), np.uint8)
    y, x = np.mgrid[:600, :600]
    for at, radius, colour in (
        ((150, 150), 40, (163, 150, 189)),  # deep blue cytoplasm, 17 um
        ((150, 150), 26, (118, 88, 152)),  # and its dark nucleus
        ((430, 150), 30, (140, 85, 148)),  # a bare nucleus, redder and paler
        ((150, 430), 18, (206, 138, 135)),  # a red cell
        ((430, 430), 9, (140, 85, 148)),  # a large platelet
    ):
        image[(x - at[0]) ** 2 + (y - at[1]) ** 2 < radius**2] = colour
    nuclei = find_nuclei(image, 0.21)
    assert len(nuclei) == 2
    assert centres_in(nuclei, (400, 120, 460, 180)).sum() == 1


def test_glass_and_black_and_tiny_pictures_have_no_nuclei():
    for shape in ((500, 500, 3), (1, 1, 3), (3, 900, 3)):
        assert find_nuclei(np.full(shape, 235, np.uint8), 0.2).shape == (0, 4)
        assert find_nuclei(np.zeros(shape, np.uint8), 0.2).shape == (0, 4)


@pytest.mark.slow
def test_real_fields_show_many_nuclei_or_hardly_one_and_soon(real_images):
    if real_images is None:
        rich = draw_field(2400, 2400, um_per_px=0.205, seed=2, leukocytes={"MYO": 90, "MON": 30}).image
        empty = draw_field(1500, 1500, um_per_px=0.205, seed=3, leukocytes={}).image
    else:
        rich, empty = (
            np.asarray(Image.open(real_images / "apl_aml/fields" / name))
            for name in ("AML_08_7f98e65b.jpg", "AML_23_cb9b48c5.jpg")
        )
    start = time.process_time()
    nuclei = find_nuclei(rich, 0.205)
    assert time.process_time() - start < 6
    assert 110 <= len(nuclei) <= 260
    assert len(find_nuclei(empty, 0.205)) <= 3


@pytest.mark.slow
def test_another_microscope_and_stain_are_understood(real_images):
    """BCCD: boxes of white cells that people drew; most hold a nucleus and hardly a nucleus lies outside."""
    if real_images is None:
        return _another_tint()
    import re

    held, boxes_seen, outside = 0, 0, 0
    for path in sorted((real_images / "bccd").rglob("*.xml"))[:40]:
        boxes = [
            [float(value) for value in re.findall(r"<(?:xmin|ymin|xmax|ymax)>([\d.]+)<", item)]
            for item in re.findall(r"<object>.*?</object>", path.read_text(), re.DOTALL)
            if "WBC" in item
        ]
        [picture] = (real_images / "bccd").rglob(f"{path.stem}.jpg")
        nuclei = find_nuclei(np.asarray(Image.open(picture).convert("RGB")), 0.078)
        held += sum(centres_in(nuclei, box).any() for box in boxes)
        boxes_seen += len(boxes)
        outside += len(uncovered_nuclei(nuclei, boxes))
    assert held >= 0.75 * boxes_seen
    assert outside <= 0.1 * boxes_seen
    return None


def _another_tint():
    field = draw_field(900, 900, um_per_px=0.21, seed=8, leukocytes={"MYO": 12})
    bluish = (field.image * np.array([0.85, 0.9, 1.0])).astype(np.uint8)
    assert len(find_nuclei(bluish, 0.21)) == 12
