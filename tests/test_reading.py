"""One way to read an image: the worker and every command that measures a detector find the same boxes."""

from dataclasses import replace

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image

from detection.inference.reading import ScaleUnknown, read_field
from detection.lab.data.datasets import View, read_pixels
from detection.lab.data.readers import read_class_map, read_yolo
from detection.lab.measuring.evaluation import find_on_views
from detection.phantom import draw_field
from leukoweb.analysis.models import Cell, Run
from leukoweb.analysis.tasks import run_detection


@pytest.fixture
def views(real_images, tmp_path):
    """Views as articles measure them; drawn ones where no real ones are."""
    if real_images:
        read, _ = read_yolo(real_images / "oi_pbc", "oi_pbc", read_class_map(None), 0.102)
        return [view for view in read if view.split == "val"][::87]
    drawn = []
    for number in range(4):
        field = draw_field(360, 360, um_per_px=0.102, seed=number, leukocytes={"NGS": 1, "LYT": 1})
        Image.fromarray(field.image).save(tmp_path / f"{number}.png")
        drawn.append(View(str(tmp_path / f"{number}.png"), "drawn", 360, 360, field.cells, um_per_px=0.102))
    return drawn


@pytest.mark.slow
def test_the_boxes_that_a_card_is_measured_on_are_those_that_the_product_shows(shipped_detector, views):
    measured, _ = find_on_views(shipped_detector, views, floor=None)
    for view, found in zip(views, measured):
        shown = read_field(read_pixels(view.path), shipped_detector, view.um_per_px)
        np.testing.assert_allclose(found.boxes, shown.boxes)
        assert [float(score) for score in found.scores] == [cell.score for cell in shown.cells]
    assert sum(len(found.boxes) for found in measured) >= len(views)


@pytest.mark.slow
def test_average_precision_sees_what_the_product_shows_and_more(shipped_detector, views):
    """The best box of a cell is the same at the low floor of average precision."""
    every, _ = find_on_views(shipped_detector, views)
    shown, _ = find_on_views(shipped_detector, views, floor=None)
    for low, own in zip(every, shown):
        assert len(low.boxes) >= len(own.boxes)
        for box, score in zip(own.boxes, own.scores):
            same = np.abs(low.boxes - box).max(1).argmin()
            np.testing.assert_allclose(low.boxes[same], box)
            assert low.scores[same] == score


@pytest.mark.slow
def test_a_box_carries_several_types_only_where_an_article_is_compared_with(shipped_detector, views):
    several, _ = find_on_views(shipped_detector, views[:1], floor=0.01, several_types=True)
    single, _ = find_on_views(shipped_detector, views[:1], floor=0.01)
    places = {tuple(box.round(3)) for box in several[0].boxes}
    assert len(places) < len(several[0].boxes)
    assert len({tuple(box.round(3)) for box in single[0].boxes}) == len(single[0].boxes)


def test_a_view_without_any_scale_is_refused_by_name_and_not_guessed(shipped_detector, tmp_path):
    Image.new("RGB", (96, 96), "white").save(tmp_path / "white.png")
    view = View(str(tmp_path / "white.png"), "drawn", 96, 96, ())
    with pytest.raises(ScaleUnknown, match=r"white\.png: The scale is not known"):
        find_on_views(shipped_detector, [view])
    found, _ = find_on_views(shipped_detector, [replace(view, um_per_px=0.1)])
    assert len(found[0].boxes) == 0


@pytest.mark.slow
def test_the_worker_stores_the_boxes_that_are_measured(shipped_detector, sign_in, technologist, make_case, smear_files):
    case = make_case()
    fields = {"images": [smear_files[0].open("rb")], "um_per_px": "0.2"}
    sign_in(technologist).post(reverse("slide_upload", args=[case.pk]), fields)
    run = Run.objects.get(slide__case=case)
    run_detection.apply(args=[run.pk])
    run.refresh_from_db()
    assert run.state == "done", run.error
    stored = Cell.objects.filter(run=run).order_by("-score")
    image = read_pixels(smear_files[0])
    view = View(str(smear_files[0]), "drawn", image.shape[1], image.shape[0], (), um_per_px=0.2)
    found, _ = find_on_views(shipped_detector, [view], floor=None)
    assert len(stored) == len(found[0].boxes) > 0
    np.testing.assert_allclose([cell.xyxy for cell in stored], found[0].boxes, rtol=1e-6)
