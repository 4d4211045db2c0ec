"""Drawn fields: their truth is right, they are the same each time, and the shipped detector sees their leukocytes."""

import time

import numpy as np
import pytest

from detection.cell_types import CODES
from detection.phantom import LOOKS, draw_field

MIX = {"NGS": 12, "LYT": 8, "MON": 4, "MYO": 6, "NGB": 4, "EBO": 3, "KSC": 3, "PMO": 3, "LYA": 3, "MYB": 2, "BAS": 2}


def test_the_same_seed_draws_the_same_field_and_another_seed_another():
    first, again, other = (draw_field(300, 260, um_per_px=0.2, seed=seed, leukocytes={"NGS": 2}) for seed in (5, 5, 6))
    assert first.image.shape == (260, 300, 3)
    assert first.image.dtype == np.uint8
    np.testing.assert_array_equal(first.image, again.image)
    assert first.cells == again.cells
    assert (first.image != other.image).any()


@pytest.mark.slow
@pytest.mark.parametrize("um_per_px", [0.1, 0.21, 0.4])
def test_every_type_is_drawn_in_its_size_inside_the_field(um_per_px):
    assert set(LOOKS) == set(CODES)
    size = int(160 / um_per_px)
    field = draw_field(size, size, um_per_px=um_per_px, seed=2, leukocytes=dict.fromkeys(CODES, 1))
    assert [code for code, _ in field.cells] == list(CODES)
    for code, (x1, y1, x2, y2) in field.cells:
        assert 0 <= x1 < x2 <= size, code
        assert 0 <= y1 < y2 <= size, code
        across_um = ((x2 - x1) + (y2 - y1)) / 2 * um_per_px
        assert 0.8 * LOOKS[code].diameter_um < across_um < 1.3 * LOOKS[code].diameter_um, code
        # Something much darker than the glass is in the middle of each box.
        middle = field.image[int(y1) : int(y2), int(x1) : int(x2)]
        assert np.quantile(middle[..., 1], 0.2) < 150, code


@pytest.mark.slow
def test_no_two_leukocytes_are_in_one_place():
    cells = draw_field(900, 900, um_per_px=0.21, seed=3, leukocytes=MIX).cells
    boxes = np.array([box for _, box in cells])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(cells))
    assert apart.min() * 0.21 > 8


def test_unknown_types_and_too_many_cells_are_refused():
    with pytest.raises(ValueError, match="unknown cell types: XYZ"):
        draw_field(100, 100, um_per_px=0.2, seed=0, leukocytes={"XYZ": 1})
    with pytest.raises(ValueError, match="do not fit"):
        draw_field(100, 100, um_per_px=0.2, seed=0, leukocytes={"MON": 50})


@pytest.mark.slow
def test_a_field_is_drawn_quickly():
    start = time.process_time()
    draw_field(1200, 1200, um_per_px=0.21, seed=1, leukocytes=MIX)
    assert time.process_time() - start < 5


@pytest.mark.slow
def test_the_shipped_detector_finds_four_of_five_drawn_leukocytes(shipped_detector):
    total = found = 0
    for seed in (11, 12):
        field = draw_field(900, 900, um_per_px=0.205, seed=seed, leukocytes=MIX)
        boxes = np.array([cell.xyxy for cell in shipped_detector.find_cells(field.image, 0.205)])
        for _, (x1, y1, x2, y2) in field.cells:
            common = (np.minimum(boxes[:, 2:], [x2, y2]) - np.maximum(boxes[:, :2], [x1, y1])).clip(0).prod(1)
            union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (x2 - x1) * (y2 - y1) - common
            total += 1
            found += (common / union).max() >= 0.5
    assert found >= 0.8 * total
