"""Corrections of signed cases as a training set without names: YOLO folders, pixels only, pseudonymous patients.

Nothing that names a person leaves: file metadata is dropped by writing pixels anew, and patients become keyed hashes.
"""

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from django.utils.crypto import salted_hmac
from PIL import Image

from detection.cell_types import BY_CODE, CODES, UNIDENTIFIED
from detection.images import unpack_image
from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.models import ImageResult
from leukoweb.audit.services import record
from leukoweb.cases.copies import local_original
from leukoweb.cases.models import SlideImage
from leukoweb.review.models import Report
from leukoweb.review.services import signed_cells


def export_training_set(folder: Path, *, laboratory: Laboratory, by: User | None = None) -> int:
    """Write every image that the laboratory's reports in force cover, with its signed labels; returns their number.

    `left-out.csv` names those that could not be written, such as whole slides, which are never unpacked.
    Raises FileExistsError when the folder holds something, so that two exports never mix.
    """
    make_empty(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    rows, left_out = [], []
    reports = Report.objects.in_force().filter(case__laboratory=laboratory, case__is_demonstration=False)
    for report in reports.select_related("case").order_by("case"):
        patient = f"P{_pseudonym('patient', report.case.patient_id)}"
        cells, signed = signed_cells(report), [image["id"] for image in report.content["images"]]
        for image in SlideImage.objects.filter(pk__in=signed, expired_at=None):
            name = f"{patient}_{_pseudonym('image', image.pk)}"
            own = [(code, box) for where, code, box in cells if where == image.pk]
            nameless = [box for code, box in own if code == UNIDENTIFIED]
            if not write_pixels(image, folder / "images" / f"{name}.png", hide=nameless):
                why = "whole slide" if image.is_whole_slide else "read before pictures were turned upright"
                left_out.append((f"{name}.png", why))
                continue
            labels = [_label_line(image, code, box) for code, box in own if code in BY_CODE]
            (folder / "labels" / f"{name}.txt").write_text("".join(labels))
            result = ImageResult.objects.filter(image=image, run__is_shadow=False).first()
            rows.append((f"{name}.png", patient, result.um_per_px if result else image.um_per_px, len(labels)))
    with (folder / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "patient", "um_per_px", "cells"), *rows])
    if left_out:
        with (folder / "left-out.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "why"), *left_out])
    names = json.dumps(list(CODES))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnc: {len(CODES)}\nnames: {names}\n")
    record("training_set.export", actor=by, laboratory=laboratory, changes={"images": len(rows)})
    return len(rows)


def make_empty(folder: Path) -> None:
    """Make a folder; FileExistsError when it holds something, so that two exports never mix."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError("The folder is not empty: name a new one, so that two exports never mix.")


def write_pixels(image: SlideImage, path: Path, *, hide: Sequence[list[float]] = ()) -> bool:
    """Write an image anew as PNG from its pixels alone: nothing that the file said about itself goes along.

    Boxes of `hide` (xyxy px) are filled with the commonest colour, as a cell without a name would be taught as glass.
    False, and nothing written, where the picture was last read as it lies on its side: its boxes fit no upright pixels;
    and of a whole slide, which is never unpacked.
    """
    if image.is_whole_slide:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        facts = unpack_image(local_original(image.sha256), scratch)
        if (facts.width_px, facts.height_px) != (image.width_px, image.height_px):
            return False
        pixels = np.load(f"{scratch}/pixels.npy", mmap_mode="r")
        if hide:
            pixels = pixels.copy()
            glass = np.median(pixels[::16, ::16].reshape(-1, 3), 0)
        for x1, y1, x2, y2 in np.round(hide).astype(int):
            pixels[max(0, y1) : y2, max(0, x1) : x2] = glass
        Image.fromarray(pixels).save(path)
    return True


def _pseudonym(kind: str, key: int) -> str:
    """The same patient or image gets the same name in every export of this installation, and none can be led back."""
    return salted_hmac(f"training set {kind}", str(key)).hexdigest()[:10]


def _label_line(image: SlideImage, code: str, box: Sequence[float]) -> str:
    """One YOLO line: class, centre and size as fractions of the image."""
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) / 2 / image.width_px, (y1 + y2) / 2 / image.height_px
    w, h = (x2 - x1) / image.width_px, (y2 - y1) / image.height_px
    return f"{BY_CODE[code].index} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
