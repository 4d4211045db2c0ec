"""Draw training canvases from a data set: balanced by type, single or composed, changed as another laboratory would.

Every canvas follows from (seed, number) alone, so a resumed run sees what an unbroken one would have; no network is
known here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from detection.cell_types import classes_of
from detection.inference.stain_transfer import Stain, stain_of, transfer_stain
from detection.lab.data.datasets import View
from detection.lab.training.augment import change_colours, change_optics, soften
from detection.lab.training.compose import GREY, Cut, add_cells, cut_cell, lay_view, visible

CROP_UM = 45.0  # a view less wide was cut for the cell in its middle
CENTRAL_SLIDE = 0.13  # of a quarter: cells of 15 um stay nearly whole on quarters of 20 um


@dataclass
class Drawn:
    """One canvas in the making: RGB `image` (S, S, 3) uint8, `boxes` xyxy px (n, 4), `codes`, typing `weights`.

    `unlabelled` (k, 4) are the boxes of leukocytes that nobody typed.
    """

    image: np.ndarray
    boxes: np.ndarray
    codes: list
    weights: list
    unlabelled: np.ndarray


class Canvases(Dataset):
    """Endless training canvases of one size and scale.

    Parameters
    ----------
    views : sequence of View
        Training views; views without cells serve as background.
    canvas_px : int
        Edge of a canvas.
    um_per_px : float
        Scale at which cells are shown, before jitter.
    seed : int
        Start of all chance.
    composed : float, 0 to 1
        Share of canvases with several pasted cells (the smear's form of mosaic).
    empty : float, 0 to 1
        Share of canvases from views without leukocytes, if there are any.
    guessed : float, 0 to 1
        Share of canvases from views whose types a detector guessed (`View.guessed`), if there are any.
    strong : float, 0 to 1
        Share of canvases re-stained at full strength.
    stains : sequence of Stain
        Stains of laboratories to be met (`stains.read_stains`); may be empty.
    transferred : float, 0 to 1
        Share of canvases (of a mosaic: quarters) to which one of `stains` is transferred.
    mosaic : float, 0 to 1
        Share of canvases of four quarters, each with one drawn cell in its close surroundings.
    neighbour_weight : float, 0 to 1
        What a cell that is not the central one of its view counts in typing: its label is less sure.

    Notes
    -----
    A type is drawn in proportion to the square root of its cells in each source, then a cell of it: rare types come
    oftener than they are, common ones are not starved. Where a view is larger than the canvas, the cell that was drawn
    is the one to be seen.
    """

    def __init__(
        self,
        views: Sequence[View],
        *,
        canvas_px: int = 320,
        um_per_px: float = 0.115,
        seed: int = 0,
        composed: float = 0.45,
        empty: float = 0.04,
        guessed: float = 0.08,
        strong: float = 0.45,
        stains: Sequence[Stain] = (),
        transferred: float = 0.0,
        mosaic: float = 0.0,
        neighbour_weight: float = 1.0,
    ) -> None:
        self.mosaic, self.neighbour_weight = mosaic, neighbour_weight
        self.stains, self.transferred = stains, transferred if stains else 0.0
        self.canvas_px, self.um_per_px, self.seed = canvas_px, um_per_px, seed
        self.composed, self.strong = composed, strong
        self.views = list(views)
        self.codes = classes_of(code for view in self.views for code, _ in view.cells)
        if unknown := sum(view.um_per_px is None for view in self.views):
            raise ValueError(
                f"{unknown} training views have no scale: state um_per_px for their source and run `prepare`."
            )
        groups = defaultdict(list)  # (source, code): [(number of the view, which of its cells), ...]
        for number, view in enumerate(self.views):
            for index, (code, _) in enumerate(view.cells):
                if not view.guessed:
                    groups[view.source, code].append((number, index))
        self.groups = dict(sorted(groups.items()))
        self.keys = list(self.groups)
        weights = np.sqrt([len(cells) for cells in self.groups.values()])
        self.weights = weights / weights.sum()
        self.empty_views = [n for n, view in enumerate(self.views) if not view.cells and not view.unlabelled]
        self.guessed_views = [n for n, view in enumerate(self.views) if view.cells and view.guessed]
        self.empty = empty if self.empty_views else 0.0
        self.guessed = guessed if self.guessed_views else 0.0

    def __len__(self) -> int:
        return 1 << 31

    def __getitem__(self, number: int) -> tuple:
        """Return one canvas as tensors.

        Returns
        -------
        image : uint8, shape (3, S, S)
        classes : float, shape (n,)
        boxes : float, shape (n, 4)
            xywh as shares of the canvas.
        weights : float, shape (n,)
            What each cell counts in typing.
        unlabelled : float, shape (k, 4)
            xyxy, as shares of the canvas, of leukocytes that nobody typed.
        """
        cv2.setNumThreads(0)
        rng = np.random.default_rng([self.seed, number])
        drawn = self.draw_mosaic(rng) if rng.random() < self.mosaic else self.draw(rng)
        image = change_optics(drawn.image, rng)
        boxes, kept = visible(drawn.boxes, self.canvas_px)
        xyxy = boxes / self.canvas_px
        xywh = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)
        unlabelled, _ = visible(drawn.unlabelled, self.canvas_px, least=0.05)
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.tensor([self.codes.index(drawn.codes[k]) for k in kept], dtype=torch.float32),
            torch.from_numpy(xywh.astype(np.float32)).reshape(-1, 4),
            torch.tensor([drawn.weights[k] for k in kept], dtype=torch.float32),
            torch.from_numpy((unlabelled / self.canvas_px).astype(np.float32)).reshape(-1, 4),
        )

    def draw(self, rng: np.random.Generator) -> "Drawn":
        """Draw one canvas of a view, perhaps with pasted cells; boxes are not clipped."""
        zoom = draw_zoom(rng)
        kind = rng.random()
        if kind < self.empty:
            view, index = self.views[self.empty_views[rng.integers(len(self.empty_views))]], None
        elif kind < self.empty + self.guessed:
            view = self.views[self.guessed_views[rng.integers(len(self.guessed_views))]]
            index = int(rng.integers(len(view.cells)))
        else:
            view, index = self.pick(rng)
        canvas, boxes, unlabelled = lay_view(view, self.canvas_px, self.factor(view, zoom), rng, about=index)
        codes, weights = [code for code, _ in view.cells], self.weights_of(view)
        is_plain = kind < self.empty + self.guessed or view.unlabelled  # a pasted cell could hide one that is left out
        if not is_plain and rng.random() < self.composed:
            of_a_kind = rng.random() < 0.4
            cuts = []
            for _ in range(rng.integers(1, 6)):
                other, which = self.pick(rng, (view.source, codes[index]) if of_a_kind and index is not None else None)
                cuts.append((other.cells[which][0], self.cut(other, which, zoom * rng.uniform(0.93, 1.07), rng)))
            boxes, codes = add_cells(canvas, boxes, codes, cuts, rng)
            weights += [1.0] * (len(codes) - len(weights))
        return Drawn(self.coloured(canvas, rng), boxes, codes, weights, unlabelled)

    def draw_mosaic(self, rng: np.random.Generator) -> "Drawn":
        """Draw one canvas of four quarters, each with a cell, its close surroundings and colours of its own."""
        edge = self.canvas_px // 2
        drawn = Drawn(
            np.full((self.canvas_px, self.canvas_px, 3), GREY, np.uint8), np.empty((0, 4)), [], [], np.empty((0, 4))
        )
        for x, y in ((0, 0), (edge, 0), (0, edge), (edge, edge)):
            view, index = self.pick(rng)
            factor = self.factor(view, draw_zoom(rng))
            part, boxes, unlabelled = lay_view(view, edge, factor, rng, about=index, slide=CENTRAL_SLIDE)
            drawn.image[y : y + edge, x : x + edge] = self.coloured(part, rng)
            boxes, kept = visible(boxes, edge)
            weights = self.weights_of(view)
            drawn.codes += [view.cells[k][0] for k in kept]
            drawn.weights += [weights[k] for k in kept]
            drawn.boxes = np.concatenate([drawn.boxes, boxes + [x, y, x, y]])
            unlabelled, _ = visible(unlabelled, edge, least=0.05)
            drawn.unlabelled = np.concatenate([drawn.unlabelled, unlabelled + [x, y, x, y]])
        return drawn

    def coloured(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Give a picture the colours of another laboratory, or of another day in its own."""
        own = stain_of(image) if rng.random() < self.transferred else None
        if own is not None:
            aim = self.stains[int(rng.integers(len(self.stains)))]
            image = transfer_stain(image, own, aim, rng.uniform(0.4, 1.15), np.exp(rng.uniform(-0.2, 0.2, 3)))
        return change_colours(image, rng, strong=self.strong, stain=own is None)

    def weights_of(self, view: View) -> list[float]:
        """Return what each cell counts in typing: the one nearest to the middle of a crop 1, others less."""
        is_crop = view.width_px * (view.um_per_px or self.um_per_px) < CROP_UM
        if not is_crop or len(view.cells) < 2:
            return [1.0] * len(view.cells)
        centres = np.array([box for _, box in view.cells]).reshape(-1, 2, 2).mean(1)
        nearest = np.linalg.norm(centres - np.array([view.width_px, view.height_px]) / 2, axis=1).argmin()
        return [1.0 if k == nearest else self.neighbour_weight for k in range(len(centres))]

    def pick(self, rng: np.random.Generator, key: tuple[str, str] | None = None) -> tuple[View, int]:
        """Draw a view and which of its cells, balanced by type, or of one (source, code)."""
        cells = self.groups[key or self.keys[rng.choice(len(self.keys), p=self.weights)]]
        number, index = cells[rng.integers(len(cells))]
        return self.views[number], index

    def cut(self, view: View, index: int, zoom: float, rng: np.random.Generator) -> Cut:
        """Cut one cell out of a view; some as blurred as a weaker objective shows them."""
        patch, mask, box, glass = cut_cell(view, index, self.factor(view, zoom), rng)
        if rng.random() < 0.15:
            patch = soften(patch, rng)
        return patch, mask, box, glass

    def factor(self, view: View, zoom: float) -> float:
        """Canvas px per view px."""
        return (view.um_per_px or np.nan) / self.um_per_px * zoom


def draw_zoom(rng: np.random.Generator) -> float:
    """Draw how much larger than its scale a view is shown: mostly within a fifth, some within a half."""
    low, high = (0.84, 1.19) if rng.random() < 0.6 else (0.66, 1.4)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def collate(samples: Sequence[tuple]) -> dict[str, torch.Tensor]:
    """Put samples into the batch form that ultralytics' loss reads, with `weights` and `unlabelled` for `loss`."""
    images, classes, boxes, weights, unlabelled = zip(*samples)
    return {
        "img": torch.stack(images),
        "cls": torch.cat(classes).view(-1, 1),
        "bboxes": torch.cat(boxes),
        "batch_idx": numbers_of(classes),
        "weights": torch.cat(weights),
        "unlabelled": torch.cat(unlabelled),
        "unlabelled_idx": numbers_of(unlabelled),
    }


def numbers_of(parts: Sequence[Any]) -> torch.Tensor:
    """Return the number of its part for each row of all parts, shape (rows,), float."""
    return torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts])).float()
