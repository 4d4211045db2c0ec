"""The loss of training: ultralytics' own, with targets shared between neighbouring types and a weight for each cell.

Drawing canvases is left to `sampling`, training to `training`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from detection.cell_types import CODES, NEIGHBOURS


def smoothing_matrix(share: float, codes: Sequence[str] = CODES) -> torch.Tensor:
    """Return (classes, classes): row i is what a cell of type i teaches; neighbours of NEIGHBOURS divide `share`."""
    matrix = torch.eye(len(codes))
    for index, code in enumerate(codes):
        near = [b if a == code else a for a, b in NEIGHBOURS if code in (a, b)]
        for other in near:
            matrix[index, codes.index(other)] = share / len(near)
        if near:
            matrix[index, index] = 1 - share
    return matrix


def build_loss(network: Any, smoothing: float, cls: float = 0.5, codes: Sequence[str] = CODES) -> Callable[..., Any]:
    """Build the loss of a network.

    Parameters
    ----------
    network : DetectionModel
    smoothing : float, 0 to 1
        Share of a target that goes to the neighbouring types.
    cls : float
        Weight of typing against placing.
    codes : sequence of str
        Classes of the network.

    Returns
    -------
    callable(predictions, batch) -> (loss of 3 parts, their means)
        CIoU, distribution focal loss, and binary cross-entropy of the types, in which a cell counts by its weight and
        leukocytes that nobody typed not at all; `batch` is that of `sampling.collate`.
    """
    network.args.cls = cls
    loss = network.init_criterion()
    matrix = smoothing_matrix(smoothing, codes).to(next(network.parameters()).device)
    assign, cross_entropy = loss.assigner.forward, loss.bce
    now: dict[str, Any] = {}

    def assign_shared(
        scores: torch.Tensor, boxes: torch.Tensor, points: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple:
        labels, aims, targets, is_cell, numbers = assign(scores, boxes, points, *args, **kwargs)
        now["weights"] = anchor_weights(now["batch"], points, is_cell.bool(), numbers.long())
        return labels, aims, targets @ matrix.to(targets.dtype), is_cell, numbers

    def weighted(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits, targets) * now["weights"][..., None]

    def loss_of(predictions: Any, batch: Mapping[str, torch.Tensor]) -> Any:
        now["batch"] = batch
        return loss(predictions, batch)

    loss.assigner.forward, loss.bce = assign_shared, weighted
    return loss_of


def anchor_weights(
    batch: Mapping[str, torch.Tensor], points: torch.Tensor, is_cell: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    """Return what each anchor counts in typing.

    Parameters
    ----------
    batch : dict
        That of `sampling.collate`.
    points : tensor, shape (anchors, 2)
        Middles of the anchors in px of the canvas.
    is_cell, numbers : tensor, shape (images, anchors), bool and int
        Whether an anchor was given a cell, and which of its image.

    Returns
    -------
    tensor, shape (images, anchors), float
        The weight of its cell; 0 where it has none and lies in the box of a leukocyte that nobody typed; else 1.
    """
    weights = torch.ones(is_cell.shape, device=points.device)
    edge_px, owners, unlabelled_owners = (
        batch["img"].shape[-1],
        batch["batch_idx"].long(),
        batch["unlabelled_idx"].long(),
    )
    for image in range(len(weights)):
        boxes = batch["unlabelled"][unlabelled_owners == image] * edge_px
        inside = (points[:, None] > boxes[None, :, :2]).all(2) & (points[:, None] < boxes[None, :, 2:]).all(2)
        weights[image, inside.any(1)] = 0.0
        own = batch["weights"][owners == image]
        weights[image, is_cell[image]] = own[numbers[image, is_cell[image]]]
    return weights
