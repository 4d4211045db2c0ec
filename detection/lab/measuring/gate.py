"""Decide whether a faster precision may be used on this machine: it must find what float32 finds, of every type.
Exporting and running either precision is left to `detection.inference`.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from detection.boxes import pairwise_iou
from detection.cell_types import BLASTS, CODES, PROMYELOCYTES
from detection.inference.detector import Detector, FoundCell
from detection.inference.reading import read_field

MOST_RECALL_LOST = 0.005
GRAVE = (*BLASTS, *PROMYELOCYTES)  # a blast or promyelocyte overlooked is a leukaemia overlooked
LEAST_CHANCE = 0.05  # that as many cells are lost where neither precision is the better one
LEAST_EQUAL = 0.99


def compare(
    candidate: Detector, reference: Detector, labelled: Iterable[tuple], fields: Iterable[tuple]
) -> dict[str, Any]:
    """Compare two detectors picture by picture.

    Parameters
    ----------
    candidate, reference : Detector
        The faster one and the float32 one, of the same weights.
    labelled : iterable of (image, um_per_px, cells)
        Pictures with truth: cells as (code, xyxy) pairs; at least one.
    fields : iterable of (image, um_per_px or None)
        Whole fields without truth; at least one. None: from the red cells.

    Returns
    -------
    dict
        `passed`; `recall` per type with n, both values and the cells lost and gained; `equal`, the share of boxes on
        the fields that the other detector has too (IoU over .5 and the same type); `why`, sentences, empty when passed;
        `gain`, how many times as fast as the reference the candidate read the fields; backends and precisions.

    Raises
    ------
    ValueError
        If there is no labelled cell or no cell on any field: then nothing is shown.
    """
    hits: dict[str, list[tuple[bool, bool]]] = {code: [] for code in CODES}  # of each cell: candidate, reference
    for image, um_per_px, cells in labelled:
        found = (read_field(image, own, um_per_px).cells for own in (candidate, reference))
        by_candidate, by_reference = (np.any(_overlap_of_same_type(cells, _pairs(own)) >= 0.5, axis=1) for own in found)
        for number, (code, _) in enumerate(cells):
            hits[code].append((bool(by_candidate[number]), bool(by_reference[number])))
    equal = boxes = 0
    seconds = np.zeros(2)  # of the candidate and the reference
    for image, um_per_px in fields:
        (ours, our_s), (theirs, their_s) = (_timed(image, own, um_per_px) for own in (candidate, reference))
        seconds += our_s, their_s
        boxes += len(ours) + len(theirs)
        is_same = _overlap_of_same_type(_pairs(ours), _pairs(theirs)) > 0.5
        equal += int(is_same.any(1).sum() + is_same.any(0).sum())
    if not any(hits.values()) or not boxes:
        raise ValueError("The gate needs labelled cells and fields on which cells are found.")
    recall = {code: recall_of(pairs) for code, pairs in hits.items() if pairs}
    why = []
    for code, one in recall.items():
        if is_worse(int(one["lost"]), int(one["gained"]), int(one["n"]), is_grave=code in GRAVE):
            why.append(f"recall of {code} falls from {one['f32']:.3f} to {one['faster']:.3f} (n = {one['n']})")
    if equal / boxes < LEAST_EQUAL:
        why.append(f"only {equal / boxes:.2%} of the boxes on the fields are equal")
    return {
        "passed": not why,
        "why": why,
        "recall": recall,
        "equal": equal / boxes,
        "boxes": boxes,
        "gain": float(seconds[1] / seconds[0]),
        "reference": [reference.backend, reference.precision],
        "candidate": [candidate.backend, candidate.precision],
        "sha256": reference.card.sha256,
    }


def recall_of(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """Return n, recall of float32 and of the faster precision, and the cells that only one of them finds."""
    lost = sum(theirs and not ours for ours, theirs in pairs)
    gained = sum(ours and not theirs for ours, theirs in pairs)
    faster, f32 = (sum(own) / len(pairs) for own in zip(*pairs, strict=True))
    return {"n": len(pairs), "f32": f32, "faster": faster, "lost": lost, "gained": gained}


def is_worse(lost: int, gained: int, n: int, *, is_grave: bool) -> bool:
    """Tell whether the faster precision finds fewer cells of a type than float32.

    Parameters
    ----------
    lost, gained : int
        Cells that float32 alone, and that the faster precision alone, finds and types right.
    n : int
        All labelled cells of the type.
    is_grave : bool
        A blast or promyelocyte: any loss of two cells more than were gained counts, and the test is one-sided.

    Returns
    -------
    bool
        True where the loss is significant, or too large to leave it at that: more than one cell and more than half a
        point. One cell that the border of its picture cuts in half decides nothing.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153, in its exact form: the cells that only one of the two finds are a fair coin.
    """
    if lost <= gained:
        return False
    side = "greater" if is_grave else "two-sided"
    most = 1.0 if is_grave else max(1.0, MOST_RECALL_LOST * n)
    return bool(lost - gained > most or binomtest(lost, lost + gained, 0.5, side).pvalue < LEAST_CHANCE)


def _timed(image: np.ndarray, detector: Detector, um_per_px: float | None) -> tuple[list[FoundCell], float]:
    """Return what a detector reads on a field, and the seconds that it took."""
    start = time.perf_counter()
    return read_field(image, detector, um_per_px).cells, time.perf_counter() - start


def _pairs(cells: Sequence[FoundCell]) -> list[tuple]:
    return [(cell.code, cell.xyxy) for cell in cells]


def _overlap_of_same_type(cells: Sequence[tuple], others: Sequence[tuple]) -> np.ndarray:
    """Intersection over union of two lists of (code, box), 0 where the types differ: (n, m)."""
    codes, other_codes = (np.array([code for code, _ in some], str) for some in (cells, others))
    boxes, other_boxes = (np.array([box for _, box in some], float).reshape(-1, 4) for some in (cells, others))
    return pairwise_iou(boxes, other_boxes) * (codes[:, None] == other_codes)


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gate`."""
    parser.add_argument(
        "labelled", type=Path, help="YOLO folder with data.yaml, or dataset.json of `prepare`: its validation pictures"
    )
    parser.add_argument("fields", type=Path, help="folder of whole fields without labels")
    parser.add_argument("--cache", type=Path, required=True, help="the product's DATA/detector-cache")
    parser.add_argument("--um-per-px", type=float, default=0.102, help="scale of a YOLO folder (default 0.102)")
    parser.add_argument("--field-um-per-px", type=float, help="scale of the fields; default: from their red cells")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Try each faster precision, print and store the verdicts; exit code 1 where float32 stays in use."""
    from detection import SHIPPED
    from detection.inference.detector import Detector
    from detection.inference.networks import cpu_features, has_fast_bfloat16
    from detection.inference.precision import export_folder, fastest, form_sha256, write_verdicts
    from detection.lab.data.datasets import PICTURES, read_dataset, read_pixels
    from detection.lab.data.readers import read_class_map, read_yolo

    weights = options.weights or SHIPPED[0]
    can = {"bf16": has_fast_bfloat16(), "int8": bool(form_sha256(weights, "int8"))}
    precisions = [precision for precision, is_there in can.items() if is_there]
    if not precisions:
        raise ValueError(f"This processor has no fast bfloat16, and {weights.name} no int8 form: nothing to try.")
    reference, *candidates = (
        Detector.load(weights, weights.with_suffix(".json"), device="cpu", backend="openvino", precision=precision,
                      cache_folder=options.cache)
        for precision in ("f32", *precisions)
    )  # fmt: skip
    if options.labelled.suffix == ".json":
        views = read_dataset(options.labelled, "val")
    else:
        views, _ = read_yolo(options.labelled, "labelled", read_class_map(None), options.um_per_px)
        views = [view for view in views if view.split == "val"]
    pictures = sorted(path for path in options.fields.iterdir() if path.suffix.lower() in PICTURES)
    print(f"processor with {cpu_features()}")
    verdicts = []
    for candidate in candidates:
        result = compare(
            candidate,
            reference,
            ((read_pixels(view.path), view.um_per_px, view.cells) for view in _counted(views, "labelled")),
            ((read_pixels(path), options.field_um_per_px) for path in _counted(pictures, "field")),
        )
        verdicts.append(result | {"form_sha256": form_sha256(weights, candidate.precision)})
        _print_verdict(result, len(pictures))
    folder = export_folder(options.cache, reference.card) or options.cache
    write_verdicts(folder, verdicts)
    used = fastest(folder, "openvino", weights)
    print(f"{used} will be used")
    return int(used == "f32")


def _print_verdict(result: dict[str, Any], fields: int) -> None:
    precision = result["candidate"][1]
    for code, one in result["recall"].items():
        shares = f"recall f32 {one['f32']:.3f}  {precision} {one['faster']:.3f}"
        print(f"{code}  n {one['n']:4}  {shares}  lost {one['lost']}  gained {one['gained']}")
    if absent := [code for code in GRAVE if code not in result["recall"]]:
        print(f"no cell of {', '.join(absent)} among them: nothing is shown for it")
    print(f"boxes and types equal on {fields} fields: {result['equal']:.2%} of {result['boxes']}")
    verdict = "finds what f32 finds" if result["passed"] else "not passed: " + "; ".join(result["why"])
    print(f"{precision}: {verdict}; fields are read {result['gain']:.2f} times as fast as in f32")


def _counted(things: Sequence[Any], name: str) -> Iterator[Any]:
    for number, thing in enumerate(things, 1):
        print(f"\r{name} {number} of {len(things)}", end="", file=sys.stderr, flush=True)
        yield thing
    print(file=sys.stderr)
