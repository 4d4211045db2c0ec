"""Files of foreign data sets: YAML, tables and pictures become text, rows and views; what is wrong is a Problem.

Layouts and class names are left to `readers`.
"""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detection.lab.data.datasets import PICTURES, View, picture_size

# What `--allow` may name. Allowed, the thing itself is left out: the name, line, box or view; a box outside is clipped.
KINDS = (
    "unknown-name", "missing-picture", "unreadable-picture", "bad-label", "no-labels", "no-box", "box-outside",
    "no-scale", "duplicate", "duplicate-across-splits", "conflicting-labels", "patient-across-splits",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a data set: `kind` is what `--allow` names, `where` the file, `what` a sentence."""

    kind: str
    where: str
    what: str


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file with every value as text, so that `No` and `06` stay what they are.

    Raises
    ------
    ValueError
        When the file is absent or no YAML.
    """
    try:
        text = re.sub(r":[ \t]+-[ \t]*$", ": '-'", Path(path).read_text("utf-8-sig"), flags=re.MULTILINE)
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506 (builds text, lists and dicts only)
    except OSError as error:
        raise ValueError(f"{path} is absent or cannot be read.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path} is no valid YAML{at}: write lines of the form `name: value`.") from error


def read_rows(path: str | Path, column: str) -> list[tuple[int, dict[str, str]]]:
    """Read a table (CSV with commas or semicolons) that must have this column as (line number, row) pairs.

    Raises
    ------
    ValueError
        When the file is absent or lacks the column.
    """
    try:
        text = Path(path).read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise ValueError(f"{path} is absent or cannot be read.") from error
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    if column not in (rows.fieldnames or ()):
        raise ValueError(f"{path} has no column `{column}` in its first line.")
    return [(rows.line_num, row) for row in rows if row[column]]


def number(text: str) -> float:
    """Read a finite number, with a decimal point or comma; ValueError for anything else."""
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number.")
    return value


def shown(path: Path, root: Path) -> str:
    """Return a path as a report shows it: below the root where it is there."""
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())


def make_view(
    path: Path,
    source: str,
    labelled: Sequence[tuple],
    problems: list[Problem],
    *,
    patient: str = "",
    um_per_px: float | None = None,
    root: Path | None = None,
) -> View | None:
    """Build one view from (code, box) pairs, noting what is wrong; None when there is no picture.

    A box None stands for the whole picture, until `derive_boxes.derive_boxes` finds a better one.
    """
    path = Path(path)
    where = shown(path, root) if root else path.name
    size = picture_size(path) if path.is_file() else None
    if size is None:
        problems.append(Problem("missing-picture", where, "is absent or cannot be read"))
        return None
    cells = []
    for code, box in labelled:
        x0, y0, x1, y1 = box or (0.0, 0.0, float(size[0]), float(size[1]))
        if x1 - x0 < 1 or y1 - y0 < 1 or x0 < -2 or y0 < -2 or x1 > size[0] + 2 or y1 > size[1] + 2:
            problems.append(
                Problem("box-outside", where, f"{code} box {tuple(round(v) for v in box)} is empty or outside {size}")
            )
        box = (max(0.0, x0), max(0.0, y0), min(float(size[0]), x1), min(float(size[1]), y1))
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            cells.append((code, box))
    boxless = any(box is None for _, box in labelled)
    return View(str(path), source, size[0], size[1], tuple(cells), patient, um_per_px, boxless=boxless)
