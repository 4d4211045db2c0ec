"""Corrections of signed cases as a training set without names: YOLO folders, pixels only, pseudonymous patients.

Nothing that names a person leaves: file metadata is dropped by writing pixels anew, and patients become random numbers.
"""

import csv
import json
import secrets
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from detection.cell_types import BY_CODE, CODES
from detection.images import unpack_image
from leukoweb.analysis.models import Cell, ImageResult
from leukoweb.audit.services import record
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import original_path
from leukoweb.review.models import Report, with_labels


def export_training_set(folder: Path, *, laboratory, by=None) -> int:
    """Write every image of the laboratory's signed cases with its signed labels; returns the number of images.

    Raises FileExistsError when the folder holds something, so that two exports never mix.
    """
    make_empty(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    signed = Report.objects.filter(state=Report.State.SIGNED, case__laboratory=laboratory).values("case_id")
    images = SlideImage.objects.filter(slide__case__in=signed, slide__is_drawn=False, expired_at=None).select_related(
        "slide__case"
    )
    pseudonyms: dict[int, str] = {}
    rows = []
    for image in images:
        patient = pseudonyms.setdefault(image.slide.case.patient_id, f"P{secrets.token_hex(4)}")
        name = f"{patient}_{secrets.token_hex(6)}"
        write_pixels(image, folder / "images" / f"{name}.png")
        labels = _label_lines(image)
        (folder / "labels" / f"{name}.txt").write_text("".join(labels))
        result = ImageResult.objects.filter(image=image, run__is_shadow=False).first()
        rows.append((f"{name}.png", patient, result.um_per_px if result else image.um_per_px, len(labels)))
    with (folder / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "patient", "um_per_px", "cells"), *rows])
    names = json.dumps(list(CODES))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnc: {len(CODES)}\nnames: {names}\n")
    record("training_set.export", actor=by, laboratory=laboratory, changes={"images": len(rows)})
    return len(rows)


def make_empty(folder: Path) -> None:
    """Make a folder; FileExistsError when it holds something, so that two exports never mix."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError("The folder is not empty: name a new one, so that two exports never mix.")


def write_pixels(image, path: Path) -> None:
    """Write an image anew as PNG from its pixels alone: nothing that the file said about itself goes along."""
    with tempfile.TemporaryDirectory() as scratch:
        unpack_image(original_path(image.sha256), scratch)
        Image.fromarray(np.load(f"{scratch}/pixels.npy", mmap_mode="r")).save(path)


def _label_lines(image) -> list[str]:
    """One YOLO line for each signed cell of the 15 types: class, centre and size as fractions of the image."""
    lines = []
    for cell in with_labels(Cell.objects.counted().filter(image=image)):
        if cell.code in BY_CODE:
            x, y = (cell.x1 + cell.x2) / 2 / image.width_px, (cell.y1 + cell.y2) / 2 / image.height_px
            w, h = (cell.x2 - cell.x1) / image.width_px, (cell.y2 - cell.y1) / image.height_px
            lines.append(f"{BY_CODE[cell.code].index} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n")
    return lines
