"""Choose the precision that a detector runs in on this machine: float32, unless a faster one finds the same here.

Trying precisions is left to `detection.lab.measuring.gate`, running them to `networks`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.card import Card
from detection.inference.networks import EXPORT_FORM, machine_name

VERDICTS = "precisions.json"
LEAST_GAIN = 1.1  # times as fast as float32: less is not worth a second set of scores


def export_folder(cache_folder: str | Path | None, card: Card) -> Path | None:
    """Return where the export and the verdicts for this version and kind of processor are; None without a cache."""
    if cache_folder is None:
        return None
    return Path(cache_folder) / f"{card.name}-{card.sha256[:12]}" / f"{machine_name()}-{EXPORT_FORM}"


def int8_form(weights_path: str | Path) -> Path:
    """Return where the int8 form of weights is, if it was made: beside them (`python -m detection quantise`)."""
    weights_path = Path(weights_path)
    return weights_path.with_name(f"{weights_path.stem}-int8.xml")


def form_sha256(weights_path: str | Path, precision: str) -> str:
    """Return the SHA-256 of the int8 form, for which alone a verdict holds; "" without one, or in another precision."""
    form = int8_form(weights_path)
    parts = [form, form.with_suffix(".bin")]
    if precision != "int8" or not all(part.is_file() for part in parts):
        return ""
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def write_verdicts(folder: Path, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Keep what the gate found of each precision here, in place of what it found before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERDICTS).write_text(json.dumps(verdicts, indent=1))


def fastest(folder: Path | None, backend: str, weights_path: str | Path) -> str:
    """Return the fastest precision of a backend that passed the gate here and gains by it; "f32" where none did."""
    path = folder / VERDICTS if folder else None
    verdicts = json.loads(path.read_text()) if path and path.exists() else []
    gains = {
        one["candidate"][1]: one["gain"]
        for one in verdicts
        if one["passed"] and one["candidate"][0] == backend and one["gain"] >= LEAST_GAIN
        and one["form_sha256"] == form_sha256(weights_path, one["candidate"][1])
    }  # fmt: skip
    return max(gains, key=lambda precision: gains[precision], default="f32")
