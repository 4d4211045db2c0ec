"""How fast the training loop is against ultralytics' own trainer, on the same drawn views, network, size and batch.
Both draw, change and learn whole epochs, the first of which is not counted; nothing is evaluated.
"""

import json
import tempfile
import time
from pathlib import Path

PICTURES, PICTURE_PX, UM_PER_PX, BATCH = 96, 320, 0.115, 16


def measure(
    *, pictures: int = PICTURES, picture_px: int = PICTURE_PX, batch: int = BATCH, architecture: str = "yolov5n.yaml"
) -> dict[str, float]:
    """Train two epochs each way.

    Parameters
    ----------
    pictures : int
        Drawn views an epoch.
    picture_px : int
        Edge of views and canvases.
    batch : int
    architecture : str
        File of ultralytics that both read.

    Returns
    -------
    dict
        Views a second of the second epoch: `ultralytics` (its defaults: float32, its own choice of threads) and `ours`
        (`training.train`: bfloat16 where that is fast, channels last, every core).
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw(folder, pictures, picture_px)
        return {
            "ultralytics": theirs(folder, batch, picture_px, architecture),
            "ours": ours(folder, batch, picture_px, architecture, pictures),
        }


def draw(folder: Path, pictures: int, picture_px: int) -> None:
    """Write drawn views as a YOLO folder and as a data set file."""
    import yaml
    from PIL import Image

    from detection.cell_types import BY_CODE, CODES
    from detection.lab.data.datasets import write_dataset
    from detection.lab.data.readers import read_class_map, read_yolo
    from detection.phantom import draw_field

    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True)
    for number in range(pictures):
        code = ("MYO", "NGS", "LYT", "EOS")[number % 4]
        field = draw_field(picture_px, picture_px, um_per_px=UM_PER_PX, seed=number, leukocytes={code: 1})
        Image.fromarray(field.image).save(folder / "images" / "train" / f"{number:04}.jpg", quality=90)
        lines = [
            f"{BY_CODE[own].index} {(x0 + x1) / 2 / picture_px} {(y0 + y1) / 2 / picture_px} "
            f"{(x1 - x0) / picture_px} {(y1 - y0) / picture_px}"
            for own, (x0, y0, x1, y1) in field.cells
        ]
        (folder / "labels" / "train" / f"{number:04}.txt").write_text("\n".join(lines))
    names = {"path": str(folder), "train": "images/train", "val": "images/train", "names": list(CODES)}
    (folder / "data.yaml").write_text(yaml.safe_dump(names))
    views, _ = read_yolo(folder, "drawn", read_class_map(None), UM_PER_PX)
    write_dataset(folder / "dataset.json", views, seed=0)


def theirs(folder: Path, batch: int, picture_px: int, architecture: str) -> float:
    """Views a second of ultralytics' trainer in its second epoch."""
    from detection.inference.networks import cores, import_torch

    torch = import_torch()
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS.update({"sync": False})
    torch.set_num_threads(max(1, cores() - 1))  # what ultralytics chooses when it is imported
    rates: list[float] = []
    model = YOLO(architecture, verbose=False)
    began: dict[str, float] = {}
    model.add_callback("on_train_epoch_start", lambda trainer: began.update(at=time.monotonic()))
    model.add_callback(
        "on_train_epoch_end",
        lambda trainer: rates.append(len(trainer.train_loader.dataset) / (time.monotonic() - began["at"])),
    )
    model.train(
        data=str(folder / "data.yaml"), imgsz=picture_px, batch=batch, epochs=2, close_mosaic=0, val=False, plots=False,
        save=False, verbose=False, device="cuda" if torch.cuda.is_available() else "cpu",
        project=str(folder / "theirs"),
    )  # fmt: skip
    torch.set_num_threads(cores())
    return rates[-1]


def ours(folder: Path, batch: int, picture_px: int, architecture: str, pictures: int) -> float:
    """Views a second of `training.train` in its second epoch."""
    from detection.lab.training.training import train

    train(
        folder / "dataset.json", folder / "ours", architecture, workers=0,
        canvas_px=picture_px, um_per_px=UM_PER_PX, batch=batch, canvases=pictures, epochs=2,
    )  # fmt: skip
    return json.loads((folder / "ours" / "log.jsonl").read_text().splitlines()[-1])["canvases_per_s"]
