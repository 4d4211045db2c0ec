"""Find and type leukocytes: weights and their card become a Detector, and an image becomes a list of cells.
The scale of an image is left to `scale` and `reading`, suppression over seams to `tiling`.
"""

import logging
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detection.card import Card, DetectorRefused
from detection.cell_types import BY_CODE, CODES
from detection.images import UM_PER_PX_RANGE
from detection.inference.likeness import Likeness
from detection.inference.networks import (
    OpenVinoNetwork,
    TorchNetwork,
    has_fast_bfloat16,
    import_torch,
    load_module,
)
from detection.inference.nuclei import (
    FAINTEST_NUCLEUS,
    glass_of,
    least_erythroblast_stain,
    nuclear_stain,
    without_nucleus,
)
from detection.inference.precision import export_folder, fastest, int8_form
from detection.inference.retyping import TypingFit, from_site, logits, retype
from detection.inference.scale import refuse_enlargement
from detection.inference.stain_transfer import recolour
from detection.inference.tiling import merge_over_seams, own_cells, tile_grid

log = logging.getLogger(__name__)
OVERLAP_UM = 25.0  # a large blast or monocyte: each cell is whole in at least one tile
MARGIN_UM = 3.0
GRID_PX = 64
PADDING_GREY = 114  # what ultralytics pads with in training
NMS_CANDIDATES = 3000
SEVERAL_TYPES_IOU = 0.7  # what articles suppress at where a box may carry several types
ERYTHROBLAST = BY_CODE["EBO"].index


@dataclass(frozen=True)
class FoundCell:
    """One leukocyte: its type, the network's score 0..1, and its box in pixels of the original image.

    `scores` holds the network's scores of all types in class order, as a laboratory's fit left them; `chances` the
    three best types, each with its score brought to a chance of being right by the card's temperature.
    """

    code: str
    score: float
    xyxy: tuple[float, float, float, float]
    scores: tuple[float, ...] = ()
    chances: tuple[tuple[str, float], ...] = ()


class Detector:
    """A network with its card; `backend`, `precision` and `device` say how it runs and belong to every stored run."""

    def __init__(self, card: Card, network: "TorchNetwork | OpenVinoNetwork") -> None:
        self.card, self.network = card, network
        self.thresholds = card.score_thresholds()
        self.colour: dict | None = None
        self.typing: TypingFit | None = None
        try:
            self.likeness = Likeness.of(card.facts["likeness"]) if "likeness" in card.facts else None
        except (KeyError, TypeError, ValueError) as error:
            raise DetectorRefused("The detector's card holds entries of a wrong kind.") from error

    @classmethod
    def of_network(cls, module: Any, um_per_px: float) -> "Detector":
        """Return a detector of a network that has no card yet, for training and measuring.

        Parameters
        ----------
        module : torch.nn.Module
            Network with the 15 types; it is used in evaluation mode, and on CUDA in half precision.
        um_per_px : float
            Scale that it was trained at.
        """
        torch = import_torch()
        if torch.cuda.is_available():
            device, precision = f"cuda ({torch.cuda.get_device_name()})", "f16"
        else:
            device, precision = "cpu", "bf16" if has_fast_bfloat16() else "f32"
        network = TorchNetwork(module.float().eval(), device=device, precision=precision)
        return cls(Card.draft(um_per_px), network)

    @property
    def backend(self) -> str:
        """torch or openvino."""
        return self.network.backend

    @property
    def precision(self) -> str:
        """f32, bf16, int8 or f16."""
        return self.network.precision

    @property
    def device(self) -> str:
        """cpu, or cuda with the name of the card."""
        return self.network.device

    def calibrated(self, site: Mapping[str, Any]) -> "Detector":
        """Return this detector fitted to one laboratory; the network is shared, the card stays as it is.

        Parameters
        ----------
        site : dict
            What `calibration.calibrate` found and `write_site` stored.

        Raises
        ------
        DetectorRefused
            If it was fitted for other weights.
        """
        if site["weights_sha256"] != self.card.sha256:
            raise DetectorRefused("The calibration was made for other weights: make it again for this version.")
        own = copy(self)
        own.thresholds = np.array([site["thresholds"][code] for code in CODES], np.float32)
        own.colour = site["colour"]
        own.typing = from_site(site.get("typing"))
        return own

    @classmethod
    def load(
        cls,
        weights_path: str | Path,
        card: str | Path | dict | Card,
        *,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        cache_folder: str | Path | None = None,
    ) -> "Detector":
        """Load a detector after comparing weights and classes with its card.

        Parameters
        ----------
        weights_path : str or Path
        card : str, Path, dict or Card
            The card's file, its JSON object, or the card itself.
        device : {"auto", "cpu", "cuda"}
            "auto" takes CUDA where it is.
        backend : {"auto", "torch", "openvino"}
            "auto" takes OpenVINO on a CPU where it is installed and works and a `cache_folder` is given, else torch.
        precision : {"auto", "f32", "bf16", "int8"}
            "auto" is f32 on a CPU unless the gate recorded in `cache_folder` that a faster one changes nothing here;
            CUDA always runs in half precision (f16). int8 is of OpenVINO alone.
        cache_folder : str or Path, optional
            Where the OpenVINO export and the gate's result of this version and processor are kept.

        Raises
        ------
        DetectorRefused
            If a file is missing, the SHA-256 differs from the card's, or the classes are not ours in our order.
        """
        weights_path = Path(weights_path)
        if not isinstance(card, Card):
            card = Card.of(card) if isinstance(card, dict) else Card.read(card)
        card.check_weights(weights_path)
        torch = import_torch()
        if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
            name = f"cuda ({torch.cuda.get_device_name()})"
            return cls(card, TorchNetwork(load_module(weights_path), device=name, precision="f16"))
        folder = export_folder(cache_folder, card)
        chosen = backend
        if backend == "auto":
            chosen = "openvino" if folder and _has_openvino() else "torch"
        if precision == "auto":
            precision = fastest(folder, chosen, weights_path)
        if chosen == "openvino":
            if folder is None:
                raise DetectorRefused("The OpenVINO form of a detector needs a cache_folder to be kept in.")
            try:
                form = int8_form(weights_path) if precision == "int8" else folder / "network.xml"
                return cls(card, OpenVinoNetwork(weights_path, form, precision=precision))
            except (OSError, RuntimeError, ValueError):
                if backend == "openvino":
                    raise
                log.warning("OpenVINO cannot be used in %s: torch in float32 instead", folder, exc_info=True)
                precision = "f32"
        return cls(card, TorchNetwork(load_module(weights_path), device="cpu", precision=precision))

    def with_thresholds(self, thresholds: np.ndarray) -> "Detector":
        """Return this detector with other least scores, shape (15,) in class order; the network is shared."""
        own = copy(self)
        own.thresholds = np.asarray(thresholds, np.float32)
        return own

    def with_colour(self, colour: dict | None) -> "Detector":
        """Return this detector with another stain transfer (see `stain_transfer.recolour`); the network is shared."""
        own = copy(self)
        own.colour = colour
        return own

    def find_cells(
        self,
        image: np.ndarray,
        um_per_px: float,
        *,
        tile_px: int = 1280,
        thresholds: np.ndarray | float | None = None,
        several_types: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[FoundCell]:
        """Find the leukocytes of an image of any size.

        Parameters
        ----------
        image : ndarray or memmap, shape (H, W, 3), uint8, RGB
        um_per_px : float, 0.02..1
            Scale of `image`; it is brought to the scale that the detector was trained at.
        tile_px : int
            Edge of the tiles that the network sees, at least 128; rounded down to a multiple of 64.
        thresholds : ndarray, shape (15,), or float, 0..1, optional
            Least scores in class order in place of the detector's own.
        several_types : bool
            True lets a box carry each type that reaches its threshold (suppression within each type, IoU 0.7), as
            articles measure average precision; False gives every cell one type.
        on_progress : callable(done, total), optional
            Called after each batch with counts of tiles.

        Returns
        -------
        list of FoundCell
            Best score first; empty where no leukocyte is found.

        Raises
        ------
        ValueError
            If the scale is outside the range or the image is not (H, W, 3) uint8; ScaleUnknown, if the scale would
            enlarge the image beyond what a worker can read.

        Notes
        -----
        Tiles in which nothing is stained like a nucleus are not shown to the network: every box there would be left
        out afterwards. Tiles overlap by 25 um and each answers for the cells with centres in its part, so that cells
        are seen whole and with surroundings. A box is of the type that scores highest; it counts where that score
        reaches the type's threshold. Non-maximum suppression is class-agnostic, inside tiles and over seams: one cell,
        one type. Boxes in which nothing is stained like a nucleus are left out (`nuclei.without_nucleus`); where the
        box says erythroblast it must be as dark as the nuclei of the image.
        """
        check_image(image, um_per_px)
        refuse_enlargement(image.shape[1], image.shape[0], um_per_px, self.card.um_per_px)
        least = np.broadcast_to(
            self.thresholds if thresholds is None else np.asarray(thresholds, np.float32), len(CODES)
        )
        tiles = Tiles(image, um_per_px, self.card.um_per_px, tile_px, self.colour)
        choose = self._boxes_of_several_types if several_types else self._boxes
        xyxy, scores, classes, rows, cut = self._look_at(tiles, lambda output: choose(output, least), on_progress)
        # Types that may share a box are moved apart, so that the boxes of each are merged by themselves.
        apart = classes[:, None] * 2.0 * max(image.shape[:2]) if several_types else 0.0
        kept = merge_over_seams(
            xyxy + apart, scores, cut, iou=SEVERAL_TYPES_IOU if several_types else self.card.merge_iou
        )
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        kept = kept[~self._lacks_nucleus(image, xyxy[kept], classes[kept])]
        chances = self.best_types(rows[kept])
        return [
            FoundCell(
                CODES[classes[i]],
                float(scores[i]),
                (*map(float, xyxy[i]),),  # type: ignore[arg-type]
                (*map(float, rows[i]),),
                three,
            )
            for i, three in zip(kept, chances)
        ]

    def best_types(self, scores: np.ndarray) -> list[tuple[tuple[str, float], ...]]:
        """Return the three best types of each cell with their chances, from scores of all types, shape (n, 15)."""
        chances = 1 / (1 + np.exp(-logits(scores) / self.card.temperature))
        order = np.argsort(-chances, axis=1, kind="stable")[:, :3]
        return [tuple((CODES[k], round(float(own[k]), 4)) for k in best) for own, best in zip(chances, order)]

    def _look_at(
        self,
        tiles: "Tiles",
        choose: Callable[[np.ndarray], tuple[np.ndarray, ...]],
        on_progress: Callable[[int, int], None] | None,
    ) -> tuple[np.ndarray, ...]:
        """Return xyxy in px of the image, scores, classes, scores of all types and `cut` of what all tiles show."""
        nothing = (np.empty((0, 4)), np.empty(0), np.empty(0, int), np.empty((0, len(CODES))), np.empty(0, bool))
        found: list[tuple[np.ndarray, ...]] = [nothing]
        batch = max(1, self.network.batch_tiles * 640**2 // tiles.tile_px**2)
        waiting: list[int] = []
        for number in range(len(tiles)):
            if not tiles.is_empty(number):
                waiting.append(number)
            if waiting and (len(waiting) == batch or number + 1 == len(tiles)):
                outputs = self.network(np.stack([tiles.pixels(own) for own in waiting]))  # (N, 4 + 15, anchors)
                found += [tiles.in_image(own, *choose(output)) for own, output in zip(waiting, outputs)]
                waiting = []
            if on_progress and not waiting:
                on_progress(number + 1, len(tiles))
        xyxy, scores, classes, rows, cut = (np.concatenate(parts) for parts in zip(*found))
        return xyxy, scores, classes, rows, cut

    def _lacks_nucleus(self, image: np.ndarray, xyxy: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Tell which boxes hold nothing stained like the nucleus that their type has, shape (n,), bool."""
        least = np.full(len(xyxy), FAINTEST_NUCLEUS)
        if (is_erythroblast := classes == ERYTHROBLAST).any():
            least[is_erythroblast] = least_erythroblast_stain(image)
        return without_nucleus(image, xyxy, least)

    def _boxes(self, output: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what `suppress` leaves of one tile's output (4 + 15, anchors), one type a box."""
        output = self._retyped(output, least.min())
        classes = output[4:].argmax(0)
        scores = output[4:].max(0)
        anchors = np.flatnonzero(scores >= least[classes])
        return suppress(output, anchors, classes[anchors], scores[anchors], iou=self.card.merge_iou, per_type=False)

    def _boxes_of_several_types(self, output: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what `suppress` leaves of one tile's output, each box once for each of its types."""
        output = self._retyped(output, least.min())
        classes, anchors = np.nonzero(output[4:] >= least[:, None])
        return suppress(output, anchors, classes, output[4 + classes, anchors], iou=SEVERAL_TYPES_IOU, per_type=True)

    def _retyped(self, output: np.ndarray, lowest: float) -> np.ndarray:
        """Return one tile's output with the laboratory's typing where a cell can be."""
        if self.typing is None:
            return output
        anchors = np.flatnonzero(output[4:].max(0) >= lowest)
        output = output.copy()
        output[4:, anchors] = retype(output[4:, anchors].T, self.typing).T
        return output


def check_image(image: np.ndarray, um_per_px: float) -> None:
    """Raise ValueError where an array is no RGB image or its scale is out of range."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if not UM_PER_PX_RANGE[0] <= um_per_px <= UM_PER_PX_RANGE[1]:
        raise ValueError(
            f"a scale of {um_per_px:g} um per px is outside {UM_PER_PX_RANGE[0]:g} to {UM_PER_PX_RANGE[1]:g}"
        )


def suppress(
    output: np.ndarray, anchors: np.ndarray, classes: np.ndarray, scores: np.ndarray, *, iou: float, per_type: bool
) -> tuple[np.ndarray, ...]:
    """Suppress overlapping boxes of one tile, whatever their types or within each type.

    Parameters
    ----------
    output : ndarray, shape (4 + 15, anchors)
        Of the network; boxes as centre and size in px of the tile.
    anchors, classes, scores : ndarray, shape (n,)
        The candidates: column of `output`, class index, score.
    iou : float
        Overlap above which the lower score goes.
    per_type : bool

    Returns
    -------
    xyxy : ndarray, shape (k, 4)
    scores, classes : ndarray, shape (k,)
    rows : ndarray, shape (k, 15)
        Scores of all types.
    """
    import torch
    from torchvision.ops import batched_nms, nms

    best = np.argsort(-scores, kind="stable")[:NMS_CANDIDATES]
    anchors, classes, scores = anchors[best], classes[best], scores[best]
    cx, cy, width, height = output[:4, anchors]
    xyxy = np.stack([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2], 1)  # (n, 4)
    boxes, values = torch.from_numpy(xyxy), torch.from_numpy(scores)
    # Our own call: that of ultralytics has a time limit after which the rest comes back empty.
    kept = batched_nms(boxes, values, torch.from_numpy(classes), iou) if per_type else nms(boxes, values, iou)
    kept = kept.numpy()
    return xyxy[kept], scores[kept], classes[kept], output[4:, anchors[kept]].T


class Tiles:
    """An image cut into tiles of the network's size at the scale of its training, made when asked for."""

    def __init__(
        self, image: np.ndarray, um_per_px: float, trained_um_per_px: float, tile_px: int, colour: dict | None = None
    ) -> None:
        self.image, self.colour, self.glass = image, colour, glass_of(image)
        height_px, width_px = image.shape[:2]
        wanted = um_per_px / trained_um_per_px
        # Tiles begin at whole steps of a grid of 64 px (two strides of the network) that is a whole number of px of the
        # image: so a cell meets the network in the same phase, and scores the same, however the image is tiled.
        step_px = max(1, round(GRID_PX / wanted))
        self.zoom = GRID_PX / step_px
        rows, columns = -(-height_px // step_px), -(-width_px // step_px)
        # A picture smaller than a tile gets a smaller tile, not a larger frame.
        tile_steps = min(tile_px // GRID_PX, max(rows, columns))
        overlap_steps = min(int(np.ceil(OVERLAP_UM / um_per_px / step_px)), tile_steps // 2)
        self.tile_px, self.source_px = tile_steps * GRID_PX, tile_steps * step_px
        self.overlap_px = overlap_steps * step_px
        self.margin_px = min(MARGIN_UM / um_per_px, self.overlap_px / 4)
        self.corners = [(x * step_px, y * step_px) for x, y in tile_grid(columns, rows, tile_steps, overlap_steps)]

    def __len__(self) -> int:
        return len(self.corners)

    def is_empty(self, number: int) -> bool:
        """Tell whether nothing on a tile is stained like even the faintest nucleus."""
        x, y = self.corners[number]
        source = self.image[y : y + self.source_px : 2, x : x + self.source_px : 2]
        return bool(nuclear_stain(np.ascontiguousarray(source), self.glass).max() < FAINTEST_NUCLEUS)

    def pixels(self, number: int) -> np.ndarray:
        """Return one tile (tile_px, tile_px, 3) uint8, padded with grey beyond the right and lower end of the image."""
        x, y = self.corners[number]
        # A slice beyond the end is shorter.
        source = np.ascontiguousarray(self.image[y : y + self.source_px, x : x + self.source_px])
        size = tuple(max(1, round(edge_px * self.zoom)) for edge_px in source.shape[1::-1])
        resized = cv2.resize(source, size, interpolation=cv2.INTER_AREA if self.zoom < 1 else cv2.INTER_LINEAR)
        resized = recolour(resized, self.colour)
        if resized.shape[:2] == (self.tile_px, self.tile_px):
            return resized
        tile = np.full((self.tile_px, self.tile_px, 3), PADDING_GREY, np.uint8)
        tile[: size[1], : size[0]] = resized
        return tile

    def in_image(self, number: int, xyxy: np.ndarray, *facts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the boxes that a tile answers for in pixels of the image, with their facts, and which were cut."""
        x, y = self.corners[number]
        height_px, width_px = self.image.shape[:2]
        xyxy = xyxy / self.zoom + np.array([x, y, x, y], np.float32)
        owned, cut = own_cells(xyxy, x, y, self.source_px, width_px, height_px, self.overlap_px, self.margin_px)
        xyxy = xyxy.clip(0, [width_px, height_px, width_px, height_px])
        owned &= (xyxy[:, 2:] - xyxy[:, :2]).min(1, initial=np.inf) >= 1
        return xyxy[owned], *(fact[owned] for fact in facts), cut[owned]


def _has_openvino() -> bool:
    import importlib.util

    return importlib.util.find_spec("openvino") is not None
