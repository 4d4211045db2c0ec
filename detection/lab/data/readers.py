"""Read foreign data sets into views: YOLO folders, labelled crops with `cells.csv`, TCIA code folders, Pascal VOC.

Every reader returns views and the problems it met; which of those stop a run is decided in `datasets_prepare`.
"""

import os
import re
import xml.etree.ElementTree as ElementTree  # local training data only, never an upload
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from detection.cell_types import CODES, FILM_CODES
from detection.lab.data.datasets import View, picture_size
from detection.lab.data.files import Problem, make_view, number, pictures_in, read_rows, read_yaml, shown

KNOWN_CODES = (*CODES, *FILM_CODES)
LEAVE_OUT = "-"  # a class map sends a name here when it is no leukocyte
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}  # keys of data.yaml, and folders

# Names of the public collections that this bench was made for; a class map file adds to them or overrules them.
KNOWN_NAMES = {
    "BA": "BAS", "BNE": "NGB", "EO": "EOS", "ERB": "EBO", "LY": "LYT", "MMY": "MMZ", "MO": "MON", "MY": "MYB",
    "PMY": "PMO", "SNE": "NGS", "PLT": LEAVE_OUT, "RBC": LEAVE_OUT, "Platelets": LEAVE_OUT,
}  # fmt: skip


def read_class_map(path: Path | None) -> dict[str, str]:
    """Read a class map file on top of the known names.

    Parameters
    ----------
    path : str, Path or None
        YAML with lines `foreign name: CODE`, or `foreign name: none` (or `-`) for what is no leukocyte; None gives the
        known names alone.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        When the file is absent, no YAML, or names a code that is none of the fifteen.
    """
    own = (read_yaml(path) or {}) if path else {}
    if not isinstance(own, dict) or not all(isinstance(code, str) for code in own.values()):
        raise ValueError(f"{path} must hold lines of the form `foreign name: CODE`.")
    own = {name: LEAVE_OUT if code.lower() == "none" else code for name, code in own.items()}
    wrong = sorted(code for code in own.values() if code not in KNOWN_CODES and code != LEAVE_OUT)
    if wrong:
        raise ValueError(
            f"{path} names codes that do not exist: {', '.join(wrong)}. Use one of {', '.join(KNOWN_CODES)} or none."
        )
    return KNOWN_NAMES | own


def translate(name: str, names: dict[str, str]) -> str | None:
    """Turn a foreign class name into a code, LEAVE_OUT, or None for an unknown one."""
    return names.get(name, name if name in KNOWN_CODES else None)


def read_yolo(
    root: str | Path, source: str, names: dict[str, str], um_per_px: float | None, *, data_yaml: Any | None = None
) -> tuple[list[View], list[Problem]]:
    """Read a YOLO folder: the pictures that `data.yaml` names, or all below folders `images`, with their labels.

    Labels are in `labels` where pictures are in `images`, else beside them. Where there is an `images.csv` (file,
    patient, um_per_px), as the product's export of signed corrections has one, patients and scales come from it.

    Parameters
    ----------
    root : Path
        Folder with `data.yaml`: `names` (list or number to name), `path`, and `train`, `val`, `test` (folder, list of
        them, or text file of pictures).
    source : str
        Name of the source.
    names : dict
        Class map.
    um_per_px : float or None
        Scale of all views.
    data_yaml : Path or None
        `data.yaml` of a folder that has none of its own.

    Returns
    -------
    views : list of View
        `split` is "train", "val", "test", or empty where `data.yaml` and folders name none or several.
    problems : list of Problem

    Raises
    ------
    ValueError
        When `data.yaml` is absent, no YAML, or has no `names`.
    """
    root, views = Path(root), []
    problems: list[Problem] = []
    card = read_yaml(data_yaml or root / "data.yaml")
    codes = codes_by_number(root, card, names, problems)
    pictures = named_pictures(root, card, problems)
    table = root / "images.csv"
    known = {row["file"]: row for _, row in read_rows(table, "file")} if table.is_file() else {}
    owners: dict[Path, Path] = {}
    for path, split in pictures.items():
        label = label_path(path, root)
        if label in owners:
            what = f"shares its label file with {owners[label].name}"
            problems.append(Problem("bad-label", shown(path, root), what))
            continue
        owners[label] = path
        labelled = []
        if label.is_file():
            labelled = read_labels(label, picture_size(path) or (1, 1), codes, shown(label, root), problems)
        facts = known.get(path.name, {})
        try:
            scale = number(facts.get("um_per_px") or "0") or um_per_px
        except ValueError:
            problems.append(Problem("bad-label", "images.csv", f"the scale of {path.name} cannot be read"))
            scale = um_per_px
        patient = (facts.get("patient") or "").strip()
        view = make_view(path, source, labelled, problems, patient=patient, um_per_px=scale, root=root)
        if view:
            views.append(replace(view, split=split))
    if pictures and not any(label.is_file() for label in owners):
        problems.append(Problem("no-labels", "labels", f"none of {len(pictures)} pictures has a label file"))
    problems += [
        Problem("missing-picture", shown(label, root), "has no picture") for label in labels_without_picture(root)
    ]
    return views, problems


def codes_by_number(root: Path, card: Any, names: dict[str, str], problems: list[Problem]) -> dict[int, str | None]:
    """Return the code of each class number, noting unknown names."""
    listed = card.get("names") if isinstance(card, dict) else None
    if not isinstance(listed, (list, dict)) or not listed:
        raise ValueError(f"{root / 'data.yaml'} must hold `names`: a list of names, or lines `number: name`.")
    try:
        listed = {int(key): name for key, name in (listed.items() if isinstance(listed, dict) else enumerate(listed))}
    except ValueError as error:
        raise ValueError(f"{root / 'data.yaml'}: `names` must be numbered with whole numbers.") from error
    codes = {key: translate(str(name), names) for key, name in listed.items()}
    problems += [
        Problem("unknown-name", "data.yaml", f"class {listed[key]}") for key, code in codes.items() if code is None
    ]
    return codes


def named_pictures(root: Path, card: Any, problems: list[Problem]) -> dict[Path, str]:
    """Return picture -> split of all pictures of a YOLO folder, sorted by path."""
    base = root / card.get("path", "")
    splits: dict[Path, set[str]] = defaultdict(set)
    for key, split in SPLITS.items():
        entries = card.get(key) or ()
        for entry in [entries] if isinstance(entries, str) else entries:
            if entry in ("null", "~"):
                continue
            inside = re.sub(r"^(\.\./)+", "", entry)  # Roboflow writes ../train/images for root/train/images
            place = first_there(base / inside, root / inside, base / entry)
            if place is None:
                problems.append(Problem("missing-picture", "data.yaml", f"{key}: {entry} is absent"))
            elif place.is_dir():
                for path in pictures_in(place):
                    splits[path].add(split)
            else:
                for line in place.read_text("utf-8-sig").split("\n"):
                    if line := line.strip():
                        path = first_there(place.parent / line, base / line, root / line) or place.parent / line
                        splits[path].add(split)
    if not splits:
        splits = {path: set() for path in pictures_in(root) if "images" in path.relative_to(root).parts[:-1]}
    return {path: one_split(own, path, root) for path, own in sorted(splits.items())}


def first_there(*paths: Path) -> Path | None:
    """Return the first of the paths that exists, without its `..`, or None."""
    return next((Path(os.path.normpath(path)) for path in paths if path.exists()), None)


def one_split(own: Collection[str], path: Path, root: Path) -> str:
    """Return the only split that `data.yaml` gives a picture, else that of its folder, else nothing."""
    if len(own) == 1:
        return next(iter(own))
    folders = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
    return next((SPLITS[folder] for folder in folders if folder in SPLITS), "")


def label_path(path: Path, root: Path, *, given: str = "images", wanted: str = "labels", ending: str = ".txt") -> Path:
    """Return where the label file of a picture is: in `labels` for `images`, else beside the picture."""
    top = root if path.is_relative_to(root) else Path(path.anchor)
    parts = list(path.relative_to(top).parts)
    at = [k for k, part in enumerate(parts[:-1]) if part == given]
    if at:
        parts[at[-1]] = wanted
    return top.joinpath(*parts).with_suffix(ending)


def labels_without_picture(root: Path) -> list[Path]:
    """Return the label files below folders `labels` that have no picture in `images`."""
    stems = {path.with_suffix("") for path in pictures_in(root)}
    return [
        path
        for path in sorted(root.rglob("*.txt"))
        if "labels" in path.relative_to(root).parts[:-1]
        and path.name != "classes.txt"  # labelling tools leave their list of names there
        and label_path(path, root, given="labels", wanted="images", ending="") not in stems
    ]


def read_labels(
    path: Path, size: tuple[int, int], codes: dict[int, str | None], where: str, problems: list[Problem]
) -> list[tuple]:
    """Read the lines of a label file as (code, box in px) pairs, noting those that cannot be read."""
    width, height = size
    labelled = []
    for count, line in enumerate(path.read_text("utf-8-sig", errors="replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            index, *at = (number(part) for part in line.split())
            cx, cy, w, h = box_of(at)
            if index % 1:
                raise ValueError("A class number is whole.")
        except ValueError:
            problems.append(Problem("bad-label", f"{where}:{count}", f"cannot be read: {line.strip()[:40]}"))
            continue
        if index not in codes:
            problems.append(Problem("unknown-name", f"{where}:{count}", f"class number {int(index)}"))
            continue
        code = codes[int(index)]
        if code not in (None, LEAVE_OUT):
            box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
            labelled.append((code, box))
    return labelled


def box_of(at: Sequence[float]) -> Sequence[float]:
    """Return centre and size of what follows the class number: a box (perhaps with a score) or a polygon's corners."""
    if len(at) in (4, 5):
        return at[:4]
    if len(at) < 6 or len(at) % 2:
        raise ValueError("That is neither a box nor a polygon.")
    (x0, x1), (y0, y1) = ((min(own), max(own)) for own in (at[::2], at[1::2]))
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def read_crops(
    root: str | Path, source: str, names: dict[str, str], um_per_px: float | None, *, min_box_score: float = 0.0
) -> tuple[list[View], list[Problem]]:
    """Read labelled crops: `cells.csv` with file, patient, code (or source_label), x0 y0 x1 y1, a cell a row.

    Rows whose `box_score` is below `min_box_score` are left out; a picture's only row may lack its box, which then is
    the whole picture until `derive_boxes.derive_boxes` finds a better one. Parameters and returns as in
    `read_yolo`.
    """
    root, problems = Path(root), []
    by_file: dict[str, list[tuple[str, tuple[float, ...] | None, str]]] = {}
    for line, row in read_rows(root / "cells.csv", "file"):
        label = row.get("code") or row.get("source_label") or ""
        code = translate(label, names)
        if code is None:
            problems.append(Problem("unknown-name", row["file"], f"label {label}"))
            continue
        corners = [row.get(column) or "" for column in BOX_COLUMNS]
        try:
            box = tuple(number(corner) for corner in corners) if any(corners) else None
            sure = number(row.get("box_score") or "1") >= min_box_score
        except ValueError:
            problems.append(Problem("bad-label", f"cells.csv:{line}", f"the box of {row['file']} cannot be read"))
            continue
        if code != LEAVE_OUT and sure:
            by_file.setdefault(row["file"], []).append((code, box, (row.get("patient") or "").strip()))
    views = []
    for file, cells in sorted(by_file.items()):
        labelled = [(code, box) for code, box, _ in cells]
        if len(cells) > 1 and any(box is None for _, box in labelled):
            problems.append(Problem("no-box", file, "holds several cells, of which one or more has no box"))
            continue
        view = make_view(root / file, source, labelled, problems, patient=cells[0][2], um_per_px=um_per_px, root=root)
        if view:
            views.append(view)
    return views, problems


def read_code_folders(
    root: str | Path, source: str, names: dict[str, str], um_per_px: float | None
) -> tuple[list[View], list[Problem]]:
    """Read the TCIA layout `CODE/CODE_NNNN.tiff`: one central cell a picture, no box.

    Each view carries its cell with the whole picture as box until `derive_boxes.derive_boxes` finds a better one.
    Parameters and returns as in `read_yolo`.
    """
    root, problems, views = Path(root), [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        code = translate(folder.name, names)
        if code is None:
            problems.append(Problem("unknown-name", folder.name, "folder name"))
        if code in (None, LEAVE_OUT):
            continue
        for path in pictures_in(folder):
            view = make_view(path, source, [(code, None)], problems, um_per_px=um_per_px, root=root)
            if view:
                views.append(view)
    return views, problems


def read_voc(
    root: str | Path, source: str, names: dict[str, str], um_per_px: float | None
) -> tuple[list[View], list[Problem]]:
    """Read Pascal VOC (`Annotations/*.xml`, `JPEGImages/`).

    The picture is the one that `<filename>` names, else that of the same stem. Parameters and returns as in
    `read_yolo`.
    """
    root, problems, views = Path(root), [], []
    folder = root / "JPEGImages"
    by_name = {path.name: path for path in pictures_in(folder)}
    by_stem = {path.stem: path for path in by_name.values()}
    for path in sorted((root / "Annotations").glob("*.xml")):
        where, labelled = f"Annotations/{path.name}", []
        try:
            tree = ElementTree.parse(path).getroot()  # noqa: S314
        except ElementTree.ParseError as error:
            problems.append(Problem("bad-label", f"{where}:{error.position[0]}", "is no valid XML; left out"))
            continue
        for count, thing in enumerate(tree.iter("object"), 1):
            name = thing.findtext("name", "").strip()
            code = translate(name, names)
            if code is None:
                problems.append(Problem("unknown-name", where, f"object {name}"))
            if code in (None, LEAVE_OUT):
                continue
            try:
                corners = (thing.findtext(f"bndbox/{key}", "") for key in ("xmin", "ymin", "xmax", "ymax"))
                labelled.append((code, tuple(number(corner) for corner in corners)))
            except ValueError:
                problems.append(Problem("bad-label", where, f"object {count} ({name}) has no box that can be read"))
        named = by_name.get(PureWindowsPath(tree.findtext("filename", "").strip()).name)
        picture = named or by_stem.get(path.stem, folder / f"{path.stem}.jpg")
        view = make_view(picture, source, labelled, problems, um_per_px=um_per_px, root=root)
        if view:
            views.append(view)
    return views, problems


READERS = {"yolo": read_yolo, "crops": read_crops, "folders": read_code_folders, "voc": read_voc}
