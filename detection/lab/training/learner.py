"""What changes while a network is trained: its weights, their moving average, the optimizer and how far the run is.

It is stored as one file after each epoch, so that a killed run resumes; the schedule is left to `training`.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from ultralytics.utils.torch_utils import ModelEMA

from detection.lab.training.recipe import Recipe
from detection.lab.training.schedule import learning_rate, progress_share


class Learner:
    """A network in training on one device, in one precision."""

    def __init__(self, network: Any, recipe: Recipe, *, device: str, precision: str) -> None:
        self.recipe, self.device, self.dtype = recipe, device, getattr(torch, precision)
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self.average = ModelEMA(self.network, decay=recipe["ema_decay"], tau=300)
        decayed = [p for p in self.network.parameters() if p.ndim > 1 and p.requires_grad]
        plain = [p for p in self.network.parameters() if p.ndim <= 1 and p.requires_grad]
        groups = [{"params": decayed, "weight_decay": recipe["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
        freeze(self.network, recipe["frozen"], bool(recipe["frozen_norms"]))
        self.optimizer = torch.optim.AdamW(groups, lr=recipe["lr0"], betas=(0.9, 0.999))
        self.scaler = torch.amp.GradScaler(device, enabled=self.dtype == torch.float16)
        self.state: dict[str, Any] = {"epoch": 0, "canvases": 0, "seconds": 0.0, "best": -1.0, "best_epoch": 0}

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return progress_share(self.recipe, self.state)

    def store(self, path: Path) -> None:
        """Write everything that resuming needs, all of it or nothing."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "average": self.average.ema.state_dict(),
                "updates": self.average.updates,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "state": self.state,
            },
            part,
        )
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from what `store` wrote; our own file, so that reading it may run code."""
        stored = torch.load(path, map_location=self.device, weights_only=False)
        self.network.load_state_dict(stored["network"])
        self.average.ema.load_state_dict(stored["average"])
        self.average.updates = stored["updates"]
        self.optimizer.load_state_dict(stored["optimizer"])
        if stored.get("scaler"):
            self.scaler.load_state_dict(stored["scaler"])
        self.state = stored["state"]

    def train_epoch(self, loader: Iterable[dict[str, Any]], loss_of: Callable[..., Any]) -> dict[str, float]:
        """Train over one loader, or to the end of the run; return mean losses and canvases per second."""
        sums, began, seconds_before = torch.zeros(3), time.monotonic(), self.state["seconds"]
        first, rate = self.state["canvases"], 0.0
        progress = tqdm(loader, desc=f"epoch {self.state['epoch'] + 1}", mininterval=20, leave=False)
        for batch in progress:
            rate = learning_rate(self.recipe, self.share)
            count, loss, parts = self._step(batch, loss_of, rate)
            self.state["canvases"] += count
            self.state["seconds"] = seconds_before + time.monotonic() - began
            sums += torch.stack([torch.as_tensor(part) for part in parts.values()]).cpu() * count
            progress.set_postfix(loss=f"{loss / count:.3f}", lr=f"{rate:.5f}", refresh=False)
            if self.share >= 1:
                break
        done = self.state["canvases"] - first
        box, cls, dfl = (round(float(value) / done, 4) for value in sums)
        per_second = round(done / (self.state["seconds"] - seconds_before), 1)
        return {"box": box, "cls": cls, "dfl": dfl, "lr": round(rate, 6), "canvases_per_s": per_second}

    def _step(self, batch: dict[str, Any], loss_of: Callable[..., Any], rate: float) -> tuple[int, float, dict]:
        """Learn from one batch: canvases, their summed loss, and its parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {key: value.to(self.device) for key, value in batch.items()}
        images = batch["img"].float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            predictions = self.network(images)
        predictions = {
            key: [f.float() for f in value] if isinstance(value, list) else value.float()
            for key, value in predictions.items()
        }
        loss, parts = loss_of(predictions, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss.sum()).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.network)
        return len(images), float(loss.detach().sum()), parts


def freeze(network: Any, layers: int, norms: bool) -> None:
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
