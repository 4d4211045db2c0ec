"""Draw training canvases from a data set: balanced by type, single or composed, changed as another laboratory would.

Every canvas follows from (seed, number) alone, so a resumed run sees what an unbroken one would have; no network is
known here.
"""

from collections import defaultdict

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from detection.cell_types import BY_CODE
from detection.inference.stain_transfer import stain_of, transfer_stain
from detection.lab.training.augment import augment, soften
from detection.lab.training.compose import add_cells, cut_cell, keep_visible, lay_view


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
        Share of canvases from views without cells, if there are any.
    guessed : float, 0 to 1
        Share of canvases from views whose types a detector guessed (`View.guessed`), if there are any.
    strong : float, 0 to 1
        Share of canvases re-stained at full strength.
    stains : sequence of Stain
        Stains of laboratories to be met (`stains.read_stains`); may be empty.
    transferred : float, 0 to 1
        Share of canvases to which one of `stains` is transferred.

    Notes
    -----
    A type is drawn in proportion to the square root of its cells in each source, then a cell of it: rare types come
    oftener than they are, common ones are not starved. Where a view is larger than the canvas, the cell that was drawn
    is the one to be seen.
    """

    def __init__(
        self,
        views,
        *,
        canvas_px=320,
        um_per_px=0.115,
        seed=0,
        composed=0.45,
        empty=0.04,
        guessed=0.08,
        strong=0.45,
        stains=(),
        transferred=0.0,
    ):
        self.stains, self.transferred = stains, transferred if stains else 0.0
        self.canvas_px, self.um_per_px, self.seed = canvas_px, um_per_px, seed
        self.composed, self.strong = composed, strong
        self.views = list(views)
        groups = defaultdict(list)  # (source, code): [(number of the view, which of its cells), ...]
        for number, view in enumerate(self.views):
            for index, (code, _) in enumerate(view.cells):
                if not view.guessed:
                    groups[view.source, code].append((number, index))
        self.groups = dict(sorted(groups.items()))
        self.keys = list(self.groups)
        weights = np.sqrt([len(cells) for cells in self.groups.values()])
        self.weights = weights / weights.sum()
        self.empty_views = [n for n, view in enumerate(self.views) if not view.cells and view.guessed]
        self.guessed_views = [n for n, view in enumerate(self.views) if view.cells and view.guessed]
        self.empty = empty if self.empty_views else 0.0
        self.guessed = guessed if self.guessed_views else 0.0

    def __len__(self):
        return 1 << 31

    def __getitem__(self, number):
        """Return image (3, S, S) uint8 tensor, class indices (n,) and normalised xywh boxes (n, 4)."""
        cv2.setNumThreads(0)
        rng = np.random.default_rng([self.seed, number])
        image, boxes, codes = self.draw(rng)
        own = stain_of(image) if rng.random() < self.transferred else None
        if own is not None:
            aim = self.stains[rng.integers(len(self.stains))]
            image = transfer_stain(image, own, aim, rng.uniform(0.4, 1.15), np.exp(rng.uniform(-0.2, 0.2, 3)))
        image = augment(image, rng, strong=self.strong, stain=own is None)
        boxes, codes = keep_visible(boxes, codes, self.canvas_px)
        xyxy = boxes / self.canvas_px
        xywh = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)
        classes = [BY_CODE[code].index for code in codes]
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.tensor(classes, dtype=torch.float32),
            torch.from_numpy(xywh.astype(np.float32)).reshape(-1, 4),
        )

    def draw(self, rng):
        """Draw one canvas before colour changes: image, boxes xyxy (not clipped) and codes."""
        zoom = (
            float(np.exp(rng.uniform(np.log(0.84), np.log(1.19))))
            if rng.random() < 0.6
            else float(np.exp(rng.uniform(np.log(0.62), np.log(1.45))))
        )
        kind = rng.random()
        if kind < self.empty:
            view, index = self.views[self.empty_views[rng.integers(len(self.empty_views))]], None
        elif kind < self.empty + self.guessed:
            view = self.views[self.guessed_views[rng.integers(len(self.guessed_views))]]
            index = int(rng.integers(len(view.cells)))
        else:
            view, index = self.pick(rng)
        canvas, boxes = lay_view(view, self.canvas_px, self.factor(view, zoom), rng, about=index)
        codes = [code for code, _ in view.cells]
        if kind < self.empty + self.guessed or rng.random() >= self.composed:
            return canvas, boxes, codes
        of_a_kind = rng.random() < 0.4
        cuts = []
        for _ in range(rng.integers(1, 6)):
            other, which = self.pick(rng, (view.source, codes[index]) if of_a_kind else None)
            cuts.append((other.cells[which][0], self.cut(other, which, zoom * rng.uniform(0.93, 1.07), rng)))
        return (canvas, *add_cells(canvas, boxes, codes, cuts, rng))

    def pick(self, rng, key=None):
        """Draw a view and which of its cells, balanced by type, or of one (source, code)."""
        cells = self.groups[key or self.keys[rng.choice(len(self.keys), p=self.weights)]]
        number, index = cells[rng.integers(len(cells))]
        return self.views[number], index

    def cut(self, view, index, zoom, rng):
        """Cut one cell out of a view; some as blurred as a weaker objective shows them."""
        patch, mask, box, glass = cut_cell(view, index, self.factor(view, zoom), rng)
        if rng.random() < 0.15:
            patch = soften(patch, rng)
        return patch, mask, box, glass

    def factor(self, view, zoom):
        """Canvas px per view px."""
        return (view.um_per_px or self.um_per_px) / self.um_per_px * zoom


def collate(samples):
    """Put samples into the batch form that ultralytics' loss reads."""
    counts = [len(classes) for _, classes, _ in samples]
    return {
        "img": torch.stack([image for image, _, _ in samples]),
        "cls": torch.cat([classes for _, classes, _ in samples]).view(-1, 1),
        "bboxes": torch.cat([boxes for _, _, boxes in samples]),
        "batch_idx": torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)).float(),
    }
