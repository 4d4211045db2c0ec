"""Commands of the detection bench: prepare, boxes, train, average, evaluate, compare, leave-out, calibrate, release.

It knows arguments and prints; the work lies in the modules of the same names, imported only when their command runs.
"""

import hashlib
import json
import sys
from pathlib import Path

from detection.cell_types import CODES

SCALES = ("n", "s", "m", "full")


def add_commands(commands):
    """Add the bench's commands to `python -m detection`; each parser carries its function as `run`."""
    p = commands.add_parser("prepare", help="make one checked, split and hashed data set of several sources")
    p.add_argument(
        "sources",
        type=Path,
        help="YAML list of sources: name, layout (yolo, crops, folders, voc), root, um_per_px, class_map, ...; "
        "tiles of `pseudo` are the source named `fields`",
    )
    p.add_argument("--out", type=Path, required=True, help="folder for dataset.json and its reports")
    p.add_argument("--seed", type=int, default=0, help="start of chance of the split (default 0)")
    p.add_argument("--val-share", type=float, default=0.1, help="share for validation (default 0.1, the seed's 9:1)")
    p.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="KIND",
        help="let this kind of problem pass: unknown-name, missing-picture, unreadable-picture, bad-label, no-labels, "
        "no-box, box-outside, duplicate, duplicate-across-splits, conflicting-labels, patient-across-splits",
    )
    p.add_argument(
        "--boxes", choices=("stain", "detector"), default="stain", help="where boxes come from that a source lacks"
    )
    p.add_argument("--weights", type=Path, help="detector for --boxes detector")
    p.set_defaults(run=run_prepare)

    p = commands.add_parser("boxes", help="compare derived boxes (stain, detector) with drawn ones")
    p.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    p.add_argument("--split", default="val", help="train or val (default val)")
    p.add_argument("--weights", type=Path, help="compare this detector's boxes too")
    p.set_defaults(run=run_boxes)

    p = commands.add_parser(
        "train",
        help="train a detector, or go on with a run that was stopped",
        description="Train a detector, or go on with a run that was stopped. What mosaic is elsewhere is here a canvas "
        "on which several cut-out cells are pasted among those of a view: the share `composed` of all canvases, and "
        "none in the last `close_composed` of a run. Views of the source named `fields` (tiles of `pseudo`, types "
        "guessed) are drawn for the share `fields`, those without cells for the share `empty`; they teach crowding "
        "and background, and never count as evidence.",
    )
    p.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    p.add_argument(
        "--out", type=Path, required=True, help="folder of the run; run again with the same folder to resume"
    )
    p.add_argument(
        "--architecture",
        default="yolov5n.yaml",
        help="yolov5n.yaml, yolov5s.yaml, yolov5m.yaml, or a file of detection/architectures",
    )
    p.add_argument(
        "--scale", default="n", choices=SCALES, help="width and depth of a file of detection/architectures (default n)"
    )
    p.add_argument("--start", type=Path, help="checkpoint to start from")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the recipe, e.g. epochs=20 lr0=0.002 hours=1.5 seed=3",
    )
    add_machine(p)
    p.set_defaults(run=run_train)

    p = commands.add_parser(
        "average", help="average the weights of two checkpoints, the second trained on from the first"
    )
    p.add_argument("first", type=Path, help="checkpoint that training started from")
    p.add_argument("second", type=Path, help="checkpoint that it came to")
    p.add_argument("--share", type=float, default=0.5, help="share of the second, 0 to 1")
    p.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    p.set_defaults(run=run_average)

    p = commands.add_parser(
        "evaluate", help="measure a detector: AP with intervals, precision, recall, confusion, reliability, speed"
    )
    p.add_argument("weights", type=Path, help="checkpoint to measure")
    p.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    p.add_argument("--out", type=Path, required=True, help="folder for evaluation.html and evaluation.json")
    p.add_argument("--split", default="val", help="train or val (default val)")
    p.add_argument("--source", help="only views of this source")
    p.add_argument("--card", type=Path, help="take thresholds, temperature and scale of this card")
    p.add_argument("--fields", action="store_true", help="add the error of each percentage, by sample")
    p.add_argument("--batch", type=int, default=16, help="views a pass (default 16)")
    p.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: no interval)")
    p.add_argument("--most-threshold", type=float, default=1.0, help="no chosen threshold lies above")
    p.set_defaults(run=run_evaluate)

    p = commands.add_parser(
        "compare", help="train and measure the five YOLO generations on one split (the seed's Table 2)"
    )
    p.add_argument("dataset", type=Path, help="dataset.json of `prepare`")
    p.add_argument(
        "--out", type=Path, required=True, help="folder of runs and table; run again with the same folder to go on"
    )
    p.add_argument(
        "--architectures", nargs="+", default=None, help="default: the five generations and the Focus form of the fifth"
    )
    p.add_argument("--scale", default="n", choices=SCALES, help="width and depth of all of them (default n)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe of all of them")
    p.add_argument("--val-source", help="measure on this source's validation views only")
    p.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: no interval)")
    add_machine(p)
    p.set_defaults(run=run_compare)

    p = commands.add_parser("leave-out", help="what is lost on each source that was not trained on")
    p.add_argument("dataset", type=Path, help="dataset.json of `prepare` with two sources or more")
    p.add_argument(
        "--out", type=Path, required=True, help="folder of runs and table; run again with the same folder to go on"
    )
    p.add_argument("--architecture", default="yolov5n.yaml", help="as in `train` (default yolov5n.yaml)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe of all runs")
    p.add_argument("--bootstrap", type=int, default=200, help="draws of the intervals (default 200; 0: no interval)")
    add_machine(p)
    p.set_defaults(run=run_leave_out)

    p = commands.add_parser("calibrate", help="fit a detector to a laboratory's stain from at most 100 labelled cells")
    p.add_argument("weights", type=Path, help="checkpoint to fit, its card beside it")
    p.add_argument("cells", type=Path, help="dataset.json with the laboratory's labelled cells")
    p.add_argument(
        "--reference", type=Path, help="dataset.json with the colours to aim at (default: those of the card)"
    )
    p.add_argument("--out", type=Path, required=True, help="JSON file to write")
    p.add_argument("--split", help="only this split of the laboratory's cells")
    p.set_defaults(run=run_calibrate)

    p = commands.add_parser("release", help="make a detector version: weights and card")
    p.add_argument("weights", type=Path, help="checkpoint, the run.json of its training beside it")
    p.add_argument("dataset", type=Path, help="dataset.json it was trained on")
    p.add_argument("--name", required=True, help="name of the detector and its files")
    p.add_argument("--version", required=True, help="version that the card states")
    p.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    p.add_argument(
        "--evaluation",
        action="append",
        default=[],
        metavar="NAME=FILE",
        required=True,
        help="evaluation.json of a test; the first one's thresholds count unless --thresholds",
    )
    p.add_argument("--thresholds", type=Path, help="evaluation.json whose thresholds and temperature go into the card")
    p.add_argument("--facts", type=Path, help="JSON of more facts for the card's top level")
    p.add_argument("--weak", action="append", default=[], help="a known weak point, in words")
    p.add_argument("--history", default="", help="what training started from and how it went")
    p.set_defaults(run=run_release)


def add_machine(parser):
    """Add the options that say how much of the machine a training takes."""
    parser.add_argument("--workers", type=int, default=1, help="processes that draw canvases (default 1)")
    parser.add_argument("--threads", type=int, help="torch threads (default: all cores)")


def changes_of(pairs):
    """Read NAME=VALUE pairs that change the recipe of training.

    Parameters
    ----------
    pairs : list of str
        Values are JSON: 20, 0.5, null, ["a", "b"].

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        When a name is not in the recipe, or a value is missing, no JSON or of another kind than the recipe's.
    """
    from detection.lab.training.training import RECIPE

    changes = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in RECIPE:
            raise ValueError(f"The recipe has no {name}. It has {', '.join(RECIPE)}.")
        try:
            changes[name] = json.loads(text)
        except ValueError:
            raise ValueError(f"--set {pair} gives no value: write {name}=VALUE, a number, null or a list.") from None
        wanted = (list, str) if name == "looks" else (int, float, type(None)) if name == "hours" else (int, float)
        if isinstance(changes[name], bool) or not isinstance(changes[name], wanted):
            raise ValueError(f"--set {pair}: {name} is {'a list' if name == 'looks' else 'a number'}.")
    return changes


def json_at(path):
    """Read a JSON file; an absent one reads as empty."""
    return json.loads(path.read_text()) if path.is_file() else {}


def training_scale(weights):
    """Return the um per px that weights were trained at: their card's, else their run's."""
    run = json_at(weights.parent / "run.json")
    return json_at(weights.with_suffix(".json")).get("um_per_px") or run.get("recipe", {}).get("um_per_px", 0.115)


def run_prepare(args):
    """Run `prepare`."""
    from detection.lab.data.derive_boxes import derive_boxes
    from detection.lab.data.prepare import prepare

    boxes = derive_boxes
    if args.boxes == "detector":
        if not args.weights:
            sys.exit("--boxes detector needs --weights FILE.")
        from detection.lab.measuring.evaluation import find_on_views
        from detection.lab.training.training import load_network

        network, scale = load_network(args.weights), training_scale(args.weights)

        def boxes(view, image):
            return derive_boxes(view, find_on_views(network, [view], um_per_px=scale)[0][0], image)

    try:
        path = prepare(args.sources, args.out, seed=args.seed, val_share=args.val_share, allow=args.allow, boxes=boxes)
    except ValueError as refusal:
        sys.exit(str(refusal))
    print((args.out / "balance.txt").read_text())
    print(f"{path}: manifest {json.loads(path.read_text())['manifest_sha256']}")


def run_boxes(args):
    """Run `boxes`."""
    from detection.lab.data.datasets import read_dataset, read_pixels
    from detection.lab.data.derive_boxes import agreement_histogram, box_agreement, central_box, stain_box

    views = [view for view in read_dataset(args.dataset, args.split) if len(view.cells) == 1]
    boxes = [stain_box(read_pixels(view.path), view.um_per_px or 0.1) for view in views]
    print("stain   ", json.dumps(box_agreement(views, boxes)))
    print(agreement_histogram(views, boxes))
    if args.weights:
        from detection.lab.measuring.evaluation import find_on_views
        from detection.lab.training.training import load_network

        scale = training_scale(args.weights)
        found, _ = find_on_views(load_network(args.weights), views, um_per_px=scale, lowest=0.1)
        boxes = [central_box(own, view) for own, view in zip(found, views)]
        print("detector", json.dumps(box_agreement(views, boxes)))
        print(agreement_histogram(views, boxes))


def run_train(args):
    """Run `train`."""
    from detection.lab.measuring.evaluation import macro_ap50
    from detection.lab.training.training import train

    best = train(
        args.dataset,
        args.out,
        args.architecture,
        scale=args.scale,
        start=args.start,
        workers=args.workers,
        threads=args.threads,
        check=macro_ap50,
        **changes_of(args.set),
    )
    print(f"{'Best' if best.name == 'best.pt' else 'Last'} weights: {best}")


def run_average(args):
    """Run `average`."""
    from detection.lab.training.training import average_networks, save_network

    save_network(args.out, average_networks(args.first, args.second, args.share), {"average_share": args.share})
    print(args.out)


def run_evaluate(args):
    """Run `evaluate`."""
    from detection.inference.detector import score_thresholds
    from detection.lab.data.datasets import read_dataset
    from detection.lab.measuring.report import evaluate
    from detection.lab.training.training import load_network

    card, thresholds = json.loads(args.card.read_text()) if args.card else {}, None
    if card:  # as the product shows cells; a card in the making has no common threshold yet
        levels = score_thresholds({"default_score_threshold": 0.25} | card)
        thresholds = {code: float(level) for code, level in zip(CODES, levels)}
    views = [view for view in read_dataset(args.dataset, args.split) if args.source in (None, view.source)]
    if not views:
        raise ValueError("There is no view in this split and source.")
    result = evaluate(
        load_network(args.weights),
        views,
        args.out,
        um_per_px=card.get("um_per_px") or training_scale(args.weights),
        thresholds=thresholds,
        common_threshold=card.get("default_score_threshold"),
        temperature=card.get("temperature"),
        batch=args.batch,
        repeats=args.bootstrap,
        fields=args.fields,
        name=args.weights.stem,
        most_threshold=args.most_threshold,
        facts={
            "weights_sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
            "manifest_sha256": json_at(args.dataset).get("manifest_sha256"),
            "split": args.split,
            "source": args.source,
        },
    )
    print(json.dumps({key: result["one_type_a_cell"].get(key) for key in ("macro", "macro_n10")}, indent=1))
    print(f"Report: {args.out / 'evaluation.html'}")


def run_compare(args):
    """Run `compare`."""
    from detection.lab.training.comparison import compare

    print(
        compare(
            args.dataset,
            args.out,
            architectures=args.architectures,
            scale=args.scale,
            val_source=args.val_source,
            workers=args.workers,
            threads=args.threads,
            repeats=args.bootstrap,
            **changes_of(args.set),
        )
    )


def run_leave_out(args):
    """Run `leave-out`."""
    from detection.lab.training.leave_out import leave_out

    how = {"workers": args.workers, "threads": args.threads, "repeats": args.bootstrap, **changes_of(args.set)}
    print(leave_out(args.dataset, args.out, architecture=args.architecture, **how))


def run_calibrate(args):
    """Run `calibrate`."""
    from detection.inference.detector import score_thresholds
    from detection.inference.stain_transfer import from_lists
    from detection.lab.data.datasets import read_dataset
    from detection.lab.measuring.calibration import calibrate, draw_cells, write_site
    from detection.lab.training.training import load_network

    card = json_at(args.weights.with_suffix(".json"))
    if args.reference:
        aim = training_look(read_dataset(args.reference, "train"))
    else:
        aim = from_lists(card["look"]) if "look" in card else None
    try:
        views = draw_cells(given := read_dataset(args.cells, args.split))
        if views != given:
            print(f"{sum(len(view.cells) for view in views)} cells of {len(views)} views are drawn.", file=sys.stderr)
        own = dict(zip(CODES, score_thresholds(card).tolist())) if "classes" in card else None
        site = calibrate(load_network(args.weights), views, aim, thresholds=own, um_per_px=training_scale(args.weights))
    except ValueError as error:
        sys.exit(str(error))
    write_site(args.out, site, args.weights)
    print(json.dumps({name: site[name] for name in ("typed_right", "at_thresholds")}, indent=1))


def training_look(views):
    """Return the typical colours of the labelled views of a data set, or None where none shows any."""
    from detection.inference.stain_transfer import typical_look
    from detection.lab.data.datasets import read_pixels

    labelled = [view for view in views if view.cells]
    return typical_look(read_pixels(view.path) for view in labelled[:: max(1, len(labelled) // 60)])


def run_release(args):
    """Run `release`."""
    from detection.inference.stain_transfer import as_lists
    from detection.lab.data.datasets import read_dataset
    from detection.lab.measuring.release import build_card, refuse_foreign_figures, write_release

    evaluations = {
        name: json.loads(Path(file).read_text()) for name, _, file in (pair.partition("=") for pair in args.evaluation)
    }
    chosen = json.loads(args.thresholds.read_text()) if args.thresholds else next(iter(evaluations.values()))
    run = json.loads((args.weights.parent / "run.json").read_text())
    dataset = json.loads(args.dataset.read_text())
    refuse_foreign_figures(args.weights, dataset, run, evaluations | {"of the thresholds": chosen})
    facts = json.loads(args.facts.read_text()) if args.facts else {}
    if look := training_look(read_dataset(args.dataset, "train")):
        facts["look"] = as_lists(look)
    middle = sorted(chosen["thresholds"].values())[len(chosen["thresholds"]) // 2]
    card = build_card(
        args.weights,
        args.name,
        args.version,
        dataset=dataset,
        run=run,
        evaluations=evaluations,
        thresholds=chosen["thresholds"],
        common_threshold=chosen.get("common_threshold", middle),
        temperature=chosen["temperature"],
        known_weak=args.weak,
        history=args.history,
        extra=facts,
    )
    for path in write_release(args.weights, card, args.out):
        print(path)
