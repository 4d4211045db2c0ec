"""Build the network of an architecture file, store it, and start a wider one as the equal of a narrow one.

Loading is left to `detection.inference.networks`, training to `training`.
"""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import torch
import yaml
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG

from detection.cell_types import CODES
from detection.inference.networks import load_network

ARCHITECTURES = Path(__file__).parents[2] / "architectures"


def build_network(
    architecture: str | Path, *, scale: str = "n", start: Path | None = None, codes: Sequence[str] = CODES
) -> DetectionModel:
    """Build the network of an architecture file.

    Parameters
    ----------
    architecture : str or Path
        Name in `detection/architectures` or of ultralytics ("yolov5n.yaml", "yolov5s.yaml"), or a path.
    scale : str
        "n", "s", "m" or "full" for the files of `detection/architectures`.
    start : Path or None
        Checkpoint whose fitting weights are taken over; one of half the width starts the wider network as its equal.
    codes : sequence of str
        Its classes in their order; the fifteen types without it.

    Returns
    -------
    DetectionModel
        float32, in training mode, with `names` set to the codes.

    Raises
    ------
    FileNotFoundError
        When there is no such architecture file.
    """
    own = ARCHITECTURES / str(architecture)
    plan = yaml.safe_load(own.read_text()) | {"scale": scale} if own.is_file() else str(architecture)
    network = DetectionModel(plan, nc=len(codes), verbose=False)
    if start:
        known = load_network(start)
        if not widen(known, network):
            network.load(known, verbose=False)
    network.names = dict(enumerate(codes))
    network.args = get_cfg(DEFAULT_CFG)
    return network


def save_network(path: str | Path, network: DetectionModel, facts: Mapping[str, Any]) -> None:
    """Store a network as ultralytics does (half precision, "model"), so that its own tools can open it."""
    path = Path(path)
    stored = {
        "model": deepcopy(network).half().eval(),
        "ema": None,
        "train_args": dict(facts),
        "epoch": -1,
        "optimizer": None,
    }
    if hasattr(stored["model"], "criterion"):
        stored["model"].criterion = None
    torch.save(stored, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def widen(small: DetectionModel, large: DetectionModel) -> bool:
    """Give a network the knowledge of one with the same layers and narrower channels: it starts with equal output.

    Parameters
    ----------
    small : DetectionModel
    large : DetectionModel
        Changed in place where it is wider.

    Returns
    -------
    bool
        False, and nothing is changed, where the layers differ, a width is no multiple, or none is larger.

    Notes
    -----
    Every channel is repeated; each weight that reads a repeated channel is divided among its copies in random shares,
    so that the copies learn apart.

    References
    ----------
    Chen et al. 2016, Net2Net: Accelerating Learning via Knowledge Transfer, arXiv 1511.05641.
    """
    known, wide = small.state_dict(), large.state_dict()
    if known.keys() != wide.keys() or all(known[name].shape == wide[name].shape for name in wide):
        return False
    if any(w % k for name in wide for k, w in zip(known[name].shape, wide[name].shape)):
        return False
    grown = {}
    for name, value in known.items():
        times = [w // k for k, w in zip(value.shape, wide[name].shape)]
        if times and times[0] > 1:
            value = value.repeat_interleave(times[0], 0)
        if len(times) > 1 and times[1] > 1:
            shares = torch.rand(*value.shape[:2], times[1]) * 0.4 + 0.3  # (out, in, copies)
            shares = (shares / shares.sum(2, keepdim=True)).flatten(1)  # (out, in * copies)
            value = value.repeat_interleave(times[1], 1) * shares[..., None, None]
        grown[name] = value
    large.load_state_dict(grown)
    return True
