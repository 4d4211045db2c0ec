"""Train a YOLOv5 detector: one loop for every architecture file, on CUDA or CPU, that a kill cannot hurt.

What is drawn is left to `sampling`, the network to `building`, how good it is to `evaluation`.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from detection.cell_types import CODES, classes_of
from detection.inference.networks import has_fast_bfloat16, import_torch
from detection.inference.stain_transfer import Stain
from detection.lab.data.datasets import View, read_dataset
from detection.lab.data.stains import read_stains
from detection.lab.measuring.evaluation import macro_ap50
from detection.lab.training.building import build_network, save_network
from detection.lab.training.learner import Learner
from detection.lab.training.loss import build_loss
from detection.lab.training.recipe import MAY_CHANGE, RECIPE, SCALES, Recipe, add_recipe, changes_of
from detection.lab.training.sampling import Canvases, collate
from detection.lab.training.schedule import composed_share, is_done

OF_CANVASES = (
    "canvas_px", "um_per_px", "seed", "empty", "guessed", "strong", "transferred", "mosaic", "neighbour_weight",
)  # fmt: skip


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    parser.description = (
        "Train a detector, or resume a run that was stopped. The share `mosaic` of all canvases has a labelled cell in "
        "each quarter; on the share `composed` of the others several cut-out cells are pasted among those of a view, "
        "and on none in the last `close_composed` of a run. Views whose types a detector guessed (tiles of `pseudo`) "
        "are drawn for the share `guessed`, those without cells for the share `empty`; they teach crowding and "
        "background, and never count as evidence."
    )
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; run again with the same folder to resume"
    )
    parser.add_argument(
        "--architecture",
        default="yolov5n.yaml",
        help="yolov5n.yaml, yolov5s.yaml, yolov5m.yaml, or a file of detection/architectures",
    )
    parser.add_argument(
        "--scale", default="n", choices=SCALES, help="width and depth of a file of detection/architectures (default n)"
    )
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    add_recipe(parser)
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> None:
    """Run `train`."""
    best = train(
        options.dataset,
        options.out,
        options.architecture,
        scale=options.scale,
        start=options.start,
        workers=options.workers,
        threads=options.threads,
        check=macro_ap50,
        **changes_of(options.set),
    )
    print(f"{'Best' if best.name == 'best.pt' else 'Last'} weights: {best}")


class Numbers(Sampler):
    """Hand out canvas numbers from `start` on: the run's place in its endless sequence."""

    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.start + self.count))

    def __len__(self) -> int:
        return self.count


def device_facts() -> dict[str, str]:
    """Say where a run computes: device and precision."""
    if torch.cuda.is_available():
        return {"device": "cuda", "precision": "float16"}
    return {"device": "cpu", "precision": "bfloat16" if has_fast_bfloat16() else "float32"}


def refuse_another_run(out: Path, run: Mapping[str, Any]) -> None:
    """Raise ValueError where the run in `out` was begun otherwise; what an old run did not write down passes."""
    path = out / "run.json"
    former, run = json.loads(path.read_text()) if path.is_file() else {}, json.loads(json.dumps(run))
    pairs = [(name, former, run) for name in ("architecture", "scale", "manifest_sha256")]
    pairs += [(name, former.get("recipe", {}), run["recipe"]) for name in run["recipe"] if name not in MAY_CHANGE]
    changed = [name for name, old, new in pairs if name in old and old[name] != new[name]]
    if changed:
        raise ValueError(f"{out} holds a run with another {', '.join(changed)}. Give a new run a folder of its own.")


def drop_rows_after(log: Path, epoch: int) -> None:
    """Take the rows of later epochs out of a log: a run that was killed after writing them does them again."""
    if log.is_file():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if json.loads(line)["epoch"] <= epoch))


def facts_of_run(dataset: str | Path, architecture: str, scale: str, recipe: Recipe) -> dict[str, Any]:
    """Return what `run.json` says of a run: what is trained, on what, how."""
    return {
        "architecture": architecture,
        "scale": scale,
        "recipe": recipe,
        "manifest_sha256": json.loads(Path(dataset).read_text()).get("manifest_sha256"),
        **device_facts(),
        "torch": torch.__version__,
    }


def seed_everything(seed: int) -> None:
    """Begin every stream of random numbers that a run draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def keep_if_best(path: Path, learner: Learner, figure: float | None, run: Mapping[str, Any]) -> None:
    """Write the moving average where no figure of the run was higher before."""
    if figure is not None and figure > learner.state["best"]:
        learner.state.update(best=figure, best_epoch=learner.state["epoch"])
        save_network(path, learner.average.ema, run)


def train(
    dataset: str | Path,
    out: str | Path,
    architecture: str | Path = "yolov5n.yaml",
    *,
    scale: str = "n",
    start: Path | None = None,
    workers: int = 1,
    threads: int | None = None,
    check: Callable[..., float | None] | None = None,
    **changes: Any,
) -> Path:
    """Train, or resume, one run.

    Parameters
    ----------
    dataset : Path
        Data set file of `prepare`.
    out : Path
        Folder of the run: `last.pt` (weights of the moving average), `best.pt`, `state.pt` (to resume), `log.jsonl`,
        `run.json` (what was trained, on what, how).
    architecture, scale, start
        As in `build_network`; a folder with `state.pt` resumes and ignores `start`.
    workers : int
        Processes that draw canvases.
    threads : int or None
        Torch threads; None takes every core.
    check : callable(network, views, recipe) -> float or None
        Figure of merit on the "val" views (`evaluation.macro_ap50`), at least 0; where it is None, or gives None, no
        weights are kept as the best and nothing stops early.
    **changes
        Changes to RECIPE.

    Returns
    -------
    Path
        `best.pt` where a check was made, else `last.pt`.

    Raises
    ------
    ValueError
        When a change names nothing in the recipe, the data set has no training cell, or the run in `out` was begun
        with another network, data set or recipe (all but MAY_CHANGE).

    Notes
    -----
    A run is reproducible on the same machine when scheduled by epochs; by hours it depends on the machine's speed.
    """
    if unknown := set(changes) - set(RECIPE):
        raise ValueError(f"The recipe has no {', '.join(sorted(unknown))}.")
    recipe = cast(Recipe, {**RECIPE, **changes})
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    run = facts_of_run(dataset, str(architecture), scale, recipe)
    if (out / "state.pt").is_file():
        refuse_another_run(out, run)
    seed_everything(recipe["seed"])
    views = read_dataset(dataset, "train")
    if not any(view.cells for view in views):
        raise ValueError(f"{dataset} has no training view with a cell. Run `prepare` on labelled data first.")
    codes = classes_of(code for view in views for code, _ in view.cells)
    check = check if codes == CODES else None  # the figure of merit is of leukocytes
    learner = Learner(
        build_network(architecture, scale=scale, start=start, codes=codes),
        recipe,
        device=run["device"],
        precision=run["precision"],
    )
    if (out / "state.pt").is_file():
        learner.resume(out / "state.pt")
    drop_rows_after(out / "log.jsonl", learner.state["epoch"])
    import_torch()
    torch.set_num_threads(threads or os.cpu_count() or 1)  # ultralytics leaves one core out when it is imported
    loss_of = build_loss(learner.network, recipe["smoothing"], recipe["cls"], codes)
    validation = read_dataset(dataset, "val") if check else []
    stains = read_stains(recipe["stains"])
    if not is_done(recipe, learner.state, is_checked=bool(check)):  # what a finished run was stays as it is
        (out / "run.json").write_text(json.dumps(run | {"views": len(views)}, indent=1))
    while not is_done(recipe, learner.state, is_checked=bool(check)):
        means = learner.train_epoch(load_canvases(views, stains, learner, workers), loss_of)
        learner.state["epoch"] += 1
        row = {
            "epoch": learner.state["epoch"],
            "seconds": round(learner.state["seconds"]),
            "share": round(learner.share, 4),
            **means,
        }
        save_network(out / "last.pt", learner.average.ema, run)
        if check and learner.state["epoch"] % recipe["check_every"] == 0:
            row["check"] = check(deepcopy(learner.average.ema).float(), validation, recipe)
            keep_if_best(out / "best.pt", learner, row["check"], run)
            if row["check"] is None:
                print("No validation view has a labelled cell: the last weights count.", file=sys.stderr)
                check = None
        with open(out / "log.jsonl", "a") as log:
            log.write(json.dumps(row) + "\n")
        learner.store(out / "state.pt")
    return out / ("best.pt" if (out / "best.pt").is_file() else "last.pt")


def load_canvases(views: list[View], stains: list[Stain], learner: Learner, workers: int) -> DataLoader:
    """Return the canvases of the next epoch, drawn by `workers` processes."""
    recipe: Any = learner.recipe
    canvases = Canvases(
        views,
        **{key: recipe[key] for key in OF_CANVASES},
        stains=stains,
        composed=composed_share(recipe, learner.share),
    )
    return DataLoader(
        canvases,
        recipe["batch"],
        sampler=Numbers(learner.state["canvases"], recipe["canvases"]),
        num_workers=workers,
        collate_fn=collate,
        drop_last=False,
        prefetch_factor=4 if workers else None,
    )
