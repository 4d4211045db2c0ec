"""Round pictures on black: the surround takes no part in scale, stain or detection; scale functions never raise."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detection.inference import scale
from detection.inference.detector import Detector
from detection.inference.nuclei import find_nuclei
from detection.inference.reading import read_field
from detection.inference.scale import um_per_px_from_red_cells
from detection.inference.surround import surround_mask, without_surround
from detection.phantom import draw_field


def on_black(image, *, rim_px=0):
    """Show a picture through a round opening, its rim sharp or soft."""
    height_px, width_px = image.shape[:2]
    y, x = np.mgrid[:height_px, :width_px]
    away = np.hypot(y - height_px / 2, x - width_px / 2)
    light = np.clip((min(height_px, width_px) / 2 - away) / max(rim_px, 1), 0, 1)
    return (image * light[..., None]).astype(np.uint8)


@pytest.fixture(scope="module")
def field():
    return draw_field(900, 900, um_per_px=0.2, seed=5, leukocytes={"NGS": 5, "MYO": 4, "LYT": 4})


@pytest.mark.parametrize("rim_px", [0, 30])
def test_a_round_picture_on_black_is_measured_like_its_inside(field, rim_px):
    assert um_per_px_from_red_cells(on_black(field.image, rim_px=rim_px)) == pytest.approx(0.2, rel=0.12)


def opening(name):
    """Where a picture of 900 x 900 px is seen."""
    y, x = np.mgrid[:900, :900]
    return {
        "round": np.hypot(y - 450, x - 450) < 440,
        "oval": np.hypot((y - 450) / 420, (x - 450) / 300) < 1,
        "off centre": np.hypot(y - 380, x - 560) < 480,
        "square": (abs(y - 450) < 330) & (abs(x - 450) < 330),
        "letterbox": abs(y - 450) < 320,
        "one side": x > 200,
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["round", "oval", "off centre", "square", "letterbox", "one side"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (45, 40, 42), (128, 128, 128), (50, 30, 20), (5, 5, 60)])
def test_a_surround_of_any_colour_and_shape_takes_no_part_in_the_scale(field, name, colour):
    picture = field.image.copy()
    picture[~opening(name)] = colour
    assert um_per_px_from_red_cells(picture) == pytest.approx(0.2, rel=0.12)
    if max(colour) < 110:
        nuclei = find_nuclei(without_surround(picture), 0.2)
        centres = ((nuclei[:, :2] + nuclei[:, 2:]) / 2).astype(int)
        assert opening(name)[centres[:, 1], centres[:, 0]].all()


BRIGHT = [
    (40, 90, 255),
    (0, 255, 255),
    (0, 174, 239),
    (150, 190, 240),
    (0, 255, 0),
    (255, 255, 0),
    (255, 0, 255),
    (255, 0, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["round", "square", "one side"])
@pytest.mark.parametrize("colour", BRIGHT)
def test_a_bright_surround_of_any_colour_holds_no_nuclei_and_hides_none(field, name, colour):
    """Blue is stained like a nucleus, and what is bright in green was taken for the glass."""
    inside = opening(name)
    alone = field.image.copy()
    alone[~inside] = np.median(field.image.reshape(-1, 3), axis=0)
    expected = find_nuclei(alone, 0.2)
    picture = field.image.copy()
    picture[~inside] = colour
    nuclei = find_nuclei(without_surround(picture), 0.2)
    centres = ((nuclei[:, :2] + nuclei[:, 2:]) / 2).astype(int)
    assert inside[centres[:, 1], centres[:, 0]].all()
    assert abs(len(nuclei) - len(expected)) <= 1


def test_overexposed_glass_is_no_surround(field):
    bright = field.image.copy()
    bright[bright[..., 1] > np.quantile(bright[..., 1], 0.5)] = 255
    assert without_surround(bright, bright=True) is bright


@pytest.mark.slow
def test_the_surround_holds_no_nuclei_and_no_cells(field, shipped_detector):
    picture = on_black(field.image, rim_px=30)
    reading = read_field(picture, shipped_detector, 0.2)
    centres = (reading.boxes[:, :2] + reading.boxes[:, 2:]) / 2
    assert len(centres) >= 4
    assert (np.hypot(*(centres - 450).T) < 450).all()
    nuclei = find_nuclei(without_surround(picture), 0.2)
    assert (np.hypot(*((nuclei[:, :2] + nuclei[:, 2:]) / 2 - 450).T) < 450).all()


def test_a_picture_without_a_surround_is_not_copied(field):
    assert without_surround(field.image, bright=True) is field.image
    dark_corner = field.image.copy()
    dark_corner[:20, :20] = 0  # a mark, not a surround
    assert without_surround(dark_corner) is dark_corner
    black = np.zeros((64, 64, 3), np.uint8)
    assert without_surround(black) is black


@pytest.mark.slow
def test_the_round_picture_of_a_phone_on_the_eyepiece_is_read(real_images, shipped_detector, field):
    picture = on_black(field.image, rim_px=40)
    if real_images:
        picture = np.asarray(Image.open(real_images / "odd" / "round_black_vignette.jpg").convert("RGB"))
    measured = um_per_px_from_red_cells(picture)
    assert measured is None or 0.02 <= measured <= 1
    assert read_field(picture, shipped_detector, 0.05 if real_images else 0.2).cells
    assert 0.1 < surround_mask(picture[::2, ::2]).mean() < 0.6


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
def test_the_scale_functions_never_raise_on_any_mask(height, width, seed, share):
    rng = np.random.default_rng(seed)
    dark = (rng.random((height, width)) < share).astype(np.uint8)
    nuclear = (rng.random((height, width)) < 0.2).astype(np.uint8)
    for diameters in ([*scale._single(dark.copy(), nuclear)], scale._inscribed(dark.copy(), nuclear)):
        assert all(np.isfinite(diameters))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255))
def test_a_scale_is_measured_or_not_on_any_picture_and_lies_in_the_range(height, width, seed, low, high):
    rng = np.random.default_rng(seed)
    picture = rng.integers(min(low, high), max(low, high) + 1, (height, width, 3), dtype=np.uint8)
    measured = um_per_px_from_red_cells(np.kron(picture, np.ones((5, 5, 1), np.uint8)))
    assert measured is None or 0.02 <= measured <= 1


def test_a_black_picture_with_a_few_bright_specks_is_left_as_it_is():
    """Widened by its soft rim the surround would cover all of it, and nothing would tell the colour of the glass."""
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[::6, ::6] = 255
    assert without_surround(picture) is picture
    assert um_per_px_from_red_cells(picture) is None


@pytest.mark.slow
def test_empty_tiles_are_not_shown_to_the_network_and_no_cell_is_lost(field, shipped_detector):
    """A field on a large white picture: its cells are found as alone, at hardly more than its own tiles."""
    white = np.full((2700, 3600, 3), field.image.reshape(-1, 3).max(0), np.uint8)
    white[900:1800, 1400:2300] = field.image
    shown = []

    class Counted:
        def __init__(self, network):
            self.network = network

        def __call__(self, tiles):
            shown.append(len(tiles))
            return self.network(tiles)

        def __getattr__(self, name):
            return getattr(self.network, name)

    counted = Detector(shipped_detector.card, Counted(shipped_detector.network))
    steps = []
    found = counted.find_cells(white, 0.2, tile_px=640, on_progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] > 2 * sum(shown)
    alone = shipped_detector.find_cells(field.image, 0.2, tile_px=640)
    assert abs(len(found) - len(alone)) <= 1
    assert counted.find_cells(np.full((3000, 3000, 3), 245, np.uint8), 0.2) == []
    assert counted.find_cells(np.zeros((1500, 1500, 3), np.uint8), 0.2) == []


def test_an_empty_picture_is_searched_for_nuclei_in_strips():
    white = np.full((4000, 4000, 3), 245, np.uint8)
    tracemalloc.start()
    assert find_nuclei(white, 0.39).shape == (0, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < white.nbytes / 2  # it was nine times the picture: 6 GiB for 200 megapixels
