"""Small drawn views for the tests of the detection bench: red cells and one or more dark nuclei on cream glass."""

import cv2
import numpy as np

from detection.lab.data.datasets import View, with_hash

STAINS = {"LYT": (70, 40, 130), "EOS": (150, 60, 110), "NGS": (90, 70, 160)}


def draw(path, cells, *, size=96, seed=0):
    """Write a picture with red cells and the given (code, box) cells."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), (250, 232, 205), np.uint8)
    for _ in range(5):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        cv2.circle(image, (x, y), 9, (225, 170, 160), -1)
    for code, (x0, y0, x1, y1) in cells:
        middle, axes = (int((x0 + x1) / 2), int((y0 + y1) / 2)), (int((x1 - x0) / 2), int((y1 - y0) / 2))
        cv2.ellipse(image, middle, axes, 0, 0, 360, (200, 185, 225), -1)
        cv2.ellipse(image, middle, (axes[0] * 2 // 3, axes[1] * 2 // 3), 0, 0, 360, STAINS[code], -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(-3, 4, image.shape)
    image = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def draw_views(folder, count, *, split="train", patient="", source="drawn"):
    """Draw `count` views of one cell each, types in turn, and return them with boxes and hashes."""
    views = []
    for number in range(count):
        code = sorted(STAINS)[number % 3]
        shift = number % 7
        box = (24.0 + shift, 26.0, 66.0 + shift, 70.0)
        path = draw(folder / f"{split}_{number}.png", [(code, box)], seed=number)
        views.append(with_hash(View(str(path), source, 96, 96, ((code, box),), patient, 0.3, split)))
    return views
