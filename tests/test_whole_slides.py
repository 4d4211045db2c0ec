"""Whole slides from file to cells: what is taken, what is read of them, and in how much memory."""

import numpy as np
import pytest

from detection.images import ImageFacts, Limits, check_images, unpack_image
from detection.phantom import draw_field
from tests.whole_slides import UM_PER_PX, write_slide

EDGE_PX = 4096
SMALL = Limits(max_pixels=1_000_000)  # so that a small slide is too large to be decoded whole


@pytest.fixture(scope="module")
def field():
    """A drawn field with leukocytes, as wide as one block."""
    return draw_field(1200, 1200, um_per_px=UM_PER_PX, seed=3, leukocytes={"NGS": 4, "LYT": 3, "MON": 2})


@pytest.fixture(scope="module")
def slides(tmp_path_factory, field):
    """One slide of each kind with the field in the second block of the second row, and three layers of it beside."""
    folder = tmp_path_factory.mktemp("slides")
    layers = field.image.astype(float)
    for shift in (37, 61):
        layers *= np.roll(field.image, (shift, 2 * shift), (0, 1)) / 255
    fields = {(1200, 1200): field.image, (2400, 1200): layers.astype(np.uint8)}
    return {kind: write_slide(folder / f"a.{kind}", EDGE_PX, fields, kind=kind) for kind in ("svs", "tiff", "ome")}


@pytest.mark.parametrize(("kind", "name"), [("svs", "SVS"), ("tiff", "WSI"), ("ome", "WSI")])
def test_a_whole_slide_is_recognised_with_its_size_and_scale(slides, kind, name):
    assert check_images([slides[kind]], limits=SMALL) == [ImageFacts(name, EDGE_PX, EDGE_PX, UM_PER_PX)]


def test_a_slide_that_is_small_enough_is_a_picture_like_others(slides):
    [facts] = check_images([slides["svs"]])
    assert facts.format == "TIFF"


@pytest.mark.parametrize("kind", ["svs", "ome"])
def test_the_overview_is_unpacked_and_shows_the_field(slides, kind, field, tmp_path):
    facts = unpack_image(slides[kind], tmp_path, limits=SMALL)
    assert facts.format != "TIFF"
    overview = np.load(tmp_path / "pixels.npy")
    assert overview.shape == (EDGE_PX, EDGE_PX, 3)
    shown = overview[1200:2400, 1200:2400].astype(int)
    assert abs(shown - field.image).mean() < 4
