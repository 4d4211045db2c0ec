"""A batch of one reader's decisions on one case, each with a key under which it is stored at most once.

What may be decided is the business of decisions.py; here is only the order, the retry and what each decision came to.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import Case, SlideImage
from leukoweb.refusals import Refused
from leukoweb.review.cells import decisions
from leukoweb.review.cells.asked import ADD, REDO, UNDO, AskedDecision
from leukoweb.review.models import Decision


@dataclass
class Outcome:
    """What became of one decision: `saved`, `nothing` (to undo), `refused`, or `collided` with another reader."""

    key: UUID
    state: str
    sentence: str = ""
    changed: list[int] = field(default_factory=list)
    labelled: list[Cell] = field(default_factory=list)


def make_decisions(case: Case, asked: Iterable[AskedDecision], *, by: User) -> list[Outcome]:
    """Make decisions one after the other, each all or none; one that is stored already is only answered again.

    A refused decision stops none of the others, but for the undo and redo that follow it: they would reverse another
    step than the one that the reader saw. All are one transaction, at whose end the flags are stored once.
    """
    with transaction.atomic():
        batch = decisions.Batch(Case.objects.locked(case.pk), [])
        outcomes = _make_all(batch, list(asked), by)
        decisions.finish(batch, by=by)
    return outcomes


def _make_all(batch: decisions.Batch, asked: list[AskedDecision], by: User) -> list[Outcome]:
    stored = _stored(batch.case, [each["key"] for each in asked], by)
    outcomes: list[Outcome] = []
    last: dict[int, int] = {}
    is_refused = False
    for each in asked:
        made = stored.get(each["key"])
        if made is None and is_refused and each["act"] in (UNDO, REDO):
            outcomes.append(Outcome(each["key"], "refused", "Not undone: the step before it was refused."))
            continue
        try:
            made = made or _make(each, last, by, batch)
        except decisions.Collision as collision:
            outcomes.append(Outcome(each["key"], "collided", str(collision), labelled=collision.cells))
            is_refused = True
        except Refused as refusal:
            outcomes.append(Outcome(each["key"], "refused", str(refusal)))
            is_refused = True
        else:
            stored[each["key"]] = made
            # What the page has not seen yet of its own earlier decisions is no collision.
            last |= {decision.cell_id: decision.pk for decision in made}
            sentence = "" if made else f"Nothing to {each['act']}"
            changed = [decision.cell_id for decision in made]
            outcomes.append(Outcome(each["key"], "saved" if made else "nothing", sentence, changed))
    return outcomes


def _stored(case: Case, keys: list[UUID], by: User) -> dict[UUID, list[Decision]]:
    """The decisions that an earlier request stored under these keys."""
    found: dict[UUID, list[Decision]] = {}
    for decision in Decision.objects.filter(cell__run__slide__case=case, decided_by=by, step__in=keys).order_by("id"):
        found.setdefault(decision.step, []).append(decision)
    return found


def _make(asked: AskedDecision, last: dict[int, int], by: User, batch: decisions.Batch) -> list[Decision]:
    case = batch.case
    if asked["act"] == UNDO:
        return decisions.undo_last(case, by=by, step=asked["key"], batch=batch)
    if asked["act"] == REDO:
        return decisions.redo(case, by=by, step=asked["key"], batch=batch)
    if asked["act"] == ADD:
        return _add(asked, by, batch)
    seen = asked.get("cells")
    if not seen:
        raise Refused(gettext("No cell was selected."))
    cells = list(Cell.objects.counted().filter(run__slide__case=case, pk__in=seen))
    if len(cells) != len(seen):
        raise Refused(gettext("A chosen cell is not part of this case any more. Load the page again."))
    seen = {key: last.get(key, value) for key, value in seen.items()}
    return decisions.relabel_cells(
        cells,
        to=asked.get("code"),
        by=by,
        reason=asked.get("reason", ""),
        seen={key: value for key, value in seen.items() if value is not None},
        step=asked["key"],
        batch=batch,
    )


def _add(asked: AskedDecision, by: User, batch: decisions.Batch) -> list[Decision]:
    image = SlideImage.objects.filter(slide__case=batch.case, pk=asked.get("image")).select_related("slide").first()
    if image is None:
        raise Refused(gettext("The image of the new cell is not part of this case. Load the page again."))
    if "box" not in asked:
        raise Refused(gettext("The box of the new cell is not four numbers. Draw it again."))
    cell = decisions.add_cell(
        image, xyxy=asked["box"], code=asked.get("code") or "", by=by, step=asked["key"], batch=batch
    )
    return list(Decision.objects.filter(cell=cell, step=asked["key"]))
