"""Train and measure the five YOLO generations on one split by one recipe: Table 2 of the article that this follows.

Training and measuring are left to their own modules.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.inference.detector import Detector
from detection.inference.networks import load_network, machine_name
from detection.lab.data.datasets import View, read_dataset
from detection.lab.measuring import evaluation
from detection.lab.training.recipe import SCALES, add_recipe, changes_of
from detection.lab.training.training import train

GENERATIONS = ("yolov1.yaml", "yolov2.yaml", "yolov3.yaml", "yolov4.yaml", "yolov5.yaml", "yolov5-focus.yaml")

SPEED_VIEWS, SPEED_ROUNDS = 64, 3

# Zhou Bin 2023, doi 10.36347/sjet.2023.v1i103.003, Table 2: AP@.5 %, AP@[.5,.95] %, images/s on an unnamed GPU.
SEED = {
    "yolov1": (83.21, 53.52, 30.3),
    "yolov2": (84.16, 54.87, 36.1),
    "yolov3": (85.24, 55.31, 42.5),
    "yolov4": (85.56, 56.72, 46.1),
    "yolov5": (86.47, 57.61, 56.7),
}


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of runs and table; run again with the same folder to resume"
    )
    parser.add_argument(
        "--architectures", nargs="+", default=None, help="default: the five generations and the Focus form of the fifth"
    )
    parser.add_argument("--scale", default="n", choices=SCALES, help="width and depth of all of them (default n)")
    parser.add_argument("--val-source", help="measure on this source's validation views only")
    parser.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: none)")
    add_recipe(parser, " of all of them")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Run `compare`."""
    table = compare(
        options.dataset,
        options.out,
        architectures=options.architectures,
        scale=options.scale,
        val_source=options.val_source,
        workers=options.workers,
        threads=options.threads,
        repeats=options.bootstrap,
        **changes_of(options.set),
    )
    print(table)
    return 0


def compare(
    dataset: Path,
    out: str | Path,
    *,
    architectures: Sequence[str] | None = None,
    scale: str = "n",
    val_source: str | None = None,
    workers: int = 1,
    repeats: int = 200,
    **changes: Any,
) -> str:
    """Train each architecture from nothing on the same split and print the table.

    Parameters
    ----------
    dataset : Path
        Data set file of `prepare`.
    out : Path
        Folder: one run folder for each architecture, `comparison.json`, `comparison.md`.
        A run that is there is resumed.
    architectures : sequence of str or None
        Files of `detection/architectures`; None takes the five generations and the Focus form.
    scale : str
        "n", "s", "m" or "full".
    val_source : str or None
        Measure on this source's validation views only.
    workers : int
        Processes that draw canvases.
    repeats : int
        Bootstrap draws.
    **changes
        Changes to the recipe, the same for all; `threads` as in `train`.

    Returns
    -------
    str
        The table as Markdown.

    Raises
    ------
    ValueError
        When no validation view (of `val_source`) has a labelled cell; nothing has been trained then.

    Notes
    -----
    Speed is measured when all are trained, turn by turn on the same views, so that what else the machine does falls on
    all alike; the middle of SPEED_ROUNDS rounds counts. Until then the table shows none.
    """
    out, views = Path(out), read_dataset(dataset, "val")
    sources = sorted({view.source for view in views if view.cells})
    views = [view for view in views if val_source in (None, view.source)]
    if not any(view.cells for view in views):
        of = "" if val_source is None else f" of source {val_source}"
        raise ValueError(
            f"There is no labelled validation view{of}. Sources with some: {', '.join(sources) or 'none'}."
        )
    rows, detectors = {}, {}
    for architecture in architectures or GENERATIONS:
        name = Path(architecture).stem
        folder = out / f"{name}-{scale}"
        train(dataset, folder, architecture, scale=scale, workers=workers, **changes)
        network = load_network(folder / "last.pt")
        run = json.loads((folder / "run.json").read_text())
        detectors[name] = detector = Detector.of_network(network, run["recipe"]["um_per_px"])
        found, _ = evaluation.find_on_views(detector, views, several_types=True)
        table = evaluation.ap_table(views, evaluation.match_views(views, found), repeats=repeats)
        rows[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "by": table["by"],
            **(table.get("macro_n10") or table["macro"]),
        }
        write_table(out, rows, scale, run, views, detector)
    for name, speed in speeds(detectors, views).items():
        rows[name]["images_per_s"] = round(speed, 1)
    write_table(out, rows, scale, run, views, detector)
    return markdown(rows, scale)


def speeds(detectors: Mapping[str, Detector], views: Sequence[View]) -> dict[str, float]:
    """Return the views a second that each detector finds cells on, by name, measured turn by turn."""
    views = views[:SPEED_VIEWS]
    measured: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(SPEED_ROUNDS):
        for name, detector in detectors.items():
            measured[name].append(evaluation.find_on_views(detector, views, floor=None)[1])
    return {name: statistics.median(own) for name, own in measured.items()}


def write_table(
    out: Path, rows: Mapping[str, Any], scale: str, run: Mapping[str, Any], views: Sequence[View], detector: Detector
) -> None:
    """Write `comparison.json` and `comparison.md`: what is known so far."""
    facts = {"scale": scale, "recipe": run["recipe"], "device": detector.device, "precision": detector.precision}
    facts |= {"machine": machine_name(), "views": len(views)}
    (out / "comparison.json").write_text(json.dumps({**facts, "rows": rows}, indent=1))
    (out / "comparison.md").write_text(markdown(rows, scale))


def markdown(rows: Mapping[str, Any], scale: str) -> str:
    """Write the comparison as a Markdown table, the seed's own figures beside it."""
    lines = [
        f"| generation ({scale}) | AP@.5 % (95 %) | AP@[.5,.95] % (95 %) | images/s | parameters "
        "| seed article: AP@.5, AP@[.5,.95], images/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        first, second = percent_of(row, "ap50"), percent_of(row, "ap50_95")
        seed = ", ".join(str(v) for v in SEED[name]) if name in SEED else "-"
        speed = f"{row['images_per_s']:.1f}" if "images_per_s" in row else "-"
        lines.append(f"| {name} | {first} | {second} | {speed} | {row['parameters'] / 1e6:.1f} M | {seed} |")
    return "\n".join(lines) + "\n"


def percent_of(row: Mapping[str, Any], figure: str) -> str:
    """Write a share in percent, with its interval where one was drawn."""
    value = f"{100 * row[figure]:.1f}"
    if f"{figure}_low" not in row:
        return value
    return f"{value} ({100 * row[f'{figure}_low']:.1f}-{100 * row[f'{figure}_high']:.1f})"
