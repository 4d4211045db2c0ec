"""Train a YOLOv5 detector: one loop for every architecture file, on CUDA or CPU, that a kill cannot hurt.

What is drawn is left to `sampling`, the network to `building`, how good it is to `evaluation`.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm
from ultralytics.utils.torch_utils import ModelEMA

from detection.inference.networks import has_fast_bfloat16, import_torch
from detection.lab.data.datasets import read_dataset
from detection.lab.data.stains import read_stains
from detection.lab.measuring.evaluation import macro_ap50
from detection.lab.training.building import build_network, save_network
from detection.lab.training.loss import build_loss
from detection.lab.training.recipe import MAY_CHANGE, RECIPE, SCALES, Recipe, add_recipe, changes_of
from detection.lab.training.sampling import Canvases, collate

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


def progress_share(recipe: Recipe, state: Mapping[str, Any]) -> float:
    """Return how much of the run is done, 0 to 1: by hours where they are given, else by epochs."""
    if recipe["hours"]:
        return min(1.0, state["seconds"] / (recipe["hours"] * 3600))
    return min(1.0, state["canvases"] / (recipe["epochs"] * recipe["canvases"]))


def is_done(recipe: Recipe, state: Mapping[str, Any], check: Callable[..., float | None] | None) -> bool:
    """Whether a run has come to its end, or its figure of merit, where one is checked, has not risen for too long."""
    is_stale = state["epoch"] - state["best_epoch"] >= recipe["patience"]
    return progress_share(recipe, state) >= 1 or bool(check and state["best"] >= 0 and is_stale)


def composed_share(recipe: Recipe, share: float) -> float:
    """Return the share of composed canvases: none for what is left of a run from 1 - close_composed on."""
    return 0.0 if share >= 1 - recipe["close_composed"] else recipe["composed"]


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


def learning_rate(recipe: Recipe, share: float) -> float:
    """Cosine from lr0 to lr0 * lr_end after a linear warm-up."""
    if share < recipe["warmup"]:
        return recipe["lr0"] * max(0.02, share / recipe["warmup"])
    turn = (share - recipe["warmup"]) / (1 - recipe["warmup"])
    return recipe["lr0"] * (recipe["lr_end"] + (1 - recipe["lr_end"]) * (1 + math.cos(math.pi * turn)) / 2)


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
    recipe: Any = RECIPE | changes
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    facts = device_facts()
    run: dict[str, Any] = {
        "architecture": str(architecture),
        "scale": scale,
        "recipe": recipe,
        "manifest_sha256": json.loads(Path(dataset).read_text()).get("manifest_sha256"),
        **facts,
        "torch": torch.__version__,
    }
    if (out / "state.pt").is_file():
        refuse_another_run(out, run)
    random.seed(recipe["seed"])
    np.random.seed(recipe["seed"])
    torch.manual_seed(recipe["seed"])
    views = read_dataset(dataset, "train")
    if not any(view.cells for view in views):
        raise ValueError(f"{dataset} has no training view with a cell. Run `prepare` on labelled data first.")
    device, dtype = facts["device"], getattr(torch, facts["precision"])
    network = (
        build_network(architecture, scale=scale, start=start).to(device, memory_format=torch.channels_last).train()
    )
    average = ModelEMA(network, decay=recipe["ema_decay"], tau=300)
    decayed = [p for p in network.parameters() if p.ndim > 1 and p.requires_grad]
    plain = [p for p in network.parameters() if p.ndim <= 1 and p.requires_grad]
    groups = [{"params": decayed, "weight_decay": recipe["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    freeze(network, recipe["frozen"], recipe["frozen_norms"])
    optimizer = torch.optim.AdamW(groups, lr=recipe["lr0"], betas=(0.9, 0.999))
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    state: dict[str, Any] = {"epoch": 0, "canvases": 0, "seconds": 0.0, "best": -1.0, "best_epoch": 0}
    if (out / "state.pt").is_file():
        stored = torch.load(out / "state.pt", map_location=device, weights_only=False)
        network.load_state_dict(stored["network"])
        average.ema.load_state_dict(stored["average"])
        average.updates = stored["updates"]
        optimizer.load_state_dict(stored["optimizer"])
        if stored.get("scaler"):
            scaler.load_state_dict(stored["scaler"])
        state = stored["state"]
    drop_rows_after(out / "log.jsonl", state["epoch"])
    import_torch()
    torch.set_num_threads(threads or os.cpu_count() or 1)  # ultralytics leaves one core out when it is imported
    loss_of = build_loss(network, recipe["smoothing"], recipe["cls"])
    validation = read_dataset(dataset, "val") if check else []
    stains = read_stains(recipe["stains"])
    if not is_done(recipe, state, check):  # what a finished run was stays as it is
        (out / "run.json").write_text(json.dumps(run | {"views": len(views)}, indent=1))
    while not is_done(recipe, state, check):
        canvases = Canvases(
            views,
            **{key: recipe[key] for key in OF_CANVASES},
            stains=stains,
            composed=composed_share(recipe, progress_share(recipe, state)),
        )
        loader = DataLoader(
            canvases,
            recipe["batch"],
            sampler=Numbers(state["canvases"], recipe["canvases"]),
            num_workers=workers,
            collate_fn=collate,
            drop_last=False,
            prefetch_factor=4 if workers else None,
        )
        means = train_epoch(network, average, loader, loss_of, optimizer, scaler, recipe, state, device, dtype)
        state["epoch"] += 1
        row: dict[str, Any] = {
            "epoch": state["epoch"],
            "seconds": round(state["seconds"]),
            "share": round(progress_share(recipe, state), 4),
            **means,
        }
        save_network(out / "last.pt", average.ema, run)
        if check and state["epoch"] % recipe["check_every"] == 0:
            row["check"] = check(deepcopy(average.ema).float(), validation, recipe)
            if row["check"] is None:
                print("No validation view has a labelled cell: the last weights count.", file=sys.stderr)
                check = None
            elif row["check"] > state["best"]:
                state["best"], state["best_epoch"] = row["check"], state["epoch"]
                save_network(out / "best.pt", average.ema, run)
        with open(out / "log.jsonl", "a") as log:
            log.write(json.dumps(row) + "\n")
        torch.save(
            {
                "network": network.state_dict(),
                "average": average.ema.state_dict(),
                "updates": average.updates,
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "state": state,
            },
            out / "state.part",
        )
        (out / "state.part").replace(out / "state.pt")
    return out / ("best.pt" if (out / "best.pt").is_file() else "last.pt")


def freeze(network: Any, layers: int, norms: bool) -> Any:
    """Keep the first layers of a network as they are, and with `norms` means and variances of all layers.

    Notes
    -----
    A network that is trained on from good weights forgets at first because small batches have other means than all
    training did: on the shipped YOLOv5s, batches of 8 gave 2.4 times (single views) to 4.4 times (mosaic) the typing
    loss of the stored means.
    """
    for part in network.model[:layers]:
        part.eval().requires_grad_(False)
    for part in network.modules():
        if norms and isinstance(part, torch.nn.BatchNorm2d):
            part.eval()


def train_epoch(
    network: Any,
    average: Any,
    loader: Any,
    loss_of: Callable[..., Any],
    optimizer: Any,
    scaler: Any,
    recipe: Recipe,
    state: dict[str, Any],
    device: str,
    dtype: Any,
) -> dict[str, float]:
    """Train over one loader, advancing `state`; return mean losses and canvases per second."""
    sums, began, network_was = torch.zeros(3), time.monotonic(), state["seconds"]
    progress = tqdm(loader, desc=f"epoch {state['epoch'] + 1}", mininterval=20, leave=False)
    first = state["canvases"]
    for batch in progress:
        rate = learning_rate(recipe, progress_share(recipe, state))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = {key: value.to(device) for key, value in batch.items()}
        images = batch["img"].float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            predictions = network(images)
        predictions = {
            key: [f.float() for f in value] if isinstance(value, list) else value.float()
            for key, value in predictions.items()
        }
        loss, parts = loss_of(predictions, batch)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss.sum()).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        average.update(network)
        state["canvases"] += len(images)
        state["seconds"] = network_was + time.monotonic() - began
        sums += torch.stack([torch.as_tensor(part) for part in parts.values()]).cpu() * len(images)
        progress.set_postfix(loss=f"{float(loss.detach().sum()) / len(images):.3f}", lr=f"{rate:.5f}", refresh=False)
        if progress_share(recipe, state) >= 1:
            break
    done = state["canvases"] - first
    box, cls, dfl = (round(float(value) / done, 4) for value in sums)
    return {
        "box": box,
        "cls": cls,
        "dfl": dfl,
        "lr": round(rate, 6),
        "canvases_per_s": round(done / (state["seconds"] - network_was), 1),
    }
