"""Train and measure the five YOLO generations on one split by one recipe: the seed article's Table 2
on a laboratory's own data.

It knows the list of architectures and the table; training and measuring are done by their own modules.
"""

import json
from pathlib import Path

from detection import evaluation
from detection.datasets import read_dataset
from detection.training import load_network, train

GENERATIONS = ("yolov1.yaml", "yolov2.yaml", "yolov3.yaml", "yolov4.yaml", "yolov5.yaml", "yolov5-focus.yaml")

# Seed article, Table 2: AP@.5 %, AP@[.5,.95] %, images/s on an unnamed GPU.
SEED = {
    "yolov1": (83.21, 53.52, 30.3),
    "yolov2": (84.16, 54.87, 36.1),
    "yolov3": (85.24, 55.31, 42.5),
    "yolov4": (85.56, 56.72, 46.1),
    "yolov5": (86.47, 57.61, 56.7),
}


def compare(dataset, out, *, architectures=None, scale="n", val_source=None, workers=1, repeats=200, **changes):
    """Train each architecture from nothing on the same split and print the table.

    Parameters
    ----------
    dataset : Path
        Data set file of `prepare`.
    out : Path
        Folder: one run folder for each architecture, `comparison.json`, `comparison.md`.
        A run that is there is gone on with.
    architectures : sequence of str or None
        Files of `detection/architectures`; None takes the five generations and the Focus form.
    scale : str
        "n" or "full".
    val_source : str or None
        Measure on this source's validation views only.
    workers : int
        Processes that draw canvases.
    repeats : int
        Bootstrap draws.
    **changes
        Changes to the recipe, the same for all.

    Returns
    -------
    str
        The table as Markdown.
    """
    out = Path(out)
    views = [view for view in read_dataset(dataset, "val") if val_source in (None, view.source)]
    rows = {}
    for architecture in architectures or GENERATIONS:
        name = Path(architecture).stem
        folder = out / f"{name}-{scale}"
        train(dataset, folder, architecture, scale=scale, workers=workers, **changes)
        network = load_network(folder / "last.pt")
        run = json.loads((folder / "run.json").read_text())
        found, speed = evaluation.find_on_views(network, views, um_per_px=run["recipe"]["um_per_px"], per_type=True)
        table = evaluation.ap_table(views, evaluation.match_views(views, found), repeats=repeats)
        rows[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "images_per_s": round(speed, 1),
            "by": table["by"],
            **table.get("macro_n10", table["macro"]),
        }
        (out / "comparison.json").write_text(
            json.dumps(
                {"scale": scale, "recipe": run["recipe"], "device": run["device"], "views": len(views), "rows": rows},
                indent=1,
            )
        )
        (out / "comparison.md").write_text(markdown(rows, scale))
    return markdown(rows, scale)


def markdown(rows, scale):
    """Write the comparison as a Markdown table, the seed's own figures beside it."""
    lines = [
        f"| generation ({scale}) | AP@.5 % (95 %) | AP@[.5,.95] % (95 %) | images/s | parameters "
        "| seed article: AP@.5, AP@[.5,.95], images/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        first = (
            f"{100 * row['ap50']:.1f} ({100 * row['ap50_low']:.1f}-{100 * row['ap50_high']:.1f})"
            if "ap50_low" in row
            else f"{100 * row['ap50']:.1f}"
        )
        second = (
            f"{100 * row['ap50_95']:.1f} ({100 * row['ap50_95_low']:.1f}-{100 * row['ap50_95_high']:.1f})"
            if "ap50_95_low" in row
            else f"{100 * row['ap50_95']:.1f}"
        )
        seed = ", ".join(str(v) for v in SEED[name]) if name in SEED else "-"
        lines.append(
            f"| {name} | {first} | {second} | {row['images_per_s']:.0f} | {row['parameters'] / 1e6:.1f} M | {seed} |"
        )
    return "\n".join(lines) + "\n"
