"""The card of a detector: what its weights are, how they are to be used, and what was measured with them.

It reads, checks and writes the JSON file beside the weights; measuring and showing are left to those who use it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detection.cell_types import CODES
from detection.images import UM_PER_PX_RANGE

NEEDED = ("name", "version", "sha256", "um_per_px", "classes", "default_score_threshold")
EVIDENCE = ("none", "weak", "fair", "good")


class DetectorRefused(Exception):
    """Say why a pair of weights and card is not used: changed weights, other classes, missing files."""


@dataclass(frozen=True)
class TestFigures:
    """What one test says of one type: cells, average precisions, and shares as [value, low, high] of 95 %."""

    __test__ = False  # no test of pytest

    n: int | None = None
    ap50: float | None = None
    ap50_95: float | None = None
    precision: tuple[float, ...] = ()
    recall: tuple[float, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "TestFigures":
        """Read the figures of a test as the card's JSON holds them; `facts` keeps the whole row."""
        shares = {name: tuple(row[name]) if isinstance(row.get(name), list) else () for name in ("precision", "recall")}
        return cls(row.get("n"), row.get("ap50"), row.get("ap50_95"), **shares, facts=row)


@dataclass(frozen=True)
class TypeCard:
    """What the card says of one type: training cells, evidence, its own threshold, and its figures by test."""

    code: str
    n_train: int = 0
    evidence: str = "none"
    score_threshold: float | None = None
    tests: Mapping[str, TestFigures] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "TypeCard":
        """Read one entry of the card's `classes`; every object in it is a test."""
        evidence = entry.get("evidence", "none")
        if evidence not in EVIDENCE:
            raise DetectorRefused(
                f"The detector's card says {evidence!r} of {entry['code']}: not {', '.join(EVIDENCE)}."
            )
        tests = {name: TestFigures.of(row) for name, row in entry.items() if isinstance(row, dict)}
        return cls(entry["code"], entry.get("n_train") or 0, evidence, entry.get("score_threshold"), tests)


@dataclass(frozen=True)
class Card:
    """A detector's card; `facts` is the whole JSON object, with all that only people read."""

    name: str
    version: str
    sha256: str
    um_per_px: float
    types: tuple[TypeCard, ...]
    default_score_threshold: float
    merge_iou: float = 0.5
    cell_score_threshold: float = 1.0
    temperature: float = 1.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, Any], codes: Sequence[str] = CODES) -> "Card":
        """Read a card from its JSON object.

        Raises
        ------
        DetectorRefused
            Where a needed entry is absent or of a wrong kind, or the classes are not these codes (without them the 15
            types) in their order.
        """
        if not isinstance(facts, Mapping):
            raise DetectorRefused("The detector's card is no JSON object.")
        if missing := sorted(set(NEEDED) - facts.keys()):
            raise DetectorRefused(f"The detector's card lacks {', '.join(missing)}.")
        try:
            types = tuple(TypeCard.of(entry) for entry in facts["classes"])
            numbers = [float(facts[name]) for name in ("um_per_px", "default_score_threshold")]
            merge_iou, cell = float(facts.get("merge_iou", 0.5)), float(facts.get("cell_score_threshold", 1.0))
            temperature = float(facts.get("temperature") or 1.0)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DetectorRefused("The detector's card holds entries of a wrong kind.") from error
        if tuple(own.code for own in types) != tuple(codes):
            what = "the 15 types" if tuple(codes) == CODES else "these"
            raise DetectorRefused(f"The detector's classes are not {what} in their order: {', '.join(codes)}.")
        if not UM_PER_PX_RANGE[0] <= numbers[0] <= UM_PER_PX_RANGE[1]:
            raise DetectorRefused(f"The detector's card says a scale of {numbers[0]:g} um per px, which no image has.")
        if not 0 < temperature < np.inf:
            raise DetectorRefused(f"The detector's card says a temperature of {temperature:g}: it is above 0.")
        name, version, sha256 = (str(facts[part]) for part in ("name", "version", "sha256"))
        return cls(name, version, sha256, numbers[0], types, numbers[1], merge_iou, cell, temperature, facts)

    @classmethod
    def read(cls, path: str | Path, codes: Sequence[str] = CODES) -> "Card":
        """Read a card's file; DetectorRefused where it is absent, no JSON or no card (see `of`)."""
        try:
            facts = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise DetectorRefused("The weights or the card of the detector cannot be read.") from error
        return cls.of(facts, codes)

    @classmethod
    def draft(cls, um_per_px: float, facts: Mapping[str, Any] | None = None, codes: Sequence[str] = CODES) -> "Card":
        """Return the card of weights that are not released, with what is known of them."""
        start = {"name": "unreleased", "version": "", "sha256": "", "um_per_px": um_per_px}
        rest = {"classes": [{"code": code} for code in codes], "default_score_threshold": 0.25}
        return cls.of(start | rest | dict(facts or {}), codes)

    def check_weights(self, path: str | Path) -> None:
        """Raise DetectorRefused where the weights cannot be read or are not those of this card."""
        try:
            sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise DetectorRefused("The weights or the card of the detector cannot be read.") from error
        if sha256 != self.sha256:
            raise DetectorRefused("The detector's weights are not those of its card: their SHA-256 differs.")

    def score_thresholds(self) -> np.ndarray:
        """Return the least score for each class, shape (classes,), float32, at which a box is a cell.

        It is the class's own threshold, the card's default where a class has none, and never more than the card's
        `cell_score_threshold`: below its own threshold a type is uncertain, yet the cell is there and a reader types
        it.
        """
        own = [
            self.default_score_threshold if one.score_threshold is None else one.score_threshold for one in self.types
        ]
        return np.minimum(np.array(own, np.float32), np.float32(self.cell_score_threshold))

    def type_card(self, code: str) -> TypeCard:
        """Return what the card says of a type."""
        return next(own for own in self.types if own.code == code)

    def tests(self) -> list[str]:
        """Return the names of the data sets that the card gives figures for, in its order."""
        return list(dict.fromkeys(test for own in self.types for test in own.tests))

    def write(self, path: str | Path) -> None:
        """Write the card's file, a list of numbers on one line."""
        text = json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n"
        text = re.sub(r"\[[\s\d.,-]+\]", lambda numbers: " ".join(numbers[0].split()), text)
        Path(path).write_text(text)
