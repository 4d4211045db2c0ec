"""Training canvases at one scale: single views, and fields composed of several real cells
that touch, overlap and leave the picture.

It places pixels and boxes; colours are changed in `augment`, and no network is known here.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from detection.inference.stain_transfer import background_rgb
from detection.lab.data.datasets import View
from detection.lab.data.datasets import read_pixels as read_from_disk

GREY = 114  # ultralytics pads with it, so the network must know it
CACHE_BYTES = 1_500_000_000  # of decoded views in each process that draws


Cut = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # patch, mask, box on it, colour of its glass


class Pictures:
    """Decoded views by path, those used last and no more than `most_bytes`: nobody may write into them.

    A view is drawn many times an epoch; one of 360 px takes 0.4 MB, a whole field of 2900 px 25 MB.
    """

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self.kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def __call__(self, path: str) -> np.ndarray:
        """Return a view's picture (H, W, 3) uint8 RGB; raises as `datasets.read_pixels` does."""
        image = self.kept.get(path)
        if image is None:
            image = self.kept[path] = read_from_disk(path)
            self.bytes += image.nbytes
            while self.bytes > self.most_bytes:
                self.bytes -= self.kept.popitem(last=False)[1].nbytes
        else:
            self.kept.move_to_end(path)
        return image


read_pixels = Pictures()


def turn(image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flip and turn by quarter turns, boxes (n, 4) with the picture."""
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        image, boxes = image[:, ::-1], np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.5:
        image, boxes = image[::-1], np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
    if rng.random() < 0.5:
        image, boxes = image.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return image, boxes


def lay_view(
    view: View,
    canvas_px: int,
    factor: float,
    rng: np.random.Generator,
    *,
    about: int | None = None,
    shift: float = 0.12,
    slide: float = 0.3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay a turned view on a canvas, enlarged by `factor`.

    Parameters
    ----------
    view : View
        Labelled view.
    canvas_px : int
        Edge of the square canvas.
    factor : float
        Canvas px per view px.
    rng : numpy.random.Generator
        Random generator.
    about : int or None
        Which of `view.cells` is to be seen where the view is larger than the canvas; None shows any part of it.
    shift : float
        Greatest shift, as a share of the canvas, of a view that fits; so much of the canvas at most lies outside of a
        larger view.
    slide : float
        Greatest distance of that cell from the middle of the canvas, as a share of the canvas.

    Returns
    -------
    canvas : ndarray, shape (canvas_px, canvas_px, 3), uint8
    boxes : ndarray, shape (n, 4), float
        xyxy of `view.cells` on the canvas, not clipped; n may be 0.
    unlabelled : ndarray, shape (k, 4), float
        The same of `view.unlabelled`.
    """
    image = read_pixels(view.path)
    boxes = np.array([*(box for _, box in view.cells), *view.unlabelled], float).reshape(-1, 4)
    image, boxes = turn(image, boxes, rng)
    height, width = image.shape[:2]
    middle: Any = None if about is None else boxes[about].reshape(2, 2).mean(0)
    x, y = (
        place_edge(edge * factor, canvas_px, rng, None if about is None else middle[k] * factor, shift, slide)
        for k, edge in enumerate((width, height))
    )
    boxes = boxes * factor + np.array([x, y, x, y])
    # Only the part that is to be seen is worked on: a whole field is a hundred times as large.
    left, top = (max(0, int(-begin / factor) - 2) for begin in (x, y))
    right, bottom = (int((canvas_px - begin) / factor) + 3 for begin in (x, y))
    image, x, y = image[top:bottom, left:right], x + left * factor, y + top * factor
    if factor < 0.7:
        height, width = image.shape[:2]
        image = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        factor = 1.0
    outside = rng.random()
    fill: tuple[float, ...] = (GREY,) * 3
    if outside >= 0.5:  # frames of cut-out pictures are black
        fill = tuple(float(v) for v in background_rgb(image)) if outside < 0.9 else (0, 0, 0)
    matrix = np.array([[factor, 0, x], [0, factor, y]], np.float32)
    canvas = cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (canvas_px, canvas_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )
    return canvas, boxes[: len(view.cells)], boxes[len(view.cells) :]


def place_edge(
    edge: float, canvas_px: int, rng: np.random.Generator, middle: float | None, shift: float, most_slide: float
) -> float:
    """Return where the edge of a view begins on the canvas, in canvas px: `middle` of a cell stays on the canvas."""
    slide = rng.uniform(-1, 1)
    slack, excess = shift * canvas_px, edge - canvas_px
    if excess <= 0:
        return slide * slack - excess / 2
    if middle is None:
        return slide * (slack + excess / 2) - excess / 2
    # Near the middle of the canvas, but not so that the canvas leaves the view.
    return float(np.clip(canvas_px / 2 - middle + slide * most_slide * canvas_px, -excess - slack, slack))


def cut_cell(view: View, index: int, factor: float, rng: np.random.Generator) -> Cut:
    """Cut one leukocyte out of its view with a soft mask.

    Parameters
    ----------
    view : View
        Labelled view.
    index : int
        Which of `view.cells`.
    factor : float
        Result px per view px.
    rng : numpy.random.Generator
        Random generator (the cut-out is turned).

    Returns
    -------
    patch : ndarray, shape (h, w, 3), uint8
    mask : ndarray, shape (h, w), float32, 0 to 1
    box : ndarray, shape (4,), float
        The cell's box on the patch, xyxy.

    Notes
    -----
    Inside the box the cell is what is darker than glass (optical density of green above a tenth) within a rounded
    rectangle that leaves out the corners, where red cells lie; holes are filled by a closing.
    """
    x0, y0, x1, y1 = view.cells[index][1]
    image = read_pixels(view.path)
    reach = 3 * max(x1 - x0, y1 - y0)
    glass = background_rgb(image[max(0, int(y0 - reach)) : int(y1 + reach), max(0, int(x0 - reach)) : int(x1 + reach)])
    pad = 0.04 * max(x1 - x0, y1 - y0) + 2
    left, top = max(0, int(x0 - pad)), max(0, int(y0 - pad))
    patch = image[top : int(y1 + pad) + 1, left : int(x1 + pad) + 1]
    box = np.array([[x0 - left, y0 - top, x1 - left, y1 - top]], float)
    patch, box = turn(patch, box, rng)
    size = max(8, round(patch.shape[1] * factor)), max(8, round(patch.shape[0] * factor))
    patch = cv2.resize(
        np.ascontiguousarray(patch), size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    )
    box = box[0] * factor
    stained = (-np.log((patch[..., 1] + 1.0) / (glass[1] + 1)) > 0.10).astype(np.uint8)
    stained = cv2.morphologyEx(stained, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    yy, xx = np.mgrid[: size[1], : size[0]]
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    rx, ry = (box[2] - box[0]) / 2 + 1, (box[3] - box[1]) / 2 + 1
    inside = np.abs((xx - cx) / rx) ** 2.6 + np.abs((yy - cy) / ry) ** 2.6 <= 1.0
    mask = cv2.GaussianBlur((stained * inside).astype(np.float32), (0, 0), 1.2)
    return patch, mask, box, glass


def paste_cell(canvas: np.ndarray, glass: np.ndarray, cut: Cut, x: float, y: float) -> None:
    """Blend a cut-out onto the canvas at (x, y), its glass brought to the canvas's; the part outside is lost."""
    patch, mask, _, own_glass = cut
    size = canvas.shape[0]
    x, y = int(round(x)), int(round(y))
    h, w = mask.shape
    left, top, right, bottom = max(0, x), max(0, y), min(size, x + w), min(size, y + h)
    if right <= left or bottom <= top:
        return
    part = np.s_[top - y : bottom - y, left - x : right - x]
    there = canvas[top:bottom, left:right]
    tinted = np.minimum(patch[part] * (glass / own_glass), 255.0)
    alpha = mask[part][..., None]
    canvas[top:bottom, left:right] = (there * (1 - alpha) + tinted * alpha).astype(np.uint8)


def add_cells(
    canvas: np.ndarray,
    boxes: np.ndarray,
    codes: Sequence[str],
    cuts: Iterable[tuple[str, Cut]],
    rng: np.random.Generator,
    *,
    touch: float = 0.75,
) -> tuple[np.ndarray, list[str]]:
    """Paste cut-outs onto a canvas, most of them touching or overlapping a cell that is there.

    Parameters
    ----------
    canvas : ndarray, shape (S, S, 3), uint8
        Changed in place.
    boxes : ndarray, shape (n, 4)
        Cells already there.
    codes : list of str
        Their types.
    cuts : iterable of (code, cut)
        Cut-outs of `cut_cell`.
    rng : numpy.random.Generator
        Random generator.
    touch : float, 0 to 1
        Share of cells set against another.

    Returns
    -------
    boxes : ndarray, shape (m, 4)
        m >= n; a cut-out that would cover more than two fifths of a cell five times running is left out.
    codes : list of str
    """
    size = canvas.shape[0]
    glass = background_rgb(canvas)
    placed_boxes, codes = [np.asarray(box, float) for box in boxes], list(codes)
    for code, cut in cuts:
        own = cut[2]
        w, h = own[2] - own[0], own[3] - own[1]
        for _ in range(5):
            if placed_boxes and rng.random() < touch:
                other = placed_boxes[rng.integers(len(placed_boxes))]
                angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.82, 1.12)
                cx = (other[0] + other[2]) / 2 + np.cos(angle) * (other[2] - other[0] + w) / 2 * reach
                cy = (other[1] + other[3]) / 2 + np.sin(angle) * (other[3] - other[1] + h) / 2 * reach
            else:
                cx, cy = rng.uniform(-0.02 * size, 1.02 * size, 2)
            placed = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            if visible_share(placed, size) > 0.2 and all(cover(placed, box) < 0.4 for box in placed_boxes):
                paste_cell(canvas, glass, cut, placed[0] - own[0], placed[1] - own[1])
                placed_boxes.append(placed)
                codes.append(code)
                break
    return np.array(placed_boxes).reshape(-1, 4), codes


def cover(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Share of the smaller box that the other one covers, 0 to 1."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max(1e-6, min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])))


def visible_share(box: Sequence[float] | np.ndarray, size: float) -> float:
    """Share of a box that is on the canvas."""
    w = max(0, min(box[2], size) - max(box[0], 0))
    h = max(0, min(box[3], size) - max(box[1], 0))
    return w * h / max(1e-6, (box[2] - box[0]) * (box[3] - box[1]))


def visible(boxes: np.ndarray, size: float, *, least: float = 0.3) -> Any:
    """Clip boxes to the canvas and drop those of which less than `least` is to be seen.

    Returns
    -------
    boxes : ndarray, shape (k, 4), float
    kept : list of int
        Their numbers.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    kept = [number for number, box in enumerate(boxes) if visible_share(box, size) >= least]
    return np.clip(boxes[kept], 0, size), kept
