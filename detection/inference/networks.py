"""Run the network of a detector on batches of tiles, with torch or OpenVINO, and say exactly how it was run.
Cells, thresholds and images larger than a tile are left to `detector`.
"""

import hashlib
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

EXPORT_FORM = 2  # raise it when `export_openvino` writes another form: a result of the gate holds for one form alone


def import_torch() -> Any:
    """Import torch and ultralytics so that they leave the network, the installation and the home folder alone."""
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(tempfile.gettempdir()) / f"leukoweb-yolo-{os.getuid()}"))
    os.environ.setdefault("YOLO_VERBOSE", "false")
    import torch
    import ultralytics.nn.tasks  # noqa: F401  a checkpoint names its classes

    # ultralytics leaves one core idle; on two cores that is half of the machine.
    torch.set_num_threads(cores())
    return torch


def import_openvino() -> Any:
    """Import OpenVINO without its usage statistics, which its import would otherwise send."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes the silent stand-in that it ships
    import openvino

    return openvino


def cores() -> int:
    """Return the number of cores that this process may use; DETECTION_THREADS lowers it.

    OMP_NUM_THREADS is not asked: ultralytics sets it to 1 when it is imported.
    """
    return min(len(os.sched_getaffinity(0)), int(os.environ.get("DETECTION_THREADS") or 1024))


def cpu_facts() -> dict[str, str]:
    """Return model name and flags of the processor as Linux gives them; empty flags elsewhere."""
    lines = {"model name": platform.machine(), "flags": ""}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in lines:
                lines[name.strip()] = value.strip()
    return lines


def machine_name() -> str:
    """Return a short name of the processor kind: exports and precision trials of another kind are not ours."""
    lines = cpu_facts()
    digest = hashlib.sha256(lines["flags"].encode()).hexdigest()[:8]
    return "-".join([*lines["model name"].split()[:4], digest]).replace("/", "-").lower()


def load_network(path: str | Path) -> Any:
    """Return the network of an ultralytics checkpoint as float32 on the CPU, as it was stored.

    The file is unpickled and can run code: load only files of our own making, or whose SHA-256 is that of their card.
    """
    checkpoint = import_torch().load(path, map_location="cpu", weights_only=False)
    return (checkpoint.get("ema") or checkpoint["model"]).float()


def load_module(weights_path: str | Path) -> Any:
    """Return the network of a checkpoint to read with: evaluation mode, batch norms folded in; as `load_network`."""
    return load_network(weights_path).eval().requires_grad_(False).fuse(verbose=False)


def has_fast_bfloat16() -> bool:
    """Tell whether this processor computes bfloat16 faster than float32 (AVX512-BF16 or AMX)."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_facts()["flags"].split())


def cpu_features() -> str:
    """Name what this processor has of the instructions that decide how fast a network is, for what prints speeds."""
    wanted = {"AVX2": "avx2", "AVX512": "avx512f", "VNNI": "avx512_vnni avx_vnni", "BF16": "avx512_bf16 amx_bf16",
              "AMX": "amx_tile"}  # fmt: skip
    flags = set(cpu_facts()["flags"].split())
    has = {name: not flags.isdisjoint(names.split()) for name, names in wanted.items()}
    return ", ".join(name if there else f"no {name}" for name, there in has.items())


class TorchNetwork:
    """The network run by torch: half precision on CUDA; float32 or bfloat16 on a CPU."""

    backend = "torch"
    batch_tiles = 8

    def __init__(self, module: Any, *, device: str, precision: str) -> None:
        self.torch = import_torch()
        self.device, self.precision = device, precision
        self._device = self.torch.device("cuda" if device.startswith("cuda") else "cpu")
        module = module.to(self._device, memory_format=self.torch.channels_last)
        self.module = module.half() if precision == "f16" else module

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Return (N, 4 + classes, anchors) float32 of tiles (N, H, W, 3) uint8 RGB."""
        torch = self.torch
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            # (N, H, W, 3) seen as (N, 3, H, W) is channels_last without a copy.
            batch = torch.from_numpy(tiles).to(self._device).permute(0, 3, 1, 2)
            batch = (batch.half() if self.precision == "f16" else batch.float()) / 255
            return self.module(batch)[0].float().cpu().numpy()


class OpenVinoNetwork:
    """The network run by OpenVINO on the CPU, exported once for each detector version and kind of processor.

    `export_path` names that export; in int8 the form that `quantise` wrote beside the weights, of which the layers that
    it spared run in float32.
    """

    backend = "openvino"
    device = "cpu"
    batch_tiles = 16

    def __init__(self, weights_path: str | Path, export_path: Path, *, precision: str) -> None:
        self.openvino = import_openvino()
        self.precision = precision
        self.core = self.openvino.Core()
        if not export_path.exists() and precision != "int8":
            export_openvino(load_module(weights_path), export_path)
        self.model = self.core.read_model(export_path)
        self._queues: dict[tuple[int, int], Any] = {}

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Return (N, 4 + classes, anchors) float32 of tiles (N, H, W, 3) uint8 RGB."""
        queue = self._queue(*tiles.shape[1:3])
        outputs: list[Any] = [None] * len(tiles)
        queue.set_callback(
            lambda request, index: outputs.__setitem__(index, request.get_output_tensor(0).data[0].copy())
        )
        for index in range(len(tiles)):
            queue.start_async([tiles[index : index + 1]], index)
        queue.wait_all()
        return np.stack(outputs)

    def _queue(self, height_px: int, width_px: int) -> Any:
        """Compile once for each size of tile; the processor's own choice of precision is never taken."""
        if (height_px, width_px) not in self._queues:
            model = self.model.clone()
            model.reshape([1, 3, height_px, width_px])
            steps = self.openvino.preprocess.PrePostProcessor(model)
            steps.input().tensor().set_element_type(self.openvino.Type.u8).set_layout(self.openvino.Layout("NHWC"))
            steps.input().model().set_layout(self.openvino.Layout("NCHW"))
            steps.input().preprocess().convert_element_type(self.openvino.Type.f32).scale(255.0)
            compiled = self.core.compile_model(
                steps.build(),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "f32" if self.precision == "int8" else self.precision,
                    "PERFORMANCE_HINT": "THROUGHPUT",
                    "INFERENCE_NUM_THREADS": cores(),
                },
            )
            self._queues[height_px, width_px] = self.openvino.AsyncInferQueue(compiled)
        return self._queues[height_px, width_px]


def export_openvino(module: Any, path: Path) -> None:
    """Write a network as OpenVINO XML and BIN for tiles of any size, in float32."""
    path.parent.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is found before the long work
    save_openvino(to_openvino(module), path, exact_convolutions(module))


def to_openvino(module: Any) -> Any:
    """Return a network as an OpenVINO model for tiles of any size, in float32."""
    torch, openvino = import_torch(), import_openvino()
    head = module.model[-1]
    head.dynamic = True  # anchors follow the size of the tile instead of being frozen at that of the example
    head.export, head.format = True, "openvino"
    example = torch.zeros(1, 3, 320, 320)
    with torch.inference_mode():
        module(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # OpenVINO reads traced modules, which torch calls old
        traced = torch.jit.trace(module, example, check_trace=False)
    return openvino.convert_model(traced)


def save_openvino(model: Any, path: Path, exact: Collection[str] = ()) -> None:
    """Write an OpenVINO model as XML and BIN, whole or not at all; `exact` names convolutions for `keep_exact`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        import_openvino().save_model(model, written, compress_to_fp16=False)
        keep_exact(written, exact)
        # The XML is looked for, so the weights beside it come first: a process that dies between leaves no half export.
        os.replace(written.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(written, path)


def exact_convolutions(module: Any) -> set[str]:
    """Name the convolutions of a network that stay in float32 under bfloat16 and int8.

    Notes
    -----
    The first reads grey levels, which eight bits of mantissa blur, and the last, those without activation, write the
    scores. They are 3 % of the work, and half of the mean error of all-bfloat16 scores comes from them (logits of the
    shipped YOLOv5s on 75 held-out views: .020 to .010, its 99th percentile .10 to .05).
    """
    from torch.nn import Conv2d

    names = [name for name, part in module.named_modules() if isinstance(part, Conv2d)]
    return {names[0], *(name for name in names if not name.endswith(".conv"))}


def keep_exact(path: Path, names: Collection[str]) -> None:
    """Mark convolutions in an OpenVINO XML as `precise`, which its CPU plugin obeys; ValueError names a missing one."""
    tree, left = ElementTree.parse(path), set(names)  # noqa: S314  written a moment ago by OpenVINO itself
    for layer in tree.getroot().iter("layer"):
        name = layer.get("name", "").partition("/")[0].removeprefix("__module.")
        if layer.get("type") == "Convolution" and name in left:
            left.remove(name)
            facts = layer.find("rt_info")
            if facts is None:
                facts = ElementTree.Element("rt_info")
                layer.insert(1, facts)  # after <data>, where OpenVINO writes it
            ElementTree.SubElement(facts, "attribute", name="precise", version="0")
    if left:
        raise ValueError(f"The export has no convolution {', '.join(sorted(left))}.")
    tree.write(path)
