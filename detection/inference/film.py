"""Find red cells and platelets on an image, with a small network of their own, and group platelets into clumps.

They are help beside the differential, never a result; leukocytes are left to `detector`, what is shown to the product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from detection import FILM_CARD
from detection.boxes import pairwise_iou
from detection.card import Card, DetectorRefused
from detection.cell_types import FILM_CODES, PLATELET, RED_CELL
from detection.inference.detector import Tiles, check_image, suppress
from detection.inference.networks import TorchNetwork, import_torch, load_module
from detection.inference.scale import refuse_enlargement
from detection.inference.tiling import merge_over_seams

TILE_PX = 640  # more would hold more red cells than `suppress` looks at
EDGE_PX = 1.5  # of the image: how near to its edge a cut cell ends
CLUMP_GAP_UM = 1.0  # platelets of a clump touch or nearly do
LEAST_CLUMP = 3
CLAIM = 0.1  # a red cell of this score is a claim to a place that a platelet claims too
SAME_PLACE_IOU = 0.6
RED_CELL_FROM_UM = 5.0
LARGE_UM = 6.0  # one box so wide is a giant platelet, or a clump whose platelets were not told apart


@dataclass(frozen=True)
class FoundElement:
    """A red cell or a platelet: its code, the network's score 0..1, and its box in px of the original image."""

    code: str
    score: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Clump:
    """Platelets that lie together: how many boxes, and the box around them; one box is a large platelet or a clump."""

    platelets: int
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class FilmReading:
    """What was found on one image: `elements`, best score first, `clumps`, and the area that was read.

    `red_cells` and `platelets` leave out what the left or the upper edge cuts, so that of two neighbouring fields each
    cell counts once.
    """

    elements: list[FoundElement]
    clumps: list[Clump]
    red_cells: int
    platelets: int
    area_um2: float


class FilmDetector:
    """The small network with its card, whose classes are red cells and platelets."""

    def __init__(self, card: Card, network: TorchNetwork) -> None:
        self.card, self.network = card, network

    @classmethod
    def of_network(cls, module: Any, um_per_px: float) -> "FilmDetector":
        """Return a detector of a network that has no card yet, for measuring: its batch norms stay as they are."""
        import_torch()
        card = Card.draft(um_per_px, codes=FILM_CODES)
        return cls(card, TorchNetwork(module.float().eval(), device="cpu", precision="f32"))

    @classmethod
    def load(cls, weights_path: str | Path, card: str | Path | Card, *, device: str = "auto") -> "FilmDetector":
        """Load the detector after comparing weights and classes with its card.

        Raises
        ------
        DetectorRefused
            If a file is missing, the SHA-256 differs from the card's, or the classes are not red cells and platelets.
        """
        card = card if isinstance(card, Card) else Card.read(card, codes=FILM_CODES)
        if tuple(own.code for own in card.types) != FILM_CODES:
            raise DetectorRefused("This is no detector of red cells and platelets.")
        card.check_weights(weights_path)
        torch = import_torch()
        has_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        name, precision = (f"cuda ({torch.cuda.get_device_name()})", "f16") if has_cuda else ("cpu", "f32")
        return cls(card, TorchNetwork(load_module(weights_path), device=name, precision=precision))

    def read(self, image: np.ndarray, um_per_px: float, begins: tuple[int, int] = (0, 0)) -> FilmReading:
        """Find and count the red cells and platelets of an image, on one core: nobody waits for them.

        Parameters
        ----------
        image : ndarray or memmap, shape (H, W, 3), uint8, RGB
        um_per_px : float
            Scale of the image.
        begins : (x, y), int
            Where `image` begins on a larger one, whose px the boxes are to be in.

        Raises
        ------
        ValueError
            If the scale is out of range or the image is not (H, W, 3) uint8; ScaleUnknown as `find_cells`.
        """
        check_image(image, um_per_px)
        with one_core():
            elements = self.find(image, um_per_px)
        boxes = np.array([own.xyxy for own in elements], float).reshape(-1, 4)
        codes = np.array([own.code for own in elements], object)
        whole = (boxes[:, :2] > EDGE_PX).all(1)
        platelets = boxes[codes == PLATELET]
        return FilmReading(
            [FoundElement(own.code, own.score, moved(own.xyxy, *begins)) for own in elements],
            [Clump(own.platelets, moved(own.xyxy, *begins)) for own in clumps_of(platelets, um_per_px)],
            int((whole & (codes == RED_CELL)).sum()),
            int((whole & (codes == PLATELET)).sum()),
            float(image.shape[0] * image.shape[1] * um_per_px**2),
        )

    def find(
        self, image: np.ndarray, um_per_px: float, thresholds: np.ndarray | float | None = None
    ) -> list[FoundElement]:
        """Return the red cells and platelets of an image, best score first.

        Parameters
        ----------
        image, um_per_px
            As in `read`.
        thresholds : ndarray, shape (2,), or float, optional
            Least scores in class order in place of the card's.

        Notes
        -----
        Each kind is suppressed within itself: a platelet on a red cell is both. What both claim as one place is one of
        them (`settle`).
        """
        refuse_enlargement(image.shape[1], image.shape[0], um_per_px, self.card.um_per_px)
        shown = np.broadcast_to(self.card.score_thresholds() if thresholds is None else thresholds, len(FILM_CODES))
        least = np.minimum(shown, [CLAIM, 1.0])
        tiles = Tiles(image, um_per_px, self.card.um_per_px, TILE_PX)
        found: list[tuple[np.ndarray, ...]] = [(np.empty((0, 4)), np.empty(0), np.empty(0, int), np.empty(0, bool))]
        batch = self.network.batch_tiles
        for first in range(0, len(tiles), batch):
            numbers = range(first, min(first + batch, len(tiles)))
            outputs = self.network(np.stack([tiles.pixels(number) for number in numbers]))  # (N, 4 + 2, anchors)
            found += [self._on_tile(tiles, number, output, least) for number, output in zip(numbers, outputs)]
        xyxy, scores, classes, cut = (np.concatenate(parts) for parts in zip(*found))
        kept = []
        for index in range(len(FILM_CODES)):
            own = np.flatnonzero(classes == index)
            kept.append(own[merge_over_seams(xyxy[own], scores[own], cut[own], iou=self.card.merge_iou)])
        red, platelets = kept
        scores[red], stays = settle(xyxy[red], scores[red], xyxy[platelets], scores[platelets], um_per_px)
        order = np.concatenate([red, platelets[stays]])
        order = order[scores[order] >= shown[classes[order]]]
        order = order[np.argsort(-scores[order], kind="stable")]
        return [
            FoundElement(FILM_CODES[classes[i]], float(scores[i]), (*map(float, xyxy[i]),))  # type: ignore[arg-type]
            for i in order
        ]

    def _on_tile(self, tiles: Tiles, number: int, output: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return xyxy in px of the image, scores, classes and `cut` of what one tile answers for."""
        classes, anchors = np.nonzero(output[4:] >= least[:, None])
        scores = output[4 + classes, anchors]
        xyxy, scores, classes, _ = suppress(output, anchors, classes, scores, iou=self.card.merge_iou, per_type=True)
        own, scores, classes, cut = tiles.in_image(number, xyxy, scores, classes)
        return own, scores, classes, cut


def settle(
    red_cells: np.ndarray, red_scores: np.ndarray, platelets: np.ndarray, scores: np.ndarray, um_per_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Settle what is claimed as a red cell and as a platelet, at one place.

    Parameters
    ----------
    red_cells, platelets : ndarray, shape (n, 4) and (k, 4)
        xyxy px.
    red_scores, scores : ndarray, shape (n,) and (k,)
    um_per_px : float

    Returns
    -------
    red_scores : ndarray, shape (n,)
        With the platelet's score where a red cell takes its place, 0 where a platelet does.
    stays : ndarray of bool, shape (k,)
        Which platelets remain.

    Notes
    -----
    As wide as a red cell, it is one: small dense red cells without pallor, which the training views hardly show, score
    higher as platelets (11 of 19 platelets on a field of another hospital were such cells). Narrower, the better score
    decides.
    """
    red_scores, stays = red_scores.copy(), np.ones(len(platelets), bool)
    if not len(red_cells) or not len(platelets):
        return red_scores, stays
    overlap = pairwise_iou(platelets, red_cells)
    for k in np.flatnonzero(overlap.max(1) >= SAME_PLACE_IOU):
        other = overlap[k].argmax()
        is_wide = (platelets[k, 2:] - platelets[k, :2]).max() >= RED_CELL_FROM_UM / um_per_px
        if is_wide or scores[k] < red_scores[other]:
            red_scores[other], stays[k] = max(red_scores[other], scores[k]), False
        else:
            red_scores[other] = 0.0
    return red_scores, stays


@lru_cache(maxsize=1)
def shipped_film_detector(device: str = "auto") -> FilmDetector:
    """Return the shipped detector, loaded once per process; raises as `FilmDetector.load`."""
    card = Card.read(FILM_CARD, FILM_CODES)
    return FilmDetector.load(FILM_CARD.with_name(card.facts["weights"]), card, device=device)


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch take one core only, and afterwards as many as before."""
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def moved(xyxy: tuple[float, float, float, float], left: float, top: float) -> tuple[float, float, float, float]:
    """Return a box of a window in px of its image, to a tenth."""
    x0, y0, x1, y1 = xyxy
    return round(x0 + left, 1), round(y0 + top, 1), round(x1 + left, 1), round(y1 + top, 1)


def clumps_of(platelets: np.ndarray, um_per_px: float) -> list[Clump]:
    """Group platelets into clumps, largest first.

    Parameters
    ----------
    platelets : ndarray, shape (n, 4)
        xyxy px.
    um_per_px : float

    Returns
    -------
    list of Clump
        Three or more platelets whose boxes touch or are less than 1 um apart, and single boxes wider than 6 um, which
        are giant platelets or clumps whose platelets were not told apart.
    """
    if not len(platelets):
        return []
    gap = CLUMP_GAP_UM / um_per_px
    order = np.argsort(platelets[:, 0], kind="stable")
    boxes = platelets[order]
    first, second = [], []
    ends = np.searchsorted(boxes[:, 0], boxes[:, 2] + gap, side="right")
    for k, end in enumerate(ends):  # only boxes that begin before this one ends
        near = np.arange(k + 1, end)
        near = near[(boxes[near, 1] <= boxes[k, 3] + gap) & (boxes[near, 3] >= boxes[k, 1] - gap)]
        first += [k] * len(near)
        second += near.tolist()
    links = coo_matrix((np.ones(len(first)), (first, second)), (len(boxes),) * 2)
    _, group = connected_components(links, directed=False)
    clumps = []
    for number in range(group.max() + 1):
        own = boxes[group == number]
        is_large = (own[:, 2:] - own[:, :2]).max() >= LARGE_UM / um_per_px
        if len(own) >= LEAST_CLUMP or is_large:
            around = (*own[:, :2].min(0).tolist(), *own[:, 2:].max(0).tolist())
            clumps.append(Clump(len(own), around))
    return sorted(clumps, key=lambda clump: -clump.platelets)
