"""The scale of an image from its red cells, on real and drawn fields."""

import numpy as np
import pytest
from PIL import Image

from detection.inference.scale import um_per_px_from_red_cells
from detection.phantom import draw_field


@pytest.mark.slow
@pytest.mark.parametrize("um_per_px", [0.08, 0.115, 0.21, 0.4])
def test_the_scale_of_a_drawn_field_is_met_within_a_tenth(um_per_px):
    size = int(190 / um_per_px)
    leukocytes = {"NGS": 6, "MYO": 6, "LYT": 4}
    field = draw_field(size, int(size * 0.8), um_per_px=um_per_px, seed=4, leukocytes=leukocytes)
    assert um_per_px_from_red_cells(field.image) == pytest.approx(um_per_px, rel=0.1)


def test_real_fields_have_red_cells_of_about_35_px(real_images):
    if real_images is None:
        image = draw_field(1600, 1600, um_per_px=0.21, seed=7, leukocytes={"MYO": 60}).image
    else:
        image = np.asarray(Image.open(real_images / "apl_aml/fields/AML_08_7f98e65b.jpg"))
    assert 0.19 < um_per_px_from_red_cells(image) < 0.23


@pytest.mark.slow
def test_fields_of_another_microscope_agree_with_the_boxes_that_people_drew(real_images):
    """BCCD: the median side of the drawn boxes of red cells is about 100 px, 7.5 um of which are 0.075 um each."""
    if real_images is None:
        scales = [um_per_px_from_red_cells(draw_field(640, 480, um_per_px=0.1, seed=9, leukocytes={"NGS": 1}).image)]
    else:
        paths = sorted((real_images / "bccd").rglob("*.jpg"))[:20]
        scales = [um_per_px_from_red_cells(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    known = [scale for scale in scales if scale]
    assert len(known) >= 0.8 * len(scales)
    assert 0.065 < np.median(known) < 0.11


def test_without_red_cells_no_scale_is_invented():
    assert um_per_px_from_red_cells(np.full((600, 600, 3), 240, np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    assert um_per_px_from_red_cells(noise) is None
    assert um_per_px_from_red_cells(np.zeros((20, 20, 3), np.uint8)) is None


@pytest.mark.slow
def test_a_memory_mapped_slide_is_read_in_a_few_windows(tmp_path):
    field = draw_field(900, 900, um_per_px=0.21, seed=4, leukocytes={})
    pixels = np.lib.format.open_memmap(tmp_path / "pixels.npy", mode="w+", dtype=np.uint8, shape=(5400, 5400, 3))
    pixels[:] = np.tile(field.image, (6, 6, 1))
    assert um_per_px_from_red_cells(np.load(tmp_path / "pixels.npy", mmap_mode="r")) == pytest.approx(0.21, rel=0.1)
