"""Make one data set of several sources: check it, split it (9:1 or by patient), print its balance, write its manifest.

It decides what must stop a run; what a network makes of the views is left to `evaluate`.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from detection.cell_types import classes_of, label_of
from detection.inference.scale import um_per_px_from_red_cells
from detection.lab.data.datasets import View, read_pixels, with_hash, write_dataset
from detection.lab.data.derive_boxes import derive_boxes
from detection.lab.data.files import KINDS, Problem, number, read_yaml
from detection.lab.data.readers import READERS, read_class_map
from detection.lab.data.split import drop_doubles, part_patients, split_views

# Table 1 of Zhou Bin 2023 counts the public LMU collection; these are its cells per type (Matek et al. 2019).
LMU_CELLS = {
    "BAS": 79, "EBO": 78, "EOS": 424, "KSC": 15, "LYA": 11, "LYT": 3937, "MMZ": 15, "MOB": 26, "MON": 1789,
    "MYB": 42, "MYO": 3268, "NGB": 109, "NGS": 8484, "PMB": 18, "PMO": 70,
}  # fmt: skip


MOST_MEASURED = 60  # pictures of a source whose red cells are measured
KEYS = {
    "name", "layout", "root", "um_per_px", "class_map", "licence", "min_box_score", "val_patients", "keep_split",
    "patients", "guessed", "data_yaml",
}  # fmt: skip
YES, NO = {"true", "yes", "on"}, {"false", "no", "off"}


class DatasetRefused(ValueError):
    """The data has problems that nobody allowed; the message counts them by kind and names the first of each."""


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `prepare`."""
    parser.add_argument(
        "sources",
        type=Path,
        help="YAML list of sources: name, layout (yolo, crops, folders, voc), root, um_per_px, class_map, ...; "
        "a source whose types a detector guessed (tiles of `pseudo`) says `guessed: true`",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for dataset.json and its reports")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split (default 0)")
    parser.add_argument(
        "--val-share", type=float, default=0.1, help="share for validation (default 0.1, the seed's 9:1)"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="KIND",
        help="let this kind of problem pass: unknown-name, missing-picture, unreadable-picture, bad-label, no-labels, "
        "no-box, no-scale, box-outside, duplicate, duplicate-across-splits, conflicting-labels, patient-across-splits",
    )
    parser.add_argument(
        "--boxes", choices=("stain", "detector"), default="stain", help="where boxes come from that a source lacks"
    )
    parser.add_argument("--weights", type=Path, help="detector for --boxes detector")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int | None:
    """Run `prepare`."""
    boxes: Callable[..., View] = derive_boxes
    if options.boxes == "detector":
        if not options.weights:
            raise ValueError("--boxes detector needs --weights FILE.")
        from detection.lab.checkpoints import detector_of
        from detection.lab.measuring.evaluation import find_on_views

        detector = detector_of(options.weights)

        def detected_boxes(view: View, image: np.ndarray) -> View:
            return derive_boxes(view, find_on_views(detector, [view])[0][0], image)

        boxes = detected_boxes

    path = prepare(
        options.sources, options.out, seed=options.seed, val_share=options.val_share, allow=options.allow, boxes=boxes
    )
    print((options.out / "balance.txt").read_text())
    print(f"{path}: manifest {json.loads(path.read_text())['manifest_sha256']}")
    return 0


def prepare(
    sources_file: Path,
    out: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.1,
    allow: Sequence[str] = (),
    boxes: Callable[..., View] | None = None,
) -> Path:
    """Read every source, check, split, and write `dataset.json`, `problems.txt`, `balance.txt` and `balance.png`.

    Parameters
    ----------
    sources_file : Path
        YAML list of sources: `name`, `layout` (yolo, crops, folders, voc), `root`, and where they apply `um_per_px`,
        `class_map`, `licence`, `min_box_score`, `val_patients` (list), `keep_split` (true takes the source's own),
        `guessed` (true where a detector guessed the types: no evidence),
        `patients: shared` (one name is one person in all sources that say so; else patients are the source's own),
        `data_yaml` (of a YOLO folder that has none of its own).
    out : Path
        Folder to write.
    seed : int
        Random seed of the split.
    val_share : float
        Share of views (or patients) for validation.
    allow : sequence of str
        Kinds of problem (`files.KINDS`) that may stay. What is unknown, absent, unreadable or without a box is
        left out, boxes are clipped; of pictures and patients on both sides the training side is dropped.
    boxes : callable(view, image=pixels) -> view or None
        Gives boxes to views that have none (`derive_boxes.derive_boxes`); without it they keep the whole picture.

    Returns
    -------
    Path
        `dataset.json`.

    Raises
    ------
    ValueError
        When the sources file, a folder or a class map is not as it must be; the sentence says where.
    DatasetRefused
        When a problem is met whose kind is not allowed, or a source gives no view. `problems.txt` is written all the
        same. An earlier `dataset.json` is removed by either error.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        if strangers := sorted(set(allow) - set(KINDS)):
            raise ValueError(f"There is no kind of problem {', '.join(strangers)}; there are {', '.join(KINDS)}.")
        sources = read_sources(Path(sources_file))
        views, problems = gather(sources, boxes, seed=seed, val_share=val_share)
        (out / "problems.txt").write_text("".join(f"{p.kind}\t{p.where}\t{p.what}\n" for p in problems) or "none\n")
        refuse(problems, allow, out / "problems.txt")
        listed = [
            {
                "name": source["name"],
                "licence": source.get("licence", "unknown"),
                "views": sum(view.source == source["name"] for view in views),
            }
            for source in sources
        ]
        if empty := [source["name"] for source in listed if not source["views"]]:
            raise DatasetRefused(f"No view came of {', '.join(empty)}: see whether `root` and `layout` are right.")
    except ValueError:
        (out / "dataset.json").unlink(missing_ok=True)
        raise
    if val_share and not any(view.split == "val" for view in views):
        print("No view is on the validation side: nothing can be measured with this data set.", file=sys.stderr)
    write_dataset(out / "dataset.json", views, seed=seed, val_share=val_share, sources=listed, allowed=sorted(allow))
    (out / "balance.txt").write_text(balance_table(views))
    draw_balance(views, out / "balance.png")
    return out / "dataset.json"


def read_sources(path: Path) -> list[dict[str, Any]]:
    """Read the sources file as dicts, with roots and class maps found from its folder and numbers as numbers.

    Raises
    ------
    ValueError
        When it is no list, or a source has an unknown, absent or wrong value.
    """
    sources = read_yaml(path)
    if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
        raise ValueError(f"{path} must be a list of sources, each beginning with `- name: NAME`.")
    sources = [{key: value for key, value in source.items() if value not in ("", "null", "~")} for source in sources]
    sources = [
        checked_source(source, f"Source {source.get('name', n)}", path.parent) for n, source in enumerate(sources, 1)
    ]
    if twice := [name for name, count in Counter(source["name"] for source in sources).items() if count > 1]:
        raise ValueError(f"Two sources have the name {', '.join(twice)}: give each its own.")
    return sources


def checked_source(source: dict[str, Any], title: str, folder: Path) -> dict[str, Any]:
    """Return one source with its paths and numbers; ValueError, beginning with its title, says what is wrong."""
    if strangers := sorted(set(source) - KEYS):
        raise ValueError(f"{title} has unknown keys: {', '.join(strangers)}. There are {', '.join(sorted(KEYS))}.")
    if missing := sorted({"name", "layout", "root"} - set(source)):
        raise ValueError(f"{title} lacks {', '.join(missing)}.")
    if several := [key for key, value in source.items() if key != "val_patients" and not isinstance(value, str)]:
        raise ValueError(f"{title}: {several[0]} must be one value.")
    if not isinstance(source.get("val_patients", []), list):
        raise ValueError(f"{title}: val_patients must be a list, such as [A, B].")
    if source["layout"] not in READERS:
        raise ValueError(f"{title} has the unknown layout {source['layout']}; there are {', '.join(READERS)}.")
    if "min_box_score" in source and source["layout"] != "crops":
        raise ValueError(f"{title}: min_box_score is for the layout crops only.")
    if "data_yaml" in source and source["layout"] != "yolo":
        raise ValueError(f"{title}: data_yaml is for the layout yolo only.")
    if source.get("patients", "own") not in ("own", "shared"):
        raise ValueError(f"{title}: patients is own or shared.")
    for key in ("keep_split", "guessed"):
        said = source.get(key, "false").lower()
        if said not in YES | NO:
            raise ValueError(f"{title}: {key} is true or false.")
        source |= {key: said in YES}
    for key in {"um_per_px", "min_box_score"} & set(source):
        try:
            source[key] = number(source[key])
        except ValueError as error:
            raise ValueError(f"{title}: {key} must be a number.") from error
    if source.get("um_per_px", 1) <= 0:
        raise ValueError(f"{title}: um_per_px must be above 0.")
    root = (folder / source["root"]).resolve()
    if not root.is_dir():
        raise ValueError(f"{title}: there is no folder {root}.")
    class_map = folder / source["class_map"] if "class_map" in source else None
    data_yaml = {"data_yaml": folder / source["data_yaml"]} if "data_yaml" in source else {}
    return source | {"root": root, "class_map": class_map} | data_yaml


def gather(
    sources: Sequence[dict[str, Any]], boxes: Callable[..., View] | None, *, seed: int, val_share: float
) -> tuple[list[View], list[Problem]]:
    """Read and split all sources, then part patients and pictures on both sides. Returns (views, problems)."""
    views: list[View] = []
    problems: list[Problem] = []
    contents: dict[str, str] = {}
    decided: dict[str, str] = {}
    for source in sources:
        name = source["name"]
        own, met = read_source(source, boxes, contents)
        problems += [Problem(p.kind, f"{name}: {p.where}", p.what) for p in met]
        shared = source.get("patients") == "shared"
        keep = source["keep_split"]
        try:
            split = split_views(
                own,
                seed=seed,
                val_share=val_share,
                val_patients=source.get("val_patients"),
                keep=keep,
                decided=decided if shared else None,
            )
        except ValueError as error:
            raise ValueError(f"Source {name}: {error}") from error
        if shared:
            decided |= {view.patient: view.split for view in split if view.patient}
        is_drawn = not keep or not all(view.split for view in own)
        if own and val_share and is_drawn and not any(view.split == "val" for view in split):
            patients = len({view.patient for view in own if view.patient})
            print(f"{name}: none of {len(own)} views ({patients} patients) is on the validation side.", file=sys.stderr)
        views += split
    views, parted = part_patients(views, [source["name"] for source in sources if source.get("patients") == "shared"])
    views, doubles = drop_doubles(views, contents)
    return views, problems + parted + doubles


def read_source(
    source: dict[str, Any], boxes: Callable[..., View] | None, contents: dict[str, str]
) -> tuple[list[View], list[Problem]]:
    """Read the views of one source, each picture once, and note the hash of its pixels in `contents` by path.

    Returns
    -------
    views : list of View
        With hashes, and with boxes where `boxes` finds them.
    problems : list of Problem
    """
    names = read_class_map(source["class_map"])
    extra = {key: source[key] for key in ("min_box_score", "data_yaml") if key in source}
    read, problems = READERS[source["layout"]](source["root"], source["name"], names, source.get("um_per_px"), **extra)
    read, unmeasured = with_scales(read, source["name"])
    problems += unmeasured
    views = []
    for view in tqdm(read, desc=source["name"], mininterval=5):
        where = Path(view.path).name
        try:
            image = read_pixels(view.path)
        except OSError:
            problems.append(Problem("unreadable-picture", where, "is damaged or incomplete"))
            continue
        if view.boxless and boxes:
            view = boxes(view, image=image)
            if view.boxless:
                problems.append(Problem("no-box", where, "has no box, and none could be derived"))
                continue
        contents[view.path] = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        views.append(with_hash(replace(view, guessed=source["guessed"])))
    return views, problems


def with_scales(views: Sequence[View], source: str) -> tuple[list[View], list[Problem]]:
    """Give views without a scale that of the red cells of their source, whose pictures come from one microscope.

    Returns
    -------
    views : list of View
        Without those whose scale cannot be had.
    problems : list of Problem
    """
    unknown = [view for view in views if view.um_per_px is None]
    measured = []
    for view in unknown[:: max(1, len(unknown) // MOST_MEASURED)]:
        try:
            um_per_px = um_per_px_from_red_cells(read_pixels(view.path))
        except OSError:  # told with the other pictures that cannot be read
            continue
        measured += [um_per_px] if um_per_px else []
    if not unknown:
        return list(views), []
    if not measured:
        what = f"{len(unknown)} pictures have no um_per_px, and too few red cells are seen on them to measure it"
        return [view for view in views if view.um_per_px is not None], [Problem("no-scale", source, what)]
    scale = round(float(np.median(measured)), 4)
    print(f"{source}: {len(unknown)} pictures have no um_per_px; their red cells measure {scale:g}.", file=sys.stderr)
    return [view if view.um_per_px else replace(view, um_per_px=scale) for view in views], []


def refuse(problems: Sequence[Problem], allow: Sequence[str], report: Path) -> None:
    """Raise DatasetRefused for problems whose kind is not allowed."""
    refused = defaultdict(list)
    for problem in problems:
        if problem.kind not in allow:
            refused[problem.kind].append(problem)
    if refused:
        lines = [f"{kind}: {len(met)} (first: {met[0].where}, {met[0].what})" for kind, met in refused.items()]
        raise DatasetRefused(
            "The data has problems; mend them or allow them by name with --allow. "
            + "; ".join(lines)
            + f". All are in {report}."
        )


def balance_table(views: Sequence[View]) -> str:
    """Print cells per type and split beside the public LMU collection's, as text."""
    counts = {
        split: Counter(code for view in views if view.split == split for code, _ in view.cells)
        for split in ("train", "val")
    }
    patients = {
        split: len({view.patient for view in views if view.split == split and view.patient}) for split in counts
    }
    lines = [f"{'type':<6}{'name':<26}{'train':>8}{'val':>8}{'LMU':>8}"]
    for code in classes_of(code for count in counts.values() for code in count):
        name, lmu = label_of(code).lower(), LMU_CELLS.get(code, 0)
        lines.append(f"{code:<6}{name:<26}{counts['train'][code]:>8}{counts['val'][code]:>8}{lmu:>8}")
    lines.append(f"{'cells':<32}{counts['train'].total():>8}{counts['val'].total():>8}{sum(LMU_CELLS.values()):>8}")
    views_of = Counter(view.split for view in views)
    lines.append(f"{'views':<32}{views_of['train']:>8}{views_of['val']:>8}")
    lines.append(f"{'known patients':<32}{patients['train']:>8}{patients['val']:>8}")
    return "\n".join(lines) + "\n"


def draw_balance(views: Sequence[View], path: Path) -> None:
    """Draw cells per type and split as bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    codes = classes_of(code for view in views for code, _ in view.cells)
    for shift, split, colour in ((-0.2, "train", "#2563eb"), (0.2, "val", "#d97706")):
        counts = Counter(code for view in views if view.split == split for code, _ in view.cells)
        bars = axes.bar(
            np.arange(len(codes)) + shift, [max(counts[code], 0.5) for code in codes], 0.4, label=split, color=colour
        )
        axes.bar_label(bars, [counts[code] for code in codes], fontsize=6)
    axes.set(yscale="log", ylabel="cells", xticks=range(len(codes)), xticklabels=codes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.savefig(path, dpi=120)
