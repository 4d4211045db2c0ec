"""Read foreign data sets into views: TCIA code folders, YOLO folders, Pascal VOC, labelled crops with `cells.csv`.

Every reader returns views and the problems it met; which of those stop a run is decided in `datasets_prepare`.
"""

import csv
import xml.etree.ElementTree as ElementTree  # local training data only, never an upload
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from PIL import Image

from detection.cell_types import BY_CODE
from detection.datasets import PICTURES, View

LEAVE_OUT = "-"  # a class map sends a name here when it is no leukocyte

# Names of the public collections that this bench was made for; a class map file adds to them or overrules them.
KNOWN_NAMES = {
    "BA": "BAS", "BNE": "NGB", "EO": "EOS", "ERB": "EBO", "LY": "LYT", "MMY": "MMZ", "MO": "MON", "MY": "MYB",
    "PMY": "PMO", "SNE": "NGS", "PLT": LEAVE_OUT, "RBC": LEAVE_OUT, "Platelets": LEAVE_OUT,
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a data set: `kind` is what `--allow` names, `where` the file, `what` a sentence."""

    kind: str
    where: str
    what: str


def read_class_map(path):
    """Read a class map file (YAML, `foreign name: CODE` or `-` for "no leukocyte") on top of the known names.

    Parameters
    ----------
    path : str, Path or None
        None gives the known names alone.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        When the file names a code that is none of the fifteen.
    """
    own = yaml.safe_load(Path(path).read_text()) if path else {}
    if not isinstance(own, dict):
        raise ValueError(f"{path} must hold lines of the form `foreign name: CODE`.")
    own = {str(name): str(code) for name, code in own.items()}
    wrong = sorted(code for code in own.values() if code not in BY_CODE and code != LEAVE_OUT)
    if wrong:
        raise ValueError(
            f"{path} names codes that do not exist: {', '.join(wrong)}. Use one of {', '.join(BY_CODE)} or -."
        )
    return KNOWN_NAMES | own


def translate(name, names):
    """Turn a foreign class name into a code, LEAVE_OUT, or None when nobody knows it."""
    return names.get(name, name if name in BY_CODE else None)


def picture_size(path):
    """Return (width, height) in px without decoding, or None when the file is no picture."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except OSError:
        return None


def make_view(path, source, labelled, problems, *, patient="", um_per_px=None, root=None):
    """Build one view from (code, box) pairs, noting what is wrong; None when there is no picture."""
    where = str(Path(path).relative_to(root)) if root else Path(path).name
    size = picture_size(path) if Path(path).is_file() else None
    if size is None:
        problems.append(Problem("missing-picture", where, "is absent or cannot be read"))
        return None
    cells = []
    for code, box in labelled:
        x0, y0, x1, y1 = box
        if x1 - x0 < 1 or y1 - y0 < 1 or x0 < -2 or y0 < -2 or x1 > size[0] + 2 or y1 > size[1] + 2:
            problems.append(
                Problem("box-outside", where, f"{code} box {tuple(round(v) for v in box)} is empty or outside {size}")
            )
        box = (max(0.0, x0), max(0.0, y0), min(float(size[0]), x1), min(float(size[1]), y1))
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            cells.append((code, box))
    return View(str(path), source, size[0], size[1], tuple(cells), patient, um_per_px)


def read_yolo(root, source, names, um_per_px):
    """Read a YOLO folder (`data.yaml`, `images/SPLIT`, `labels/SPLIT`), or one without splits (`images`, `labels`).

    Where there is an `images.csv` (file, patient, um_per_px), as the product's export of signed corrections has one,
    patients and scales come from it.

    Parameters
    ----------
    root : Path
        Folder with `data.yaml`.
    source : str
        Name of the source.
    names : dict
        Class map.
    um_per_px : float or None
        Scale of all views.

    Returns
    -------
    views : list of View
        `split` filled from the folder ("train", "val", "test"; empty without such folders).
    problems : list of Problem
    """
    root, problems, views = Path(root), [], []
    listed = yaml.safe_load((root / "data.yaml").read_text())["names"]
    listed = list(listed.values()) if isinstance(listed, dict) else listed
    codes = [translate(str(name), names) for name in listed]
    problems += [
        Problem("unknown-name", "data.yaml", f"class {name}") for name, code in zip(listed, codes) if code is None
    ]
    known = {}
    if (root / "images.csv").is_file():
        with open(root / "images.csv", newline="") as lines:
            known = {row["file"]: row for row in csv.DictReader(lines)}
    folders = sorted(path for path in (root / "images").iterdir() if path.is_dir()) or [root / "images"]
    for folder in folders:
        split = "" if folder == root / "images" else folder.name
        pictures = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}
        labels = {path.stem: path for path in sorted((root / "labels" / split).glob("*.txt"))}
        problems += [
            Problem("missing-picture", f"labels/{split}/{stem}.txt", "has no picture")
            for stem in sorted(set(labels) - set(pictures))
        ]
        for stem, path in pictures.items():
            width, height = picture_size(path) or (1, 1)
            labelled = []
            for line in labels[stem].read_text().splitlines() if stem in labels else ():
                index, cx, cy, w, h = (float(part) for part in line.split()[:5])
                if not 0 <= index < len(codes):
                    problems.append(Problem("unknown-name", f"labels/{split}/{stem}.txt", f"class number {int(index)}"))
                    continue
                code = codes[int(index)]
                if code not in (None, LEAVE_OUT):
                    labelled.append(
                        (
                            code,
                            ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height),
                        )
                    )
            facts = known.get(path.name, {})
            scale = float(facts.get("um_per_px") or 0) or um_per_px
            patient = facts.get("patient", "")
            view = make_view(path, source, labelled, problems, patient=patient, um_per_px=scale, root=root)
            if view:
                views.append(replace(view, split={"valid": "val"}.get(split, split)))
    return views, problems


def read_crops(root, source, names, um_per_px, *, min_box_score=0.0):
    """Read labelled crops: `cells.csv` with file, patient, code (or source_label), x0 y0 x1 y1, a cell a row.

    Rows whose `box_score` is below `min_box_score` are left out; a row without a box gives a view without cells whose
    type waits for `datasets_boxes.derive_boxes`. Parameters and returns as in `read_yolo`.
    """
    root, problems, by_file = Path(root), [], {}
    with open(root / "cells.csv", newline="") as lines:
        for row in csv.DictReader(lines):
            code = translate(row.get("code") or row["source_label"], names)
            if code is None:
                problems.append(Problem("unknown-name", row["file"], f"label {row.get('code') or row['source_label']}"))
            elif code != LEAVE_OUT and float(row.get("box_score") or 1) >= min_box_score:
                by_file.setdefault(row["file"], []).append((code, row))
    views = []
    for file, rows in sorted(by_file.items()):
        labelled = [
            (code, tuple(float(row[key]) for key in ("x0", "y0", "x1", "y1"))) for code, row in rows if row.get("x1")
        ]
        view = make_view(
            root / file,
            source,
            labelled,
            problems,
            patient=rows[0][1].get("patient", ""),
            um_per_px=um_per_px,
            root=root,
        )
        if view:
            views.append(view)
    return views, problems


def read_code_folders(root, source, names, um_per_px):
    """Read the TCIA layout `CODE/CODE_NNNN.tiff`: one central cell a picture, no box.

    Each view carries its cell with the whole picture as box until `datasets_boxes.derive_boxes` finds a better one.
    Parameters and returns as in `read_yolo`.
    """
    root, problems, views = Path(root), [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        code = translate(folder.name, names)
        if code is None:
            problems.append(Problem("unknown-name", folder.name, "folder name"))
        if code in (None, LEAVE_OUT):
            continue
        for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES):
            width, height = picture_size(path) or (1, 1)
            view = make_view(
                path,
                source,
                [(code, (0.0, 0.0, float(width), float(height)))],
                problems,
                um_per_px=um_per_px,
                root=root,
            )
            if view:
                views.append(view)
    return views, problems


def read_voc(root, source, names, um_per_px):
    """Read Pascal VOC (`Annotations/*.xml`, `JPEGImages/`); parameters and returns as in `read_yolo`."""
    root, problems, views = Path(root), [], []
    for path in sorted((root / "Annotations").glob("*.xml")):
        tree = ElementTree.parse(path).getroot()  # noqa: S314
        labelled = []
        for thing in tree.iter("object"):
            name = thing.findtext("name", "")
            code = translate(name, names)
            if code is None:
                problems.append(Problem("unknown-name", f"Annotations/{path.name}", f"object {name}"))
            elif code != LEAVE_OUT:
                box = thing.find("bndbox")
                labelled.append((code, tuple(float(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax"))))
        pictures = [p for p in (root / "JPEGImages").glob(f"{path.stem}.*")] or [
            root / "JPEGImages" / f"{path.stem}.jpg"
        ]
        view = make_view(pictures[0], source, labelled, problems, um_per_px=um_per_px, root=root)
        if view:
            views.append(view)
    return views, problems


READERS = {"yolo": read_yolo, "crops": read_crops, "folders": read_code_folders, "voc": read_voc}
