"""Make one data set of several sources: check it, split it (9:1 or by patient), print its balance, write its manifest.

It knows what must stop a run and how views are divided; it never looks at what a network makes of them.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm

from detection.cell_types import CELL_TYPES, CODES
from detection.datasets import with_hash, write_dataset
from detection.datasets_readers import READERS, Problem, read_class_map

# Table 1 of the seed article counts the public LMU collection; these are its cells per type (Matek et al. 2019).
LMU_CELLS = {
    "BAS": 79, "EBO": 78, "EOS": 424, "KSC": 15, "LYA": 11, "LYT": 3937, "MMZ": 15, "MOB": 26, "MON": 1789,
    "MYB": 42, "MYO": 3268, "NGB": 109, "NGS": 8484, "PMB": 18, "PMO": 70,
}  # fmt: skip


class DatasetRefused(Exception):
    """The data has problems that nobody allowed; the message counts them by kind and names the first of each."""


def prepare(sources_file, out, *, seed=0, val_share=0.1, allow=(), boxes=None):
    """Read every source, check, split, and write `dataset.json`, `problems.txt`, `balance.txt` and `balance.png`.

    Parameters
    ----------
    sources_file : Path
        YAML list of sources: `name`, `layout` (yolo, crops, folders, voc), `root`, and where they apply `um_per_px`,
        `class_map`, `licence`, `min_box_score`, `val_patients` (list), `keep_split` (true takes the source's own).
    out : Path
        Folder to write.
    seed : int
        Start of chance for the split.
    val_share : float
        Share of views (or patients) for validation.
    allow : sequence of str
        Kinds of problem that may stay: unknown-name, missing-picture, box-outside, duplicate, duplicate-across-splits.
        Unknown names are left out, missing pictures too, boxes are clipped, duplicates dropped (the training one of a
        pair across splits).
    boxes : callable(view) -> view or None
        Gives boxes to views of the `folders` layout (`datasets_boxes.derive_boxes`).

    Returns
    -------
    Path
        `dataset.json`.

    Raises
    ------
    DatasetRefused
        When a problem is met whose kind is not allowed. The report is written all the same.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    views, problems, listed = [], [], []
    for source in yaml.safe_load(Path(sources_file).read_text()):
        root = (Path(sources_file).parent / source["root"]).resolve()
        names = read_class_map(Path(sources_file).parent / source["class_map"] if source.get("class_map") else None)
        extra = {"min_box_score": source["min_box_score"]} if "min_box_score" in source else {}
        own, met = READERS[source["layout"]](root, source["name"], names, source.get("um_per_px"), **extra)
        problems += [Problem(p.kind, f"{source['name']}: {p.where}", p.what) for p in met]
        if boxes and source["layout"] == "folders":
            own = [boxes(view) for view in tqdm(own, desc="boxes")]
        own = [with_hash(view) for view in tqdm(own, desc=source["name"], mininterval=5)]
        views += split_views(
            own,
            seed=seed,
            val_share=val_share,
            val_patients=source.get("val_patients"),
            keep=source.get("keep_split", False),
        )
        listed.append({"name": source["name"], "licence": source.get("licence", "unknown"), "views": len(own)})
    views, doubles = drop_doubles(views)
    problems += doubles
    (out / "problems.txt").write_text("".join(f"{p.kind}\t{p.where}\t{p.what}\n" for p in problems) or "none\n")
    refused = defaultdict(list)
    for problem in problems:
        if problem.kind not in allow:
            refused[problem.kind].append(problem)
    if refused:
        lines = [f"{kind}: {len(met)} (first: {met[0].where}, {met[0].what})" for kind, met in refused.items()]
        raise DatasetRefused(
            "The data has problems; mend them or allow them by name with --allow. "
            + "; ".join(lines)
            + f". All are in {out / 'problems.txt'}."
        )
    write_dataset(out / "dataset.json", views, seed=seed, val_share=val_share, sources=listed, allowed=sorted(allow))
    (out / "balance.txt").write_text(balance_table(views))
    draw_balance(views, out / "balance.png")
    return out / "dataset.json"


def split_views(views, *, seed, val_share, val_patients=None, keep=False):
    """Divide views into "train" and "val", never one patient on both sides.

    Parameters
    ----------
    views : sequence of View
    seed : int
    val_share : float
        Share of each type's views for validation.
    val_patients : sequence of str or None
        Patients of the validation side, by name; None draws them.
    keep : bool
        True keeps the split that the source came with; views without one are drawn.

    Returns
    -------
    list of View

    Notes
    -----
    Stratified: views without a patient are shuffled within their first cell's type and every tenth goes to validation;
    patients are added, in shuffled order, while they bring the validation side nearer to its share of every type.
    """
    rng = np.random.default_rng(seed)
    if keep and all(view.split for view in views):
        return [replace(view, split="val" if view.split in ("val", "test") else "train") for view in views]
    patients = sorted({view.patient for view in views if view.patient})
    chosen = (
        {str(name) for name in val_patients}
        if val_patients is not None
        else draw_patients(views, patients, val_share, rng)
    )
    by_type = defaultdict(list)
    for number, view in enumerate(views):
        if not view.patient:
            by_type[view.cells[0][0] if view.cells else ""].append(number)
    held = set()
    for _, numbers in sorted(by_type.items()):
        rng.shuffle(numbers)
        held |= set(numbers[: round(len(numbers) * val_share)])
    return [
        replace(view, split="val" if (view.patient in chosen if view.patient else number in held) else "train")
        for number, view in enumerate(views)
    ]


def draw_patients(views, patients, val_share, rng):
    """Draw patients until every type has about its share on the validation side, best fitting first."""
    counts = {name: Counter() for name in patients}
    for view in views:
        if view.patient:
            counts[view.patient].update(code for code, _ in view.cells)
    total = sum(counts.values(), Counter())
    target = np.array([total[code] * val_share for code in CODES])
    scale = 1 / np.sqrt(np.maximum(target, 1))
    held, chosen = np.zeros(len(CODES)), set()
    for name in rng.permutation(patients).tolist():
        own = np.array([counts[name][code] for code in CODES])
        if np.abs((held + own - target) * scale).sum() < np.abs((held - target) * scale).sum():
            held += own
            chosen.add(name)
    return chosen


def drop_doubles(views):
    """Keep one view of each content: the validation one where both sides have it. Returns (views, problems)."""
    kept, problems = {}, []
    for view in sorted(views, key=lambda view: view.split != "val"):
        first = kept.setdefault(view.sha256, view)
        if first is not view:
            kind = "duplicate" if first.split == view.split else "duplicate-across-splits"
            problems.append(
                Problem(
                    kind,
                    f"{view.source}: {Path(view.path).name}",
                    f"same content as {first.source}: {Path(first.path).name}",
                )
            )
    return list(kept.values()), problems


def balance_table(views):
    """Print cells per type and split beside the public LMU collection's, as text."""
    counts = {
        split: Counter(code for view in views if view.split == split for code, _ in view.cells)
        for split in ("train", "val")
    }
    patients = {
        split: len({view.patient for view in views if view.split == split and view.patient}) for split in counts
    }
    lines = [f"{'type':<6}{'name':<26}{'train':>8}{'val':>8}{'LMU':>8}"]
    for cell_type in CELL_TYPES:
        code = cell_type.code
        lines.append(
            f"{code:<6}{cell_type.name:<26}{counts['train'][code]:>8}{counts['val'][code]:>8}{LMU_CELLS[code]:>8}"
        )
    lines.append(f"{'cells':<32}{counts['train'].total():>8}{counts['val'].total():>8}{sum(LMU_CELLS.values()):>8}")
    views_of = Counter(view.split for view in views)
    lines.append(f"{'views':<32}{views_of['train']:>8}{views_of['val']:>8}")
    lines.append(f"{'known patients':<32}{patients['train']:>8}{patients['val']:>8}")
    return "\n".join(lines) + "\n"


def draw_balance(views, path):
    """Draw cells per type and split as bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for shift, split, colour in ((-0.2, "train", "#2563eb"), (0.2, "val", "#d97706")):
        counts = Counter(code for view in views if view.split == split for code, _ in view.cells)
        bars = axes.bar(
            np.arange(len(CODES)) + shift, [max(counts[code], 0.5) for code in CODES], 0.4, label=split, color=colour
        )
        axes.bar_label(bars, [counts[code] for code in CODES], fontsize=6)
    axes.set(yscale="log", ylabel="cells", xticks=range(len(CODES)), xticklabels=CODES)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.savefig(path, dpi=120)
