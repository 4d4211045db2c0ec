"""The command `leave-out`: what a detector loses on a source of views that it was not trained on.

Training and measuring are left to their own modules.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detection.inference.detector import Detector
from detection.inference.networks import load_network
from detection.lab.data.datasets import read_dataset, write_dataset
from detection.lab.measuring import evaluation
from detection.lab.training.recipe import add_recipe, changes_of
from detection.lab.training.training import train


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `leave-out`."""
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare` with two sources or more")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of runs and table; run again with the same folder to resume"
    )
    parser.add_argument("--architecture", default="yolov5n.yaml", help="as in `train` (default yolov5n.yaml)")
    parser.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: none)")
    add_recipe(parser, " of all runs")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Run `leave-out`."""
    how = {"workers": options.workers, "threads": options.threads, "repeats": options.bootstrap}
    print(leave_out(options.dataset, options.out, architecture=options.architecture, **how, **changes_of(options.set)))
    return 0


def leave_out(
    dataset: Path,
    out: str | Path,
    *,
    architecture: str = "yolov5n.yaml",
    workers: int = 1,
    repeats: int = 200,
    **changes: Any,
) -> str:
    """Train once on every source and once without each, by one recipe, and measure each on its own validation views.

    Parameters
    ----------
    dataset : Path
        Data set file of `prepare` with at least two sources that have validation views.
    out : Path
        Folder: a run folder each, `leave_out.json`, `leave_out.md`. A run that is there is resumed.
    architecture : str
        As in `training.build_network`; trained from nothing, since a start may have seen what is left out.
    workers : int
        Processes that draw canvases.
    repeats : int
        Bootstrap draws.
    **changes
        Changes to the recipe.

    Returns
    -------
    str
        The table as Markdown: macro AP@.5 and AP@[.5,.95] (a box may carry several types) over the types with n >= 10.

    Raises
    ------
    ValueError
        When fewer than two sources have validation views.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    views = read_dataset(dataset)
    tested = sorted({view.source for view in views if view.split == "val" and not view.guessed})
    if len(tested) < 2:
        raise ValueError("Leaving a source out takes at least two sources with validation views.")
    tables = {}
    for left_out in [None, *tested]:
        name = f"without-{left_out}" if left_out else "with-all"
        part = [  # guessed labels follow the source that they were cut from
            view
            for view in views
            if view.split == "val" or left_out is None or not (view.guessed or view.source == left_out)
        ]
        write_dataset(out / f"{name}.json", part, left_out=left_out)
        train(out / f"{name}.json", out / name, architecture, workers=workers, **changes)
        run = json.loads((out / name / "run.json").read_text())
        detector = Detector.of_network(load_network(out / name / "last.pt"), run["recipe"]["um_per_px"])
        for source in tested if left_out is None else [left_out]:
            own = [view for view in views if view.split == "val" and view.source == source]
            found, _ = evaluation.find_on_views(detector, own, several_types=True)
            tables[name, source] = evaluation.ap_table(own, evaluation.match_views(own, found), repeats=repeats)
    rows = {
        source: {
            "with": tables["with-all", source].get("macro_n10"),
            "without": tables[f"without-{source}", source].get("macro_n10"),
        }
        for source in tested
    }
    (out / "leave_out.json").write_text(json.dumps({"recipe": run["recipe"], "rows": rows}, indent=1))
    (out / "leave_out.md").write_text(markdown(rows))
    return markdown(rows)


def markdown(rows: Mapping[str, Any]) -> str:
    """Write the table: trained with and without the source, and the loss in points."""
    lines = [
        "| tested on | types | AP@.5 trained with it | without it | loss | AP@[.5,.95] with | without | loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for source, row in rows.items():
        if not (row["with"] and row["without"]):
            lines.append(f"| {source} | fewer than ten cells of every type | - | - | - | - | - | - |")
            continue
        cells = []
        for figure in ("ap50", "ap50_95"):
            for side in ("with", "without"):
                own = row[side]
                range_ = f" ({own[figure + '_low']:.3f}-{own[figure + '_high']:.3f})" if figure + "_low" in own else ""
                cells.append(f"{own[figure]:.3f}{range_}")
            cells.append(f"{100 * (row['with'][figure] - row['without'][figure]):.1f}")
        lines.append(f"| {source} | {row['with']['types']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
