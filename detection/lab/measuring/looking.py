"""The command `looks`: how many findings a person must look at, and how many wrong ones nobody looks at.

The rule is that of the product (`detection.looks`), on labelled views that the product's own reading reads.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detection.cell_types import CODES
from detection.lab.data.datasets import View, read_dataset
from detection.looks import GRAVE, reasons_to_look_at

if TYPE_CHECKING:
    from detection.lab.measuring.evaluation import Found

KEYS = ("found", "looks", "wrong", "slipped", "slipped grave")


class Call(NamedTuple):
    """What a detector called a cell, with its score, and what is labelled there; "" where nothing is."""

    code: str
    score: float
    label: str


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `looks`."""
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--split", default="val", help="train or val (default val)")
    parser.add_argument("--source", help="only views of this source")
    parser.add_argument("--samples", action="store_true", help="a line for each sample too, the smears of one patient")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the counts of each source."""
    from detection import SHIPPED
    from detection.inference.detector import Detector
    from detection.lab.measuring.evaluation import find_on_views

    weights = options.weights or SHIPPED[0]
    detector = Detector.load(weights, weights.with_suffix(".json"))
    views = [view for view in read_dataset(options.dataset, options.split) if options.source in (None, view.source)]
    views = [view for view in views if not view.boxless and not view.guessed]
    if not views:
        raise ValueError("There is no view with labelled boxes in this split and source.")
    evidence = {code: detector.card.type_card(code).evidence for code in CODES}
    rows: dict[str, Counter[str]] = {}
    for view, found in zip(views, find_on_views(detector, views, floor=None)[0]):
        counts = count(_calls(view, found), evidence)
        names = [view.source]
        if options.samples and view.patient:
            names.append(f"{view.source} {view.patient}")
        for name in names:
            rows.setdefault(name, Counter()).update(counts)
    if options.json:
        print(json.dumps({name: {key: row[key] for key in KEYS} for name, row in rows.items()}, indent=1))
        return 0
    print(f"{'':<24}{'found':>8}{'to look at':>18}{'wrong':>8}{'slipped':>9}   of them blasts or promyelocytes")
    for name, row in sorted(rows.items()):
        share = f"{row['looks']} ({100 * row['looks'] / max(row['found'], 1):.1f} %)"
        print(f"{name:<24}{row['found']:>8}{share:>18}{row['wrong']:>8}{row['slipped']:>9}   {row['slipped grave']}")
    return 0


def count(calls: Iterable[Call], evidence: Mapping[str, str]) -> Counter[str]:
    """Count findings, those that a person looks at, the wrong ones, and the wrong ones that nobody looks at.

    A finding where nothing is labelled is wrong. `evidence` is what the card says of each type.
    """
    counts: Counter[str] = Counter()
    for code, score, label in calls:
        is_wrong = code != label
        is_looked_at = bool(reasons_to_look_at(code, score, evidence[code]))
        slips = is_wrong and not is_looked_at
        counts["found"] += 1
        counts["looks"] += is_looked_at
        counts["wrong"] += is_wrong
        counts["slipped"] += slips
        counts["slipped grave"] += slips and label in GRAVE
    return counts


def _calls(view: View, found: "Found") -> list[Call]:
    """Return type, score and label of each finding; what lies on a cell that nobody typed is left out."""
    from detection.lab.measuring.evaluation import match_places, truth

    boxes, types = truth(view)
    untyped = np.array(view.unlabelled, float).reshape(-1, 4)
    places = match_places(found.boxes, found.scores, np.concatenate([boxes, untyped]))
    return [
        Call(CODES[code], float(score), CODES[types[place]] if place >= 0 else "")
        for code, score, place in zip(found.types, found.scores, places)
        if place < len(boxes)
    ]
