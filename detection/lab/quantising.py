"""The command `quantise`: write the int8 form of a detector beside its weights, by post-training quantisation (NNCF).

Whether it may be used is left to `detection.lab.measuring.gate`, on each machine anew.
"""

import argparse
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from detection.inference.networks import exact_convolutions, import_openvino, load_module, save_openvino, to_openvino
from detection.lab.data.datasets import View, read_pixels
from detection.lab.data.stains import evenly

VIEWS = 300
TILE_PX = 640


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `quantise`."""
    parser.add_argument("dataset", type=Path, help="dataset.json of `prepare`: its training views give the ranges")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--views", type=int, default=VIEWS, help=f"of how many, evenly chosen (default {VIEWS})")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantise, write, and say what to do next."""
    from detection import SHIPPED
    from detection.inference.precision import int8_form
    from detection.lab.checkpoints import training_scale
    from detection.lab.data.datasets import read_dataset

    if find_spec("nncf") is None:
        raise ValueError("nncf is not installed. Install what this command needs: pip install 'leukoweb[int8]'")
    weights = options.weights or SHIPPED[0]
    views = read_dataset(options.dataset, "train")
    if not views:
        raise ValueError(f"{options.dataset} has no training views.")
    some = evenly(views, options.views)
    form = int8_form(weights)
    save_openvino(quantise(load_module(weights), [network_tile(view, training_scale(weights)) for view in some]), form)
    print(f"{form}: int8, ranges of {len(some)} views. It is used where it passes `gate`.")
    return 0


def network_tile(view: View, um_per_px: float) -> np.ndarray:
    """Return a view as the network sees it: (edge, edge, 3) uint8 at the scale of its training."""
    from detection.inference.detector import Tiles

    return Tiles(read_pixels(view.path), view.um_per_px or um_per_px, um_per_px, TILE_PX).pixels(0)


def quantise(module: Any, tiles: Sequence[np.ndarray]) -> Any:
    """Return the OpenVINO model of a network with weights and activations in int8.

    Parameters
    ----------
    module : torch.nn.Module
        As `load_module` gives it.
    tiles : sequence of ndarray, shape (H, W, 3), uint8, RGB
        What the ranges of the activations are taken from.

    Notes
    -----
    The first and the last convolutions and all that the head works out of them stay in float32 (`exact_convolutions`).
    Weights keep seven bits: without VNNI the products of two int8 pairs are added in 16 bits, and eight would overflow.
    """
    import_openvino()
    import nncf

    head = f"model.{len(module.model) - 1}"
    spared = [*exact_convolutions(module), head, f"{head}.dfl", f"{head}.dfl.conv"]
    return nncf.quantize(
        to_openvino(module),
        nncf.Dataset(tiles, lambda tile: np.float32(tile.transpose(2, 0, 1)[None]) / 255),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(tiles),
        ignored_scope=nncf.IgnoredScope(patterns=[rf"__module\.{re.escape(name)}/.*" for name in spared]),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
