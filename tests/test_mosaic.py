"""What a training canvas teaches: quarters with a labelled cell each, weights of neighbours, untyped leukocytes."""

import numpy as np
import pytest
import torch

from detection.lab.data.datasets import View
from detection.lab.training.building import build_network
from detection.lab.training.loss import build_loss
from detection.lab.training.sampling import Canvases, collate
from tests.drawn_views import draw, draw_views


def test_a_mosaic_shows_four_drawn_cells_each_in_its_quarter(tmp_path):
    canvases = Canvases(draw_views(tmp_path, 6), canvas_px=128, um_per_px=0.45, seed=1, mosaic=1.0, strong=0.0)
    for number in range(6):
        image, classes, boxes, _, _ = canvases[number]
        assert len(classes) == 4
        assert sorted((x > 0.5, y > 0.5) for x, y, _, _ in boxes.tolist()) == [
            (False, False), (False, True), (True, False), (True, True),
        ]  # fmt: skip
        for x, y, _, _ in (boxes.numpy() * 128).round().astype(int):
            assert image[0, y - 2 : y + 3, x - 2 : x + 3].float().mean() < np.percentile(image[0].numpy(), 60)


def test_the_central_cell_of_a_crop_teaches_more_than_its_neighbours_and_the_cells_of_a_field_teach_alike(tmp_path):
    cells = (("NGS", (2.0, 2.0, 30.0, 30.0)), ("EOS", (40.0, 38.0, 80.0, 80.0)))
    path = str(draw(tmp_path / "two.png", cells))
    for um_per_px, expected in ((0.3, [0.5, 1.0]), (0.6, [1.0, 1.0])):
        view = View(path, "lab", 96, 96, cells, um_per_px=um_per_px, split="train")
        canvases = Canvases([view], canvas_px=256, um_per_px=um_per_px, neighbour_weight=0.5, composed=0.0)
        drawn = canvases.draw(np.random.default_rng(0))
        assert drawn.weights == expected


def test_a_leukocyte_that_nobody_typed_is_neither_a_cell_nor_background(tmp_path):
    """Whatever the network says inside its box changes no loss; outside it does, and so does a cell's own weight."""
    torch.manual_seed(5)
    cell, other = ("NGS", (10.0, 10.0, 50.0, 50.0)), (60.0, 60.0, 94.0, 94.0)
    path = str(draw(tmp_path / "two.png", (cell, ("EOS", other))))
    view = View(path, "lab", 96, 96, (cell,), um_per_px=0.3, split="train", unlabelled=(other,))
    canvases = Canvases([view], canvas_px=96, um_per_px=0.3, seed=3, composed=0.0)
    network = build_network("yolov5n.yaml")
    loss_of = build_loss(network, 0.05)
    batch = collate([canvases[0], canvases[1]])
    assert len(batch["unlabelled"]) == 2
    with torch.no_grad():
        predictions = network(batch["img"].float() / 255)
        x0, y0, x1, y1 = (batch["unlabelled"][0] * 96).tolist()
        inside = torch.zeros(12, 12, dtype=torch.bool)  # anchors of stride 8 come first
        inside[round(y0 / 8) + 1 : int(y1 / 8), round(x0 / 8) + 1 : int(x1 / 8)] = True
        changed = {}
        for name, where in (("inside", inside), ("outside", ~inside)):
            scores = predictions["scores"].clone()
            scores[0, :, :144][:, where.flatten()] += 3.0
            changed[name] = float(loss_of({**predictions, "scores": scores}, batch)[1]["cls_loss"])
        plain = float(loss_of(predictions, batch)[1]["cls_loss"])
        lighter = float(loss_of(predictions, {**batch, "weights": batch["weights"] * 0.5})[1]["cls_loss"])
    assert inside.any()
    assert changed["inside"] == pytest.approx(plain, abs=1e-4)
    assert abs(changed["outside"] - plain) > 0.05
    assert lighter < plain
