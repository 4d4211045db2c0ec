"""Make a detector version of a trained network: weights, SHA-256 and the card that says what it is worth.

It knows the card's format and the rules of evidence; it measures nothing itself.
"""

import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path

from detection.cell_types import CODES

EVIDENCE_RULE = (
    "lower AP@.5 (one type a cell, as the product shows it) of the tests with n >= 10: good >= .80, fair >= .60, "
    "weak below or untested, none = no training example"
)


def evidence(n_train, tests):
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


def refuse_foreign_figures(weights, dataset, run, evaluations):
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
    weights,
    name,
    version,
    *,
    dataset,
    run,
    evaluations,
    thresholds,
    common_threshold,
    temperature,
    known_weak,
    history,
    extra=None,
):
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
    # Tiles of source "fields" overlap and their types were guessed by a detector: they prove nothing about a type.
    taught = [view for view in dataset["views"] if view["split"] == "train" and view["source"] != "fields"]
    counts = Counter(code for view in taught for code, _ in view["cells"])
    classes = []
    for index, code in enumerate(CODES):
        tests = {
            test: row for test, result in evaluations.items() if (row := result["one_type_a_cell"]["types"].get(code))
        }
        own = {
            "index": index,
            "code": code,
            "n_train": counts[code],
            "evidence": evidence(counts[code], list(tests.values())),
        }
        own["score_threshold"] = round(thresholds[code], 3) if counts[code] else None
        for test, row in tests.items():
            several = evaluations[test]["several_types_a_cell"]["types"][code]
            marks = evaluations[test]["precision_recall"].get(code, {})
            own[test] = {
                **row,
                "ap50_several_types": several["ap50"],
                "ap50_95_several_types": several["ap50_95"],
                "precision": marks.get("precision"),
                "recall": marks.get("recall"),
            }
        classes.append(own)
    macro = {
        test: {
            "macro_n10": result["one_type_a_cell"].get("macro_n10"),
            "several_types_macro_n10": result["several_types_a_cell"].get("macro_n10"),
            "ece": result["ece_before"],
            "ece_after_temperature": result["ece_after"],
            "stages_apart": result["stages_apart"],
        }
        for test, result in evaluations.items()
    }
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
            f"Trained over roughly {run['recipe']['um_per_px'] / 1.45:.2f} to {run['recipe']['um_per_px'] / 0.62:.2f}"
        ),
        "merge_iou": 0.5,
        "default_score_threshold": round(common_threshold, 3),
        "temperature": temperature,
        "classes": classes,
        "evidence_rule": EVIDENCE_RULE,
        "intervals": "95 %; AP: bootstrap by patient where known, else by view; precision, recall: Clopper-Pearson",
        "macro": macro,
        "manifest_sha256_of_tests": {test: result.get("manifest_sha256") for test, result in evaluations.items()},
        "curves": {test: result["curves"] for test, result in evaluations.items() if "curves" in result},
        "training": {
            "views": sum(view["split"] == "train" for view in dataset["views"]),
            "sources": dataset.get("sources", []),
            "manifest_sha256": dataset["manifest_sha256"],
            "recipe": run["recipe"],
            "seed": run["recipe"]["seed"],
            "device": run["device"],
            "precision": run["precision"],
            "history": history,
        },
        "known_weak": known_weak,
        "licence": "AGPL-3.0-or-later (ultralytics); data licences as named with the sources",
        "intended_use": "research use, not a medical device",
        **(extra or {}),
    }


def write_release(weights, card, folder):
    """Copy weights and write the card beside them; returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / card["weights"]
    shutil.copyfile(weights, target)
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    text = re.sub(r"\[[\s\d.,-]+\]", lambda numbers: " ".join(numbers[0].split()), text)  # a list of numbers, a line
    target.with_suffix(".json").write_text(text)
    return target, target.with_suffix(".json")
