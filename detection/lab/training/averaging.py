"""The command `average`: mix the weights of two checkpoints of one descent; training them is left to `training`."""

import argparse
from pathlib import Path

import torch

from detection.inference.networks import load_network
from detection.lab.training.building import save_network


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `average`."""
    parser.add_argument("first", type=Path, help="checkpoint that training started from")
    parser.add_argument("second", type=Path, help="checkpoint that it came to")
    parser.add_argument("--share", type=float, default=0.5, help="share of the second, 0 to 1")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the average of two checkpoints."""
    network = average_networks(options.first, options.second, options.share)
    save_network(options.out, network, {"average_share": options.share})
    print(options.out)


def average_networks(first: Path, second: Path, share: float) -> torch.nn.Module:
    """Average the weights of two networks of one descent: (1 - share) of the first, share of the second.

    Parameters
    ----------
    first, second : Path
        Checkpoints of the same architecture, the second trained on from the first.
    share : float, 0 to 1

    Returns
    -------
    DetectionModel

    References
    ----------
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903: such an average keeps what the first
    knew at home and much of what the second learned abroad.
    """
    start, network = load_network(first).state_dict(), load_network(second)
    mixed = {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)
    return network
