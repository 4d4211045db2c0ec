"""The command `leave-out`: what a detector loses on a source of views that it was not trained on.

It knows sources and tables; training and measuring are done by their own modules.
"""

import json
from pathlib import Path

from detection.lab.data.datasets import read_dataset, write_dataset
from detection.lab.measuring import evaluation
from detection.lab.training.training import load_network, train

GUESSED = "fields"  # guessed labels prove nothing, and follow the source that they were cut from


def leave_out(dataset, out, *, architecture="yolov5n.yaml", workers=1, repeats=200, **changes):
    """Train once on every source and once without each, by one recipe, and measure each on its own validation views.

    Parameters
    ----------
    dataset : Path
        Data set file of `prepare` with at least two sources that have validation views.
    out : Path
        Folder: a run folder each, `leave_out.json`, `leave_out.md`. A run that is there is gone on with.
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
    tested = sorted({view.source for view in views if view.split == "val" and view.source != GUESSED})
    if len(tested) < 2:
        raise ValueError("Leaving a source out takes at least two sources with validation views.")
    tables = {}
    for left_out in [None, *tested]:
        name = f"without-{left_out}" if left_out else "with-all"
        part = [
            view for view in views if view.split == "val" or left_out is None or view.source not in (left_out, GUESSED)
        ]
        write_dataset(out / f"{name}.json", part, left_out=left_out)
        train(out / f"{name}.json", out / name, architecture, workers=workers, **changes)
        network = load_network(out / name / "last.pt")
        run = json.loads((out / name / "run.json").read_text())
        for source in tested if left_out is None else [left_out]:
            own = [view for view in views if view.split == "val" and view.source == source]
            found, _ = evaluation.find_on_views(network, own, um_per_px=run["recipe"]["um_per_px"], per_type=True)
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


def markdown(rows):
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
