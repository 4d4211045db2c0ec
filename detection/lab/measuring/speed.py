"""The command `bench`: speed of the detector as ratios measured side by side in one run, and peak memory of a worker.
The figures hold for the machine and the minute in which they were measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detection.inference.detector import Detector
from detection.lab.finding import default_cache

FIELD_PX, FIELD_UM_PER_PX = 2900, 0.205
LEUKOCYTES = {"MYO": 60, "NGS": 40, "LYT": 30, "MON": 15, "KSC": 15}
LARGE_PX = 10_000
SLIDE_FIELDS = 50


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench`."""
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement; the best counts (default 3)")
    parser.add_argument("--no-large", action="store_true", help="leave out the 10,000 x 10,000 px TIFF (minutes)")
    parser.add_argument("--weights", type=Path, help="default: the shipped detector; its card is beside it")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the OpenVINO export is kept")
    parser.add_argument("--worker-on", type=Path, help=argparse.SUPPRESS)  # what a measured child does: `_peak_memory`
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables; exit code 0 always, since a figure is no verdict."""
    from detection import SHIPPED

    options.weights = options.weights or SHIPPED[0]
    if options.worker_on:
        return _work(options)
    from PIL import Image

    from detection.lab.training.training_speed import measure as measure_training
    from detection.phantom import draw_field

    field = draw_field(FIELD_PX, FIELD_PX, um_per_px=FIELD_UM_PER_PX, seed=1, leukocytes=LEUKOCYTES).image
    _print_backends(field, options)
    rates = measure_training()
    print(
        f"training, views of 320 px a second: ultralytics {rates['ultralytics']:.1f}, ours {rates['ours']:.1f}, "
        f"{rates['ours'] / rates['ultralytics']:.2f} x"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.jpg"
        Image.fromarray(field).save(path, quality=90)
        _print_worker_path(path, options)
        print(f"peak memory, field of {FIELD_PX} px: {_peak_memory(path, options):.2f} GB (limit 2.5)")
        _print_growth(path, options)
        if not options.no_large:
            _write_large_tiff(field, Path(folder) / "large.tiff")
            print(
                f"peak memory, TIFF of {LARGE_PX} px: {_peak_memory(Path(folder) / 'large.tiff', options):.2f} GB"
                " (limit 3.5)"
            )
    return 0


def _load(options: argparse.Namespace, **how: Any) -> Detector:
    from detection.inference.detector import Detector

    return Detector.load(options.weights, options.weights.with_suffix(".json"), cache_folder=options.cache, **how)


def _print_backends(field: np.ndarray, options: argparse.Namespace) -> None:
    """Time every way to run the network on the same 16 tiles of 640 px, turn by turn, against plain `YOLO.predict`."""
    import numpy as np

    from detection.inference.detector import Tiles
    from detection.inference.networks import cores, cpu_facts, cpu_features, import_torch
    from detection.inference.precision import int8_form

    torch = import_torch()
    ways = [(backend, precision) for backend in ("torch", "openvino") for precision in ("f32", "bf16")]
    if int8_form(options.weights).is_file():
        ways.append(("openvino", "int8"))
    ours = {
        f"{backend} {precision}": _load(options, device="cpu", backend=backend, precision=precision)
        for backend, precision in ways
    }
    if torch.cuda.is_available():
        ours["torch cuda f16"] = _load(options, device="cuda")
    tiles = Tiles(field, FIELD_UM_PER_PX, next(iter(ours.values())).card.um_per_px, 640)
    batch = np.stack([tiles.pixels(number) for number in range(16)])
    turns = {"ultralytics predict": _plain_predict(options.weights, batch)}
    turns |= {name: partial(_in_batches, detector.network, batch) for name, detector in ours.items()}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(options.rounds + 1):
        for name, way in turns.items():
            # Plain predict leaves torch with the threads that ultralytics chose: one less than there are cores.
            torch.set_num_threads(max(1, cores() - 1) if name.startswith("ultra") else cores())
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    torch.set_num_threads(cores())
    best = {name: len(batch) / min(measured[1:]) for name, measured in seconds.items()}  # the first turn warms up
    print(f"{cpu_facts()['model name']} with {cpu_features()}")
    print(f"tiles of 640 px a second on {cores()} cores, best of {options.rounds} turns, and ratio to plain predict")
    for name, rate in best.items():
        print(f"  {name:20} {rate:6.1f}  {rate / best['ultralytics predict']:5.2f} x")


def _in_batches(network: Any, tiles: np.ndarray) -> None:
    """Run a network over tiles in batches of its own size."""
    for start in range(0, len(tiles), network.batch_tiles):
        network(tiles[start : start + network.batch_tiles])


def _plain_predict(weights: Path, batch: np.ndarray) -> Callable[[], Any]:
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS.update({"sync": False})
    model = YOLO(weights)
    pictures = [tile[..., ::-1].copy() for tile in batch]  # ultralytics takes arrays as BGR
    return lambda: model.predict(pictures, imgsz=640, device="cpu", verbose=False, batch=8)


def _print_worker_path(path: Path, options: argparse.Namespace) -> None:
    """Time what a worker does with a field against the bare forward of the same tiles, turn by turn."""
    import numpy as np

    from detection.images import unpack_image
    from detection.inference.detector import Tiles
    from detection.inference.reading import read_field

    detector = _load(options)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        unpack_image(path, folder)
        unpacking = time.perf_counter() - start
        pixels = np.load(Path(folder) / "pixels.npy", mmap_mode="r")
        tiles = Tiles(pixels, FIELD_UM_PER_PX, detector.card.um_per_px, 1280)
        batch = max(1, detector.network.batch_tiles // 4)
        batches = [
            np.stack([tiles.pixels(number) for number in range(start, min(start + batch, len(tiles)))])
            for start in range(0, len(tiles), batch)
        ]
        forward, finding, path_seconds = [], [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            for one in batches:
                detector.network(one)
            forward.append(time.perf_counter() - start)
            start = time.perf_counter()
            detector.find_cells(pixels, FIELD_UM_PER_PX)
            finding.append(time.perf_counter() - start)
            start = time.perf_counter()
            read_field(pixels, detector, FIELD_UM_PER_PX)
            path_seconds.append(time.perf_counter() - start)
    print(f"field of {FIELD_PX} px, {len(tiles)} tiles, {detector.backend} {detector.precision} on {detector.device}")
    print(f"  bare forward          {min(forward):6.2f} s")
    print(f"  find_cells            {min(finding):6.2f} s  {min(finding) / min(forward):5.2f} x")
    print(f"  with nuclei by stain  {min(path_seconds):6.2f} s  {min(path_seconds) / min(forward):5.2f} x")
    whole = min(path_seconds) + unpacking
    print(f"  with unpacking        {whole:6.2f} s  {whole / min(forward):5.2f} x (limit 1.3)")


def _write_large_tiff(field: np.ndarray, path: Path) -> None:
    import numpy as np
    import tifffile

    times = -(-LARGE_PX // FIELD_PX)
    large = np.tile(field, (times, times, 1))[:LARGE_PX, :LARGE_PX]
    tifffile.imwrite(path, large, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=64)


def _print_growth(path: Path, options: argparse.Namespace) -> None:
    """Let 1, 2 and 4 workers read a field each at the same time, on equal shares of the cores."""
    from detection.inference.networks import cores

    print(f"slides an hour of {SLIDE_FIELDS} fields of 5 MP, from one field of {FIELD_PX} px for each worker:")
    alone = 0.0
    for workers in (1, 2, 4):
        threads = max(1, cores() // workers)
        children = [_child(path, options, DETECTION_THREADS=str(threads)) for _ in range(workers)]
        seconds = max(_answer_of(child)["seconds"] for child in children)
        slides = workers * 3600 / (seconds * SLIDE_FIELDS * 5e6 / FIELD_PX**2)
        alone = alone or slides
        print(f"  {workers} worker{'s' * (workers > 1)} with {threads} threads {slides:6.1f}  {slides / alone:5.2f} x")


def _child(path: Path, options: argparse.Namespace, **environment: str) -> subprocess.Popen:
    """Start a fresh process that does the worker path on a file."""
    command = [sys.executable, "-m", "detection", "bench", "--worker-on", str(path), "--weights", str(options.weights)]
    command += ["--cache", str(options.cache)]
    own = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own)


def _answer_of(child: subprocess.Popen) -> dict[str, float]:
    """Wait for a child and return what it measured."""
    said = child.communicate()[0]
    if child.returncode:
        raise SystemExit("A measured process failed; the reason stands above.")
    return json.loads(said.splitlines()[-1])


def _peak_memory(path: Path, options: argparse.Namespace) -> float:
    """Return the peak resident memory in GB of a fresh process that does the worker path on a file."""
    return _answer_of(_child(path, options))["peak_gb"]


def _work(options: argparse.Namespace) -> int:
    import resource

    import numpy as np

    from detection.images import unpack_image
    from detection.inference.reading import read_field

    detector = _load(options)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        unpack_image(options.worker_on, folder)
        pixels = np.load(Path(folder) / "pixels.npy", mmap_mode="r")
        cells = read_field(pixels, detector, FIELD_UM_PER_PX).cells
        seconds = time.perf_counter() - start
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"cells": len(cells), "seconds": seconds, "peak_gb": max(own, child) / 2**20}))
    return 0
