"""Make a detector of a checkpoint that was trained here, with its card beside it or only the record of its run.

How a detector reads is left to `detection.inference`; training and releasing are left to their own modules.
"""

import json
from pathlib import Path
from typing import Any

from detection.inference.detector import Detector
from detection.inference.networks import load_network


def json_at(path: Path) -> dict[str, Any]:
    """Read a JSON file; an absent one reads as empty."""
    return json.loads(path.read_text()) if path.is_file() else {}


def training_scale(weights: Path) -> float:
    """Return the um per px that weights were trained at: their card's, else their run's.

    Raises
    ------
    ValueError
        When neither is beside the weights.
    FileNotFoundError
        When there are no such weights.
    """
    if not weights.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(weights))
    run = json_at(weights.parent / "run.json")
    scale = json_at(weights.with_suffix(".json")).get("um_per_px") or run.get("recipe", {}).get("um_per_px")
    if scale is None:
        raise ValueError(
            f"{weights} has neither a card ({weights.stem}.json) nor the run.json of its training beside it: "
            "the scale that it was trained at is not known."
        )
    return scale


def detector_of(weights: Path, um_per_px: float | None = None) -> Detector:
    """Return the detector of a checkpoint at a scale, else at that of its training (`training_scale`)."""
    return Detector.of_network(load_network(weights), um_per_px or training_scale(Path(weights)))
