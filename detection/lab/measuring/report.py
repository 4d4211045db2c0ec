"""Write what an evaluation found as one JSON file and one HTML page with its pictures inside.

Figures are left to `evaluation` and `calibration`, pictures to `pictures`.
"""

import argparse
import hashlib
import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.card import Card
from detection.cell_types import BY_CODE, CODES
from detection.inference.detector import Detector
from detection.inference.networks import import_torch, machine_name
from detection.lab.checkpoints import detector_of, json_at, training_scale
from detection.lab.data.datasets import View, read_dataset
from detection.lab.measuring import calibration, evaluation
from detection.lab.measuring.evaluation import Found, Match
from detection.lab.measuring.pictures import draw_confusion, draw_curves, draw_errors, draw_reliability, worst_errors

READING = "the product's own reading of an image (detection.inference.reading.read_field)"
STYLE = (
    "body{font:15px system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:right}img{max-width:100%}"
)


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    parser.add_argument("weights", type=Path, help="checkpoint to measure")
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.html and evaluation.json")
    parser.add_argument("--split", default="val", help="train or val (default val)")
    parser.add_argument("--source", help="only views of this source")
    parser.add_argument("--card", type=Path, help="take thresholds, temperature and scale of this card")
    parser.add_argument("--fields", action="store_true", help="add the error of each percentage, by sample")
    parser.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: none)")
    parser.add_argument("--most-threshold", type=float, default=1.0, help="highest threshold that may be chosen")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Run `evaluate`."""
    facts, thresholds = json.loads(options.card.read_text()) if options.card else {}, None
    um_per_px = facts.get("um_per_px") or training_scale(options.weights)
    if facts:  # as the product shows cells; a card in the making has no common threshold yet
        levels = Card.draft(um_per_px, facts).score_thresholds()
        thresholds = {code: float(level) for code, level in zip(CODES, levels)}
    views = [view for view in read_dataset(options.dataset, options.split) if options.source in (None, view.source)]
    if not views:
        raise ValueError("There is no view in this split and source.")
    result = evaluate(
        detector_of(options.weights, um_per_px),
        views,
        options.out,
        thresholds=thresholds,
        common_threshold=facts.get("default_score_threshold"),
        temperature=facts.get("temperature"),
        repeats=options.bootstrap,
        fields=options.fields,
        name=options.weights.stem,
        most_threshold=options.most_threshold,
        facts={
            "weights_sha256": hashlib.sha256(options.weights.read_bytes()).hexdigest(),
            "manifest_sha256": json_at(options.dataset).get("manifest_sha256"),
            "split": options.split,
            "source": options.source,
        },
    )
    print(json.dumps({key: result["one_type_a_cell"].get(key) for key in ("macro", "macro_n10")}, indent=1))
    print(f"Report: {options.out / 'evaluation.html'}")
    return 0


def evaluate(
    detector: Detector,
    views: Sequence[View],
    out: str | Path,
    *,
    thresholds: Mapping[str, float] | None = None,
    common_threshold: float | None = None,
    temperature: float | None = None,
    repeats: int = 200,
    fields: bool = False,
    name: str = "detector",
    most_threshold: float = 1.0,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure a detector on views and write `evaluation.json` and `evaluation.html`.

    Parameters
    ----------
    detector : Detector
    views : sequence of View
        Labelled views.
    out : Path
        Folder to write.
    thresholds : dict of code to float, or None
        Score thresholds fixed on *validation* data (the card's). None chooses them on these views, and the report
        says that precision and recall are then flattering.
    common_threshold : float or None
        Threshold of types without one of their own, fixed with the thresholds.
    temperature : float or None
        As thresholds.
    repeats : int
        Bootstrap draws.
    fields : bool
        True adds `percentage_errors`.
    name : str
        Heading.
    most_threshold : float
        Highest threshold that may be chosen.
    facts : dict or None
        What was measured, for the top level (`weights_sha256`, `manifest_sha256`, ...).

    Returns
    -------
    dict
        What `evaluation.json` holds.

    Raises
    ------
    ValueError
        When no view has a labelled cell, or the scale of a view cannot be had.

    Notes
    -----
    Every figure comes of the product's own reading (`inference.reading.read_field`): average precision of all findings
    above a low score, precision, recall, confusion and percentages of what it finds at the thresholds.
    """
    if not any(view.cells for view in views):
        raise ValueError("No view has a labelled cell: there is nothing to measure against.")
    found, _ = evaluation.find_on_views(detector, views)
    several, _ = evaluation.find_on_views(detector, views, several_types=True)
    matches = evaluation.match_views(views, found)
    fixed = thresholds is not None
    if not fixed:
        thresholds, common_threshold = calibration.choose_thresholds(views, found, most=most_threshold)
    levels = np.array([0.25 if (own := (thresholds or {}).get(code)) is None else own for code in CODES])
    shown, speed = evaluation.find_on_views(detector.with_thresholds(levels), views, floor=None)
    scores, hits = calibration.scores_and_hits(views, found)
    fitted = temperature or calibration.fit_temperature(scores, hits)
    table = evaluation.confusion(views, shown, levels)
    result = {
        "name": name,
        **(facts or {}),
        "reading": READING,
        "views": len(views),
        "patients": len({view.patient for view in views if view.patient}),
        **precision_figures(views, found, several, matches, repeats=repeats),
        "thresholds": {code: round(float(level), 3) for code, level in zip(CODES, levels)},
        **({} if common_threshold is None else {"common_threshold": round(float(common_threshold), 3)}),
        "thresholds_fixed_elsewhere": fixed,
        "precision_recall": evaluation.precision_recall(table),
        "confusion": table.tolist(),
        "stages_apart": evaluation.stages_apart(table),
        **reliability_figures(matches, scores, hits, fitted),
        "speed": speed_facts(detector, views, speed),
    }
    if fields:
        result["percentages"] = percentage_errors(views, shown, levels)
    pictures = {
        "precision over recall": draw_curves(matches),
        "confusion counts": draw_confusion(table),
        "reliability": draw_reliability(scores, hits, fitted),
        "cells called wrong at the highest scores": draw_errors(worst_errors(views, shown, levels)),
    }
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "evaluation.json").write_text(json.dumps(result, indent=1))
    (Path(out) / "evaluation.html").write_text(page(result, pictures))
    return result


def precision_figures(
    views: Sequence[View], found: Sequence[Found], several: Sequence[Found], matches: Sequence[Match], *, repeats: int
) -> dict[str, Any]:
    """Return average precision (one type a cell, several, typing left aside) and the share typed right."""
    return {
        "one_type_a_cell": evaluation.ap_table(views, matches, repeats=repeats),
        "several_types_a_cell": evaluation.ap_table(views, evaluation.match_views(views, several), repeats=repeats),
        "typing_left_aside": evaluation.ap_table(*one_type(views, found), repeats=0)["macro"],
        "typed_right": evaluation.proportion(*calibration.typed_right(views, found)),
    }


def reliability_figures(
    matches: Sequence[Match], scores: np.ndarray, hits: np.ndarray, temperature: float
) -> dict[str, Any]:
    """Return how far scores are from shares of right calls, before and after the temperature, and the curves."""
    return {
        "temperature": temperature,
        "ece_before": round(calibration.calibration_error(scores, hits), 4),
        "ece_after": round(calibration.calibration_error(calibration.rescale(scores, temperature), hits), 4),
        "curves": {
            "precision_over_recall": precision_curves(matches),
            "reliability": reliability_points(scores, hits),
        },
    }


def speed_facts(detector: Detector, views: Sequence[View], images_per_s: float) -> dict[str, Any]:
    """Return what the speed was measured with: input size, threads, device, processor and precision."""
    torch = import_torch()
    machine = torch.cuda.get_device_name() if detector.device.startswith("cuda") else machine_name()
    return {
        "images_per_s": round(images_per_s, 1),
        "threads": torch.get_num_threads(),
        "input_px": input_px(views, detector.card.um_per_px),
        "device": detector.device,
        "machine": machine,
        "precision": detector.precision,
    }


def input_px(views: Sequence[View], um_per_px: float) -> list[int]:
    """Return the width and height, in px, of the middle one of the views as the network sees them."""
    known = [view for view in views if view.um_per_px]
    if not known:
        return []
    sizes = np.array([(view.width_px, view.height_px) for view in known], float)  # (views, 2)
    sizes *= np.array([[view.um_per_px] for view in known]) / um_per_px
    return [int(-(-edge // 32) * 32) for edge in np.median(sizes, 0)]


def one_type(views: Sequence[View], found: Sequence[Found]) -> tuple[list[View], list[Match]]:
    """Return views and matches of leukocytes whatever their type."""
    views, found = evaluation.as_one_type(views, found)
    return views, evaluation.match_views(views, found)


def precision_curves(matches: Sequence[Match], *, points: int = 21) -> dict[str, list[list[float]]]:
    """Return {code: [[recall, precision], ...]} at IoU .5 for a card: precision as COCO interpolates it."""
    curves, at = {}, np.linspace(0, 1, points)
    for code, match in zip(CODES, matches):
        labels = match.labels.sum()
        if labels and len(match.scores):
            true = np.cumsum(match.hits[:, 0])
            recall, precision = true / labels, true / np.arange(1, len(true) + 1)
            best = np.maximum.accumulate(precision[::-1])[::-1]
            place = np.searchsorted(recall, at)
            curves[code] = [
                [round(float(r), 2), round(float(best[k]), 3) if k < len(best) else 0.0] for r, k in zip(at, place)
            ]
    return curves


def reliability_points(scores: np.ndarray, hits: np.ndarray, *, bins: int = 10) -> list[list[float]]:
    """Return [[mean score, share right, n], ...] over equal score bins that hold any call."""
    place = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    return [
        [round(float(scores[place == b].mean()), 3), round(float(hits[place == b].mean()), 3), int((place == b).sum())]
        for b in np.unique(place)
    ]


def percentage_errors(views: Sequence[View], found: Sequence[Found], levels: np.ndarray) -> dict[str, Any]:
    """Compare each sample's percentages, as a report prints them, with the truth.

    Parameters
    ----------
    views, found
        As in `evaluation.match_views`; a sample is what one source has of one patient, else a view.
    levels : ndarray, shape (15,)
        Lowest score a type is shown at.

    Returns
    -------
    dict
        `samples` (those with a labelled leukocyte of the differential), and by type the mean absolute error, the mean
        error and the largest error, in points.

    Notes
    -----
    Erythroblasts and smudge cells stay out of the 100 % and are given per 100 leukocytes (domain.md, C4 and C5).
    """
    true: dict[tuple, Counter[str]] = {}
    called: dict[tuple, Counter[str]] = {}
    for sample, view, cells in zip(evaluation.sample_names(views), views, found):
        true.setdefault(sample, Counter()).update(code for code, _ in view.cells)
        shown = cells.types[cells.scores >= levels[cells.types]] if len(cells.types) else []
        called.setdefault(sample, Counter()).update(CODES[k] for k in shown)
    samples = [sample for sample in true if leukocytes(true[sample])]
    errors = {
        code: [per_hundred(called[s], code) - per_hundred(true[s], code) for s in samples]
        for code in CODES
        if any(true[s][code] or called[s][code] for s in samples)
    }
    rows = {
        code: {
            "mean_abs": round(float(np.mean(np.abs(own))), 2),
            "bias": round(float(np.mean(own)), 2),
            "worst": round(float(max(own, key=abs)), 2),
        }
        for code, own in errors.items()
    }
    return {"samples": len(samples), "types": rows}


def leukocytes(counts: Counter[str]) -> int:
    """Count the cells that make the 100 % of a differential."""
    return sum(count for code, count in counts.items() if BY_CODE[code].in_differential)


def per_hundred(counts: Counter[str], code: str) -> float:
    """Return how many cells of a type come on 100 leukocytes of the differential; 0.0 where there is none of these."""
    return 100 * counts[code] / leukocytes(counts) if leukocytes(counts) else 0.0


def show(value: Any) -> str:
    """Write a table cell: shares with three places, intervals in brackets."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def with_interval(row: Mapping[str, Any], figure: str) -> Any:
    """Return a figure of `evaluation.ap_table` with its interval, where one was drawn, as `show` writes it."""
    return [row[figure], row[f"{figure}_low"], row[f"{figure}_high"]] if f"{figure}_low" in row else row[figure]


def rows_of(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write an HTML table."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{show(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "".join(lines) + "</table>"


def page(result: Mapping[str, Any], pictures: Mapping[str, str | None]) -> str:
    """Write the HTML page of an evaluation."""
    one, several = result["one_type_a_cell"], result["several_types_a_cell"]
    marks = result["precision_recall"]
    types = []
    for code, row in one["types"].items():
        figures = [with_interval(own, ap) for own in (row, several["types"][code]) for ap in ("ap50", "ap50_95")]
        level = result["thresholds"][code]
        types.append((code, row["n"], *figures, level, marks[code]["precision"], marks[code]["recall"]))
    macros = [
        (
            name,
            one[key]["types"],
            *(with_interval(own[key], ap) for own in (one, several) for ap in ("ap50", "ap50_95")),
        )
        for key, name in (("macro", "all types"), ("macro_n10", "types with n >= 10"))
        if key in one
    ]
    speed, aside = result["speed"], result["typing_left_aside"]
    note = (
        ""
        if result["thresholds_fixed_elsewhere"]
        else "<p><strong>Thresholds were chosen on these same views: precision and recall are flattering.</strong></p>"
    )
    percentages = ""
    if "percentages" in result:
        own = result["percentages"]
        percentages = f"<h2>Percentages of {own['samples']} samples, error in points</h2>" + rows_of(
            ("type", "mean absolute", "bias", "worst"),
            [(code, row["mean_abs"], row["bias"], row["worst"]) for code, row in own["types"].items()],
        )
    heads = ("AP@.5", "AP@[.5,.95]", "several: AP@.5", "several: AP@[.5,.95]")
    stages = [(str(apart), count) for apart, count in result["stages_apart"].items()]
    reliability = (
        f"Expected calibration error {result['ece_before']:.3f}, after temperature {result['temperature']:.2f}: "
        f"{result['ece_after']:.3f}."
    )
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of {html.escape(result['name'])}</title>",
        f"<style>{STYLE}</style><h1>Evaluation of {html.escape(result['name'])}</h1>",
        f"<p>{result['views']} views, {result['patients']} known patients. 95 %: bootstrap by {one['by']} (AP),"
        " Clopper-Pearson (precision, recall). Research use, not a medical device.</p>",
        f"<p>{speed['images_per_s']} images/s of {' x '.join(map(str, speed['input_px']))} px, "
        f"{speed['precision']}, {speed['threads']} threads, {html.escape(speed['machine'])}.</p>{note}",
        "<h2>By type</h2><p>AP: each cell carries one type, as in the product; <em>several</em>: a box may carry more "
        "types, as papers measure.</p>",
        rows_of(("type", "n", *heads, "threshold", "precision", "recall"), types),
        "<h2>Means over types</h2>",
        rows_of(("over", "types", *heads), macros),
        f"<p>Typing left aside: AP@.5 {show(aside['ap50'])}, AP@[.5,.95] {show(aside['ap50_95'])}. Cells whose best "
        f"box names their type, at any score: {show(result['typed_right'])}.</p>",
        "<h2>Neutrophil line: stages apart</h2>",
        rows_of(("stages apart", "cells"), stages),
        f"<h2>Reliability</h2><p>{reliability}</p>",
        percentages,
        *(
            f"<h2>{name.capitalize()}</h2><p><img alt='{name}' src='{own}'></p>"
            for name, own in pictures.items()
            if own
        ),
        "</html>",
    ]
    return "\n".join(parts)
