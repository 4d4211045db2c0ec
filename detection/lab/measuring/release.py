"""Make a detector version of a trained network: weights, SHA-256 and the card that says what it is worth.

Measuring is left to `evaluate`, the format of the file to `detection.card`.
"""

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.card import Card
from detection.cell_types import CODES
from detection.inference.stain_transfer import as_lists
from detection.lab.data.datasets import read_dataset
from detection.lab.data.stains import measure_likeness, training_stain

EVIDENCE_RULE = (
    "lower AP@.5 (one type a cell, as the product shows it) of the tests with n >= 10: good >= .80, fair >= .60, "
    "weak below or untested, none = no training example"
)


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `release`."""
    parser.add_argument("weights", type=Path, help="checkpoint, the run.json of its training beside it")
    parser.add_argument("dataset", type=Path, help="dataset.json it was trained on")
    parser.add_argument("--name", required=True, help="name of the detector and its files")
    parser.add_argument("--version", required=True, help="version that the card states")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument(
        "--evaluation",
        action="append",
        default=[],
        metavar="NAME=FILE",
        required=True,
        help="evaluation.json of a test; the first one's thresholds count unless --thresholds",
    )
    parser.add_argument(
        "--thresholds", type=Path, help="evaluation.json whose thresholds and temperature go into the card"
    )
    parser.add_argument(
        "--proven-on",
        nargs="+",
        metavar="SOURCE",
        help="sources whose stain and focus the figures hold for; default: all with validation views",
    )
    parser.add_argument("--facts", type=Path, help="JSON of more facts for the card's top level")
    parser.add_argument("--weak", action="append", default=[], help="a known weak point, in words")
    parser.add_argument("--history", default="", help="what training started from and how it went")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Run `release`."""
    evaluations = {
        name: json.loads(Path(file).read_text())
        for name, _, file in (pair.partition("=") for pair in options.evaluation)
    }
    chosen = json.loads(options.thresholds.read_text()) if options.thresholds else next(iter(evaluations.values()))
    run = json.loads((options.weights.parent / "run.json").read_text())
    dataset = json.loads(options.dataset.read_text())
    refuse_foreign_figures(options.weights, dataset, run, evaluations | {"of the thresholds": chosen})
    facts = json.loads(options.facts.read_text()) if options.facts else {}
    views = read_dataset(options.dataset)
    if stain := training_stain([view for view in views if view.split == "train"]):
        facts["look"] = as_lists(stain)
        sources = options.proven_on or {view.source for view in views if view.split == "val"}
        facts["likeness"] = measure_likeness(views, sources, coarsest_scale(run["recipe"]["um_per_px"])).as_facts()
    middle = sorted(chosen["thresholds"].values())[len(chosen["thresholds"]) // 2]
    card = build_card(
        options.weights,
        options.name,
        options.version,
        dataset=dataset,
        run=run,
        evaluations=evaluations,
        thresholds=chosen["thresholds"],
        common_threshold=chosen.get("common_threshold", middle),
        temperature=chosen["temperature"],
        known_weak=options.weak,
        history=options.history,
        extra=facts,
    )
    for path in write_release(options.weights, card, options.out):
        print(path)
    return 0


def coarsest_scale(um_per_px: float) -> float:
    """Return the coarsest scale, um per px, that training at `um_per_px` shows (`sampling.draw_zoom`)."""
    return um_per_px / 0.62


def evidence(n_train: int, tests: Sequence[Mapping[str, Any]]) -> str:
    """Judge a type's evidence.

    Parameters
    ----------
    n_train : int
        Training cells of the type.
    tests : sequence of dict
        Rows with `n` and `ap50` of independent tests.

    Returns
    -------
    str
        "none", "weak", "fair" or "good" by EVIDENCE_RULE.
    """
    if not n_train:
        return "none"
    measured = [row["ap50"] for row in tests if row["n"] >= 10]
    if not measured:
        return "weak"
    return "good" if min(measured) >= 0.8 else "fair" if min(measured) >= 0.6 else "weak"


def refuse_foreign_figures(
    weights: str | Path,
    dataset: Mapping[str, Any],
    run: Mapping[str, Any],
    evaluations: Mapping[str, Mapping[str, Any]],
) -> None:
    """Make sure that data set and figures belong to the weights; what an older file does not say passes.

    Parameters
    ----------
    weights, dataset, run, evaluations
        As in `build_card`.

    Raises
    ------
    ValueError
        When the run was trained on another data set, or an evaluation measured other weights.
    """
    sha256 = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    if run.get("manifest_sha256", dataset["manifest_sha256"]) != dataset["manifest_sha256"]:
        raise ValueError("The weights were trained on another data set than the one given: the manifests differ.")
    for name, result in evaluations.items():
        if result.get("weights_sha256", sha256) != sha256:
            raise ValueError(f"The evaluation {name} measured other weights: evaluate {weights} and release again.")


def build_card(
    weights: str | Path,
    name: str,
    version: str,
    *,
    dataset: Mapping[str, Any],
    run: Mapping[str, Any],
    evaluations: Mapping[str, Mapping[str, Any]],
    thresholds: Mapping[str, float],
    common_threshold: float,
    temperature: float,
    known_weak: Sequence[str],
    history: str,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write down what a detector is.

    Parameters
    ----------
    weights : Path
        Checkpoint of `training.save_network`.
    name, version : str
    dataset : dict
        Content of `dataset.json`.
    run : dict
        Content of the run's `run.json`.
    evaluations : dict of str to dict
        Content of `evaluation.json` of each test, by the name it gets in the card.
    thresholds : dict of code to float
    common_threshold, temperature : float
    known_weak : list of str
        What a user must be told.
    history : str
        What the training started from and how it went, in words.
    extra : dict or None
        More facts for the top level.

    Returns
    -------
    dict
    """
    stored = Path(weights).read_bytes()
    return {
        "name": name,
        "version": version,
        "weights": f"{name}.pt",
        "sha256": hashlib.sha256(stored).hexdigest(),
        "bytes": len(stored),
        "architecture": run["architecture"],
        "input_px": run["recipe"]["canvas_px"],
        "um_per_px": run["recipe"]["um_per_px"],
        "um_per_px_note": (
            f"after resizing; red cells of 7.5 um measure about {7.5 / run['recipe']['um_per_px']:.0f} px. "
            f"Trained over roughly {run['recipe']['um_per_px'] / 1.45:.2f} to "
            f"{coarsest_scale(run['recipe']['um_per_px']):.2f}"
        ),
        "merge_iou": 0.5,
        "default_score_threshold": round(common_threshold, 3),
        "temperature": temperature,
        "classes": type_entries(dataset, evaluations, thresholds),
        "evidence_rule": EVIDENCE_RULE,
        "intervals": "95 %; AP: bootstrap by patient where known, else by view; precision, recall: Clopper-Pearson",
        "macro": {test: means_of(result) for test, result in evaluations.items()},
        "manifest_sha256_of_tests": {test: result.get("manifest_sha256") for test, result in evaluations.items()},
        "curves": {test: result["curves"] for test, result in evaluations.items() if "curves" in result},
        "training": training_facts(dataset, run, history),
        "known_weak": known_weak,
        "licence": "AGPL-3.0-or-later (ultralytics); data licences as named with the sources",
        "intended_use": "research use, not a medical device",
        **(extra or {}),
    }


def type_entries(
    dataset: Mapping[str, Any], evaluations: Mapping[str, Mapping[str, Any]], thresholds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return what a card says of each of the 15 types: training cells, evidence, threshold, and figures by test."""
    # Guessed types prove nothing.
    taught = [view for view in dataset["views"] if view["split"] == "train" and not view.get("guessed")]
    counts = Counter(code for view in taught for code, _ in view["cells"])
    entries = []
    for index, code in enumerate(CODES):
        tests = {name: row for name, result in evaluations.items() if (row := figures_of(result, code))}
        entry = {"index": index, "code": code, "n_train": counts[code]}
        entry["evidence"] = evidence(counts[code], list(tests.values()))
        entry["score_threshold"] = round(thresholds[code], 3) if counts[code] else None
        entries.append(entry | tests)
    return entries


def figures_of(result: Mapping[str, Any], code: str) -> dict[str, Any] | None:
    """Return the figures of one type in one evaluation, or None where it had no labelled cell of that type."""
    row = result["one_type_a_cell"]["types"].get(code)
    if row is None:
        return None
    several = result["several_types_a_cell"]["types"][code]
    marks = result["precision_recall"].get(code, {})
    return {
        **row,
        "ap50_several_types": several["ap50"],
        "ap50_95_several_types": several["ap50_95"],
        "precision": marks.get("precision"),
        "recall": marks.get("recall"),
    }


def means_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means of one evaluation over the types."""
    return {
        "macro_n10": result["one_type_a_cell"].get("macro_n10"),
        "several_types_macro_n10": result["several_types_a_cell"].get("macro_n10"),
        "ece": result["ece_before"],
        "ece_after_temperature": result["ece_after"],
        "stages_apart": result["stages_apart"],
    }


def training_facts(dataset: Mapping[str, Any], run: Mapping[str, Any], history: str) -> dict[str, Any]:
    """Return what a detector was trained on, and how."""
    return {
        "views": sum(view["split"] == "train" for view in dataset["views"]),
        "sources": dataset.get("sources", []),
        "manifest_sha256": dataset["manifest_sha256"],
        "recipe": run["recipe"],
        "seed": run["recipe"]["seed"],
        "device": run["device"],
        "precision": run["precision"],
        "history": history,
    }


def write_release(weights: str | Path, card: Mapping[str, Any], folder: str | Path) -> tuple[Path, Path]:
    """Copy weights and write the card beside them; returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / card["weights"]
    shutil.copyfile(weights, target)
    Card.of(card).write(target.with_suffix(".json"))
    return target, target.with_suffix(".json")
