"""The command `release-film`: measure a detector of red cells and platelets on held-out views, and write its card.

Boxes are matched by `evaluation`; training is that of leukocytes.
"""

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from detection.card import Card
from detection.cell_types import FILM_CODES
from detection.inference.film import EDGE_PX, FilmDetector
from detection.inference.networks import load_network
from detection.lab.data.datasets import View, read_dataset, read_pixels
from detection.lab.measuring.evaluation import Found, ap_table, match_views, proportion, round4, truth

LOWEST_SCORE = 0.02
SCORES = np.round(np.arange(0.1, 0.81, 0.02), 2)  # thresholds that are tried
DRAWS = 200


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `release-film`."""
    parser.add_argument("weights", type=Path, help="checkpoint, the run.json of its training beside it")
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare` that it was trained on")
    parser.add_argument("--choose-on", required=True, metavar="SOURCE", help="validation views that set the thresholds")
    parser.add_argument(
        "--test", action="append", required=True, metavar="NAME=SOURCE[@FILE]",
        help="validation views of a source, of this data set or of another one: they give the figures",
    )  # fmt: skip
    parser.add_argument("--name", required=True, help="name of the detector and its files")
    parser.add_argument("--version", required=True, help="version that the card states")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument("--weak", action="append", default=[], help="a known weak point, in words")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `release-film`."""
    recipe = json.loads((options.weights.parent / "run.json").read_text())
    dataset = json.loads(options.dataset.read_text())
    detector = FilmDetector.of_network(load_network(options.weights), recipe["recipe"]["um_per_px"])
    held = [view for view in read_dataset(options.dataset, "val") if view.source == options.choose_on]
    thresholds = choose_thresholds(held, find_on_views(detector, held))
    print(f"thresholds on {len(held)} views of {options.choose_on}: {thresholds}")
    tests: dict[str, dict[str, Any]] = {}
    for pair in options.test:
        name, _, place = pair.partition("=")
        source, _, file = place.partition("@")
        views = [view for view in read_dataset(file or options.dataset, "val") if view.source == source]
        tests[name] = figures(views, find_on_views(detector, views), thresholds)
        print(name, json.dumps(tests[name]))
    counts = Counter(code for view in read_dataset(options.dataset, "train") for code, _ in view.cells)
    stored = options.weights.read_bytes()
    facts = {
        "name": options.name, "version": options.version, "weights": f"{options.name}.pt",
        "sha256": hashlib.sha256(stored).hexdigest(), "bytes": len(stored), "architecture": recipe["architecture"],
        "um_per_px": recipe["recipe"]["um_per_px"], "merge_iou": 0.5,
        "default_score_threshold": max(thresholds.values()),
        "classes": [
            {"index": k, "code": code, "n_train": counts[code], "evidence": evidence([test[code] for test in
             tests.values()]), "score_threshold": thresholds[code]} | {name: own[code] for name, own in tests.items()}
            for k, code in enumerate(FILM_CODES)
        ],
        "evidence_rule": "lower AP@.5 of the tests: good >= .80, fair >= .60, weak below",
        "intervals": "95 %; AP and counts: bootstrap by view; precision, recall: Clopper-Pearson",
        "training": {
            "views": sum(view["split"] == "train" for view in dataset["views"]), "sources": dataset["sources"],
            "manifest_sha256": dataset["manifest_sha256"], "recipe": recipe["recipe"], "device": recipe["device"],
            "precision": recipe["precision"],
        },
        "known_weak": options.weak,
        "licence": "AGPL-3.0-or-later (ultralytics); data licences as named with the sources",
        "intended_use": "research use, not a medical device; help beside the count of a person, never a result",
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(options.weights, options.out / facts["weights"])
    Card.of(facts, FILM_CODES).write(options.out / f"{options.name}.json")
    return 0


def evidence(tests: Sequence[Mapping[str, Any]]) -> str:
    """Judge a class by the lowest AP@.5 of its tests."""
    least = min(test["ap50"] for test in tests)
    return "good" if least >= 0.8 else "fair" if least >= 0.6 else "weak"


def find_on_views(detector: FilmDetector, views: Sequence[View]) -> list[Found]:
    """Return all findings of views, down to the lowest score, best first."""
    found = []
    for view in tqdm(views, desc="views", mininterval=10, leave=False):
        elements = detector.find(read_pixels(view.path), view.um_per_px or np.nan, LOWEST_SCORE)
        found.append(
            Found(
                np.array([own.xyxy for own in elements], float).reshape(-1, 4),
                np.array([FILM_CODES.index(own.code) for own in elements], int),
                np.array([own.score for own in elements], float),
            )
        )
    return found


def choose_thresholds(views: Sequence[View], found: Sequence[Found]) -> dict[str, float]:
    """Return for each class the score at which as many are found as are labelled: counts are what it is for."""
    chosen = {}
    for k, code in enumerate(FILM_CODES):
        labelled = sum(whole(*truth(view, FILM_CODES), k) for view in views)
        counts = [sum(whole(own.boxes, own.types, k, own.scores >= least) for own in found) for least in SCORES]
        chosen[code] = float(SCORES[np.abs(np.array(counts) - labelled).argmin()])
    return chosen


def whole(boxes: np.ndarray, types: np.ndarray, index: int, shown: np.ndarray | bool = True) -> int:
    """Count the boxes of a class that neither the left nor the upper edge of the view cuts."""
    return int(((boxes[:, :2] > EDGE_PX).all(1) & (types == index) & shown).sum())


def figures(views: Sequence[View], found: Sequence[Found], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return for each class n, AP, precision and recall at its threshold, and how counts compare with the labels.

    `counted` is the sum of found over that of labelled with its interval; `count_error` the mean of |found - labelled|
    of a view; `share_within_25` the share of views with at least four labelled whose count is within a quarter.
    """
    table = ap_table(views, match_views(views, found, FILM_CODES), repeats=DRAWS, codes=FILM_CODES)["types"]
    rng, result = np.random.default_rng(0), {}
    for k, code in enumerate(FILM_CODES):
        shown = [
            Found(own.boxes[keep], own.types[keep], own.scores[keep])
            for own in found
            for keep in [(own.scores >= thresholds[code]) & (own.types == k)]
        ]
        match = match_views(views, shown, FILM_CODES)[k]
        right, called, labelled = int(match.hits[:, 0].sum()), len(match.scores), int(match.labels.sum())
        sought = np.array([whole(*truth(view, FILM_CODES), k) for view in views])
        counted = np.array([whole(own.boxes, own.types, k) for own in shown])
        draws = rng.integers(len(views), size=(DRAWS * 5, len(views)))
        ratios = counted[draws].sum(1) / np.maximum(sought[draws].sum(1), 1)
        many = sought >= 4
        within = int((np.abs(counted - sought)[many] <= 0.25 * sought[many]).sum())
        result[code] = table[code] | {
            "views": len(views),
            "precision": proportion(right, called),
            "recall": proportion(right, labelled),
            "labelled_whole": int(sought.sum()),
            "found_whole": int(counted.sum()),
            "counted": [round4(v) for v in (counted.sum() / sought.sum(), *np.percentile(ratios, [2.5, 97.5]))],
            "count_error": round4(np.abs(counted - sought).mean()),
            "share_within_25": proportion(within, int(many.sum())),
        }
    return result
