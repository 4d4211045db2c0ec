"""Two detector versions on slides of signed cases: what each got right, and what would have changed.

The signed labels are the truth; nothing here names a patient or a case number.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from detection.boxes import pairwise_iou
from detection.cell_types import CODES, NOT_A_CELL, UNIDENTIFIED
from leukoweb.analysis.models import DetectorVersion, Run
from leukoweb.cases.models import Slide
from leukoweb.review.counting.differential import count_differential
from leukoweb.review.counting.flags import flags_of
from leukoweb.review.counting.policies import Rules
from leukoweb.review.models import Report
from leukoweb.review.services import current_policy, last_signed, rules_of, signed_cells

SAME_CELL_IOU = 0.5
Labelled = tuple[int, str, Sequence[float]]  # image, code, box xyxy px


@dataclass
class Tally:
    """How one detector version did against the signed labels, per type."""

    signed: Counter = field(default_factory=Counter)
    right: Counter = field(default_factory=Counter)
    missed: Counter = field(default_factory=Counter)
    extra: Counter = field(default_factory=Counter)
    found: Counter = field(default_factory=Counter)


@dataclass
class Reading:
    """What a report on one slide would have said: rows of the differential with cells, and the titles of its flags."""

    rows: list
    flags: list


@dataclass
class SlideChange:
    """One slide as signed and as each version read it."""

    slide: Slide
    signed: Reading
    first: Reading
    second: Reading


def signed_slides(limit: int) -> list[Slide]:
    """The patients' slides of the reports in force that were signed last, as far as their pixels are still there."""
    reports = Report.objects.in_force().filter(case__is_demonstration=False).order_by("-signed_at")
    case_ids = list(reports.values_list("case_id", flat=True)[:limit])
    slides = Slide.objects.filter(case_id__in=case_ids).exclude(images__expired_at__isnull=False)
    return list(slides.select_related("case__laboratory").order_by("-id"))


def finished_run(slide: Slide, detector: DetectorVersion) -> Run | None:
    """The run of a version over a slide, counted or shadow, once it is done."""
    return Run.objects.filter(slide=slide, detector=detector, state=Run.State.DONE).order_by("-id").first()


def compare_on(
    slides: Iterable[Slide], first: DetectorVersion, second: DetectorVersion
) -> tuple[Tally, Tally, list[SlideChange]]:
    """Tally two versions against the signed labels on the slides that both have read."""
    tallies = Tally(), Tally()
    changes = []
    for slide in slides:
        runs = [run for detector in (first, second) if (run := finished_run(slide, detector))]
        if len(runs) < 2:
            continue
        images = set(slide.images.values_list("pk", flat=True))
        truth = [
            (image, code, box)
            for image, code, box in signed_cells(last_signed(slide.case))
            if image in images and code not in (NOT_A_CELL, UNIDENTIFIED)
        ]
        rules = rules_of(current_policy(slide.case.laboratory))
        readings = []
        for tally, run in zip(tallies, runs):
            cells = run.cells.filter(added_by=None)
            said = [(c.image_id, c.detector_code, c.xyxy) for c in cells]
            _tally(tally, truth, said)
            readings.append(_reading(said, rules))
        changes.append(SlideChange(slide, _reading(truth, rules), *readings))
    return *tallies, changes


def rows_by_type(first: Tally, second: Tally) -> list[dict]:
    """One row for each type that was signed or found, in class order."""
    rows = []
    for code in CODES:
        if first.signed[code] or first.found[code] or second.found[code]:
            rows.append(
                {
                    "code": code,
                    "signed": first.signed[code],
                    "sides": [(t.right[code], t.missed[code], t.extra[code]) for t in (first, second)],
                }
            )
    return rows


def _reading(cells: Iterable[Labelled], rules: Rules) -> Reading:
    differential = count_differential(Counter(code for _, code, _ in cells), rules)
    titles = [flag.title for flag in flags_of(differential)]
    return Reading([row for row in differential.rows if row.count], titles)


def _tally(tally: Tally, truth: Sequence[Labelled], said: Sequence[Labelled]) -> None:
    """Match boxes of the same image, best overlap first, each used once."""
    tally.signed.update(code for _, code, _ in truth)
    tally.found.update(code for _, code, _ in said)
    for image in {image for image, *_ in (*truth, *said)}:
        true_cells = [(code, box) for where, code, box in truth if where == image]
        said_cells = [(code, box) for where, code, box in said if where == image]
        pairs = _best_pairs([box for _, box in true_cells], [box for _, box in said_cells])
        for t, s in pairs.items():
            tally.right[true_cells[t][0]] += true_cells[t][0] == said_cells[s][0]
        tally.missed.update(code for t, (code, _) in enumerate(true_cells) if t not in pairs)
        used = set(pairs.values())
        tally.extra.update(code for s, (code, _) in enumerate(said_cells) if s not in used)


def _best_pairs(true_boxes: Sequence[Sequence[float]], said_boxes: Sequence[Sequence[float]]) -> dict[int, int]:
    """Pair boxes one to one, highest intersection over union first, from SAME_CELL_IOU upward."""
    if not true_boxes or not said_boxes:
        return {}
    iou = pairwise_iou(np.array(true_boxes), np.array(said_boxes))
    pairs: dict[int, int] = {}
    used = set()
    for flat in np.argsort(-iou, axis=None):
        t, s = (int(i) for i in np.unravel_index(flat, iou.shape))
        if iou[t, s] < SAME_CELL_IOU:
            break
        if t not in pairs and s not in used:
            pairs[t] = s
            used.add(s)
    return pairs
