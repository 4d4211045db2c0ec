"""The services by which people label cells: relabel, confirm, add, undo, redo.

Each writes Decision rows and one audit event, and locks the case first: no cell changes while its report is signed.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext, gettext_lazy

from detection.cell_types import CODES, NOT_A_CELL, UNIDENTIFIED
from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell, DetectorVersion, Run
from leukoweb.audit.services import record
from leukoweb.cases.models import REJECTED, SIGNED, WITHDRAWN, Case, Slide, SlideImage
from leukoweb.refusals import Refused
from leukoweb.review.counting.attention import CLOSE_PAGE, PAGE, together
from leukoweb.review.models import Decision, with_labels
from leukoweb.review.urgency import keep_flags

LABELS = (*CODES, UNIDENTIFIED, NOT_A_CELL)
CLOSED = {
    SIGNED: gettext_lazy("This case is signed: its cells stay as they are. Open an amendment to change them."),
    WITHDRAWN: gettext_lazy(
        "The report of this case is withdrawn: its cells stay as they are. Open an amendment to change them."
    ),
    REJECTED: gettext_lazy("This specimen was rejected: its cells are not reviewed."),
}
LEAST_BOX_PX = 6
LESS_PROVEN = {"none": "none", "weak": "weak", "fair": "weak", "good": "fair"}  # the least proven first
NOT_COUNTED = gettext_lazy(
    "A chosen cell is no longer counted: its slide was read again or set aside. Load the cells of the case again."
)


class Collision(Refused):
    """Another reader labelled cells since they were shown; `cells` carry their labels as they are now."""

    def __init__(self, cells: list[Cell]) -> None:
        super().__init__(
            "Another reader has labelled this cell since it was shown to you. Nothing was changed; look again.",
            code="changed_since",
        )
        self.cells = cells


def current_cells(case: Case) -> QuerySet[Cell]:
    """The labelled cells that can enter the report of a case, those that are not cells included."""
    return with_labels(Cell.objects.filter(run__slide__case=case).counted())


@dataclass(frozen=True)
class Written:
    """One step that is stored, and not yet its event: the flags come before, once for all steps of a request."""

    decisions: list[Decision]
    action: str
    changes: dict[str, object]

    def record(self, case: Case, by: User) -> None:
        """Write the event of the step."""
        cell = self.decisions[0].cell if len(self.decisions) == 1 else None
        record(self.action, actor=by, obj=cell or case, case=case, changes=self.changes)


@dataclass(frozen=True)
class Batch:
    """Steps of one reader in one transaction: its case, which is locked, none of whose steps is stored yet."""

    case: Case
    written: list[Written]


@dataclass(frozen=True)
class Evidence:
    """What the detectors of a case's slides are proven on: each type as the least proven of them."""

    levels: dict

    def evidence(self, code: str) -> str:
        """How well a type is proven: none, weak, fair or good."""
        return self.levels.get(code, "none")


def evidence_of(case: Case) -> Evidence:
    """The evidence behind the cells of a case, worst of the detectors that found them.

    On a slide that is unlike the images that its detector was proven on, every type counts as one step less proven.
    """
    runs = Run.objects.filter(
        slide__case=case, slide__set_aside_at=None, is_shadow=False, detector=OuterRef("pk")
    ).order_by()
    detectors = DetectorVersion.objects.filter(Exists(runs)).annotate(is_unlike=Exists(runs.exclude(unlike="")))
    levels = {
        code: [LESS_PROVEN[own.evidence(code)] if own.is_unlike else own.evidence(code) for own in detectors]
        for code in CODES
    }
    return Evidence({code: min(found, key=list(LESS_PROVEN).index, default="none") for code, found in levels.items()})


def relabel_cell(cell: Cell, *, to: str, by: User, reason: str = "", seen_decision_id: int | None = None) -> Decision:
    """Give one cell a label; the label it has already is a confirmation."""
    return relabel_cells([cell], to=to, by=by, reason=reason, seen=_seen_alone(cell, seen_decision_id))[0]


def relabel_cells(
    cells: Sequence[Cell],
    *,
    to: str | None,
    by: User,
    reason: str = "",
    seen: Mapping[int, int | None] | None = None,
    step: UUID | None = None,
    batch: Batch | None = None,
) -> list[Decision]:
    """Give cells of one case a label, in one step that is undone as one; all or none.

    `to` is a code, or None to confirm each cell's label. `seen` maps a cell's key to the last decision its reader saw
    (0: none); a cell that is not in it is not compared. A `step` that is stored already is returned, not made again.
    Before: the case is not signed. After: one Decision for each cell; a `batch` is ended by its caller.
    """
    if to is not None and to not in LABELS:
        raise Refused(
            gettext("“%(to)s” is no cell type. Choose one of %(names)s.") % {"to": to, "names": ", ".join(LABELS)}
        )
    with transaction.atomic():
        case = _open_case(cells, batch)
        if made := _made(step, by, case, batch):
            return made
        labelled = _labelled(cells)
        if len(labelled) != len({getattr(cell, "pk", cell) for cell in cells}):
            raise Refused(NOT_COUNTED, code="wrong_state")
        _refuse_collision(labelled, seen)
        if any(not (to or cell.code) for cell in labelled):
            raise Refused(gettext("A cell without a label cannot be confirmed. Give it a type."))
        _refuse_unseen(labelled, to, case)
        step = step or uuid.uuid4()
        decisions = [
            Decision(cell=cell, from_code=cell.code, to_code=to or cell.code, reason=reason, decided_by=by, step=step)
            for cell in labelled
        ]
        return _write(decisions, "cell.confirm" if to is None else "cell.relabel", by, case, batch)


def add_cell(
    image: SlideImage,
    *,
    xyxy: Iterable[float],
    code: str,
    by: User,
    step: UUID | None = None,
    batch: Batch | None = None,
) -> Cell:
    """Add a cell that the detector missed; its box is cut to the image. The cell of a stored `step` is returned.

    Before: the image's analysis is done. After: a Cell with `added_by` and its first Decision.
    """
    if code not in LABELS:
        raise Refused(
            gettext("“%(code)s” is no cell type. Choose one of %(names)s.") % {"code": code, "names": ", ".join(LABELS)}
        )
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    x1, x2 = max(min(x1, x2), 0.0), min(max(x1, x2), float(image.width_px))
    y1, y2 = max(min(y1, y2), 0.0), min(max(y1, y2), float(image.height_px))
    if not (x2 - x1 >= LEAST_BOX_PX and y2 - y1 >= LEAST_BOX_PX):
        raise Refused(gettext("The box is too small or lies outside of the image. Draw it around the whole cell."))
    with transaction.atomic():
        case = _lock(image.slide.case_id, batch)
        if made := _made(step, by, case, batch):
            return made[0].cell
        run = Run.objects.filter(slide=image.slide, is_shadow=False, state=Run.State.DONE).first()
        if not Slide.objects.filter(pk=image.slide_id, set_aside_at=None).exists():
            raise Refused(gettext("This slide is set aside: take it back into the case first."), code="wrong_state")
        if run is None:
            raise Refused(
                gettext("The analysis of this slide is not finished. Add the cell when it is."), code="wrong_state"
            )
        cell = Cell.objects.create(run=run, image=image, x1=x1, y1=y1, x2=x2, y2=y2, added_by=by)
        decision = Decision.objects.create(cell=cell, to_code=code, decided_by=by, step=step or uuid.uuid4())
        box = [round(value, 1) for value in (x1, y1, x2, y2)]
        _end_step(Written([decision], "cell.add", {"code": code, "xyxy": box}), by, case, batch)
    return cell


def undo_last(case: Case, *, by: User, step: UUID | None = None, batch: Batch | None = None) -> list[Decision]:
    """Take back this reader's last step on a case that is not undone yet; [] when there is none."""
    return _turn_back(case, by, step, batch, depth=0, action="cell.undo")


def redo(case: Case, *, by: User, step: UUID | None = None, batch: Batch | None = None) -> list[Decision]:
    """Make this reader's last undone step again, as long as no new one was made since; [] when there is none."""
    return _turn_back(case, by, step, batch, depth=1, action="cell.redo")


def finish(batch: Batch, *, by: User) -> None:
    """Store the flags of a case after steps of a reader, then their events; the last in a transaction that locked it.

    What was critical between two steps of one request alone is never raised: nobody could have seen it.
    """
    if batch.written:
        keep_flags(batch.case)
        for step in batch.written:
            step.record(batch.case, by)


def _turn_back(
    case: Case, by: User, new_step: UUID | None, batch: Batch | None, *, depth: int, action: str
) -> list[Decision]:
    """Reverse the reader's latest step whose chain of reversals is of even (0: it stands) or odd (1: undone) length."""
    with transaction.atomic():
        case = _lock(case.pk, batch)
        if made := _made(new_step, by, case, batch):
            return made
        mine = list(Decision.objects.filter(cell__run__slide__case=case, decided_by=by).order_by("id"))
        reversed_ids = {d.undoes_id for d in mine}
        depth_of: dict[int, int] = {}
        for decision in mine:
            depth_of[decision.pk] = depth_of[decision.undoes_id] + 1 if decision.undoes_id else 0
        tips = [d for d in mine if d.pk not in reversed_ids and depth_of[d.pk] % 2 == depth]
        last_new = max((d.pk for d in mine if not d.undoes_id), default=0)
        if not tips or (depth == 1 and tips[-1].pk < last_new):
            return []
        step = [d for d in tips if d.step == tips[-1].step]
        _refuse_others_since(step, by)
        cells = Cell.objects.in_bulk([d.cell_id for d in step])
        before = _codes_before(step)
        new_step = new_step or uuid.uuid4()
        decisions = []
        for d in step:
            cell = cells[d.cell_id]
            # A cell that a reader added was nothing before.
            to_code = before.get(d.pk, "") or ("" if cell.detector_code else NOT_A_CELL)
            from_code = d.to_code or cell.detector_code
            decisions.append(
                Decision(cell=cell, from_code=from_code, to_code=to_code, undoes=d, decided_by=by, step=new_step)
            )
        return _write(decisions, action, by, case, batch)


def _made(step: UUID | None, by: User, case: Case, batch: Batch | None) -> list[Decision]:
    """The decisions stored under a step, read under the case's lock; a request that is sent twice makes them once."""
    if batch:
        return []
    return list(Decision.objects.filter(cell__run__slide__case=case, decided_by=by, step=step)) if step else []


def _refuse_others_since(step: list[Decision], by: User) -> None:
    """Refuse to reverse a step after which another reader labelled one of its cells."""
    own = {d.cell_id: d.pk for d in step}
    others = Decision.objects.filter(cell__in=own).exclude(decided_by=by).order_by("id").values_list("cell_id", "pk")
    changed = [key for key, last in dict(others).items() if last > own[key]]
    if changed:
        raise Collision(_labelled(changed))


def _codes_before(decisions: Iterable[Decision]) -> dict[int, str]:
    """What each decision's cell was decided to be before it; a first decision is left out."""
    by_cell = {d.cell_id: d for d in decisions}
    codes = {}
    for cell_id, key, to_code in (
        Decision.objects.filter(cell__in=by_cell).order_by("id").values_list("cell_id", "pk", "to_code")
    ):
        if key < by_cell[cell_id].pk:
            codes[by_cell[cell_id].pk] = to_code
    return codes


def _write(decisions: list[Decision], action: str, by: User, case: Case, batch: Batch | None) -> list[Decision]:
    decisions = [*Decision.objects.bulk_create(decisions, batch_size=500)]
    changes: dict[str, object] = {"cells": [[d.cell_id, d.from_code, d.to_code] for d in decisions]}
    if decisions[0].reason:
        changes["reason"] = decisions[0].reason
    _end_step(Written(decisions, action, changes), by, case, batch)
    return decisions


def _end_step(written: Written, by: User, case: Case, batch: Batch | None) -> None:
    """Leave flags and event of a step to the end of its batch, else store them."""
    if batch:
        batch.written.append(written)
    else:
        finish(Batch(case, [written]), by=by)


def _seen_alone(cell: Cell, seen_decision_id: int | None) -> dict[int, int | None] | None:
    return None if seen_decision_id is None else {cell.pk: seen_decision_id}


def _labelled(cells: Iterable[Cell | int]) -> list[Cell]:
    """The cells as they are labelled now, read under the case's lock."""
    keys = [getattr(cell, "pk", cell) for cell in cells]
    return list(with_labels(Cell.objects.filter(pk__in=keys).counted()).order_by("id"))


def _refuse_collision(labelled: Iterable[Cell], seen: Mapping[int, int | None] | None) -> None:
    changed = [c for c in labelled if seen and c.pk in seen and (c.last_decision_id or 0) != (seen[c.pk] or 0)]
    if changed:
        raise Collision(changed)


def _refuse_unseen(labelled: Sequence[Cell], to: str | None, case: Case) -> None:
    """Refuse to label more cells at once than a page holds, and to confirm together what is looked at alone (S10).

    A label is a look: cells that are given another type count as verified, so they come in pages too.
    """
    if len(labelled) < 2:
        return
    evidence = evidence_of(case)
    changed = [cell for cell in labelled if to not in (None, cell.code)]
    most = max(CLOSE_PAGE, min((together(cell, evidence) for cell in changed), default=PAGE))
    if len(changed) > most:
        raise Refused(
            gettext("At most %(most)s of these cells are given a type at once, so that each is really seen.")
            % {"most": most}
        )
    confirmed = [cell for cell in labelled if not cell.decided_code and to in (None, cell.code)]
    if len(confirmed) < 2:
        return
    if len({cell.code for cell in confirmed}) > 1:
        raise Refused(gettext("Cells are confirmed together only when they are of one type."))
    most = min(together(cell, evidence) for cell in confirmed)
    if most == 1:
        raise Refused(
            gettext(
                "Some of these cells have a low score, or their type has too little evidence: "
                "confirm each of them alone."
            )
        )
    if len(confirmed) > most:
        raise Refused(
            gettext("At most %(most)s of these cells are confirmed at once, so that each is really seen.")
            % {"most": most}
        )


def _open_case(cells: Iterable[Cell], batch: Batch | None) -> Case:
    """Lock and return the one case of the cells, if it may still be changed; those of a batch are of its case."""
    if batch:
        return _lock(batch.case.pk, batch)
    keys = [getattr(cell, "pk", cell) for cell in cells]
    cases = set(Cell.objects.filter(pk__in=keys).values_list("run__slide__case_id", flat=True))
    if len(cases) != 1:
        raise Refused(gettext("Choose cells of one case."))
    return _lock(cases.pop())


def _lock(case_id: int, batch: Batch | None = None) -> Case:
    """Hold the case's row until the transaction ends; a signed or rejected one is refused."""
    case = batch.case if batch else Case.objects.locked(case_id)
    if case.state in CLOSED:
        raise Refused(CLOSED[case.state], code="case_closed")
    return case
