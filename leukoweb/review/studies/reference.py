"""The reference differential (C1): two readers who see neither each other's labels nor the detector's, 200 cells each.

Of each reader's cells the other reads a tenth again: on these they are compared. The 400 cells are different ones, so
that the intervals of the merged count are honest. It changes no label of the case.
"""

import random
from collections import Counter

from django.db import transaction
from django.utils import timezone

from detection.cell_types import NOT_A_CELL
from leukoweb.audit.services import record
from leukoweb.cases.models import AMENDING, TO_REVIEW, TO_SIGN, Case
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import LABELS, current_cells
from leukoweb.review.counting.agreement import cohen_kappa
from leukoweb.review.counting.differential import Differential, count_differential
from leukoweb.review.models import Reading, ReferenceCount
from leukoweb.review.services import age_years, current_policy, rules_of, wbc_of

EACH, SECOND_LOOKS = 200, 20


def start_reference(case, *, by) -> ReferenceCount:
    """Draw 400 cells of a case at random, over all its slides, and deal them to two readers."""
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if ReferenceCount.objects.filter(case=case).exists():
            raise Refused("A reference count of this case was started already.", code="wrong_state")
        if case.state not in (TO_REVIEW, TO_SIGN, AMENDING):
            raise Refused(
                "A reference count needs a case whose slides are analysed and that is not signed.", code="wrong_state"
            )
        # Erythroblasts and smudge cells lie outside the 400, but who reads blind must be able to meet them.
        cells = [cell.pk for cell in current_cells(case) if cell.code and cell.code != NOT_A_CELL]
        if len(cells) < 2 * EACH:
            raise Refused(
                f"A reference count needs {2 * EACH} cells, {EACH} for each reader; this case has {len(cells)}. "
                "Upload more fields."
            )
        drawn = random.SystemRandom().sample(cells, 2 * EACH)
        own = {1: drawn[:EACH], 2: drawn[EACH:]}
        count = ReferenceCount.objects.create(case=case, started_by=by)
        for place, other in ((1, 2), (2, 1)):
            dealt = [(pk, False) for pk in own[place]] + [(pk, True) for pk in own[other][:SECOND_LOOKS]]
            random.SystemRandom().shuffle(dealt)
            Reading.objects.bulk_create(
                Reading(count=count, cell_id=pk, place=place, is_second_look=is_second) for pk, is_second in dealt
            )
        record("reference.start", actor=by, obj=count, case=case, changes={"cells": len(drawn)})
    return count


def place_of(count, reader) -> int | None:
    """Return which reader somebody is, 1 or 2; None while they are neither."""
    return {count.first_reader_id: 1, count.second_reader_id: 2}.get(reader.pk)


def take_place(count, *, by) -> int:
    """Say which reader somebody is, 1 or 2; a free place is taken, and nobody takes both."""
    with transaction.atomic():
        Case.objects.locked(count.case_id)
        count = ReferenceCount.objects.get(pk=count.pk)
        if place := place_of(count, by):
            return place
        if count.first_reader_id and count.second_reader_id:
            raise Refused("Both readers of this reference count are somebody else.", code="wrong_state")
        place = 1 if count.first_reader_id is None else 2
        setattr(count, "second_reader" if place == 2 else "first_reader", by)
        count.save()
        record("reference.read", actor=by, obj=count, case=count.case, changes={"reader": place})
    return place


def give_place_back(count, *, by) -> None:
    """Free the place of a reader who has read none of its cells."""
    with transaction.atomic():
        Case.objects.locked(count.case_id)
        count = ReferenceCount.objects.get(pk=count.pk)
        place = place_of(count, by)
        if place is None:
            raise Refused("You are not a reader of this reference count.", code="wrong_state")
        if count.readings.filter(place=place).exclude(code="").exists():
            raise Refused("You have read cells already: a place that was begun is not given back.", code="wrong_state")
        setattr(count, "second_reader" if place == 2 else "first_reader", None)
        count.save()
        record("reference.leave", actor=by, obj=count, case=count.case, changes={"reader": place})


def next_reading(count, place: int) -> tuple[Reading | None, int, int]:
    """The next cell for a reader, how many are read, and of how many; the cell is None at the end."""
    readings = Reading.objects.filter(count=count, place=place)
    reading = readings.filter(code="").select_related("cell").first()
    return reading, readings.exclude(code="").count(), readings.count()


def read_cell(reading, code: str, *, by) -> None:
    """Write what a reader sees; a cell is read once, and only by the reader it was dealt to."""
    count = reading.count
    if code not in LABELS:
        raise Refused("This is no cell type. Choose one of the buttons.")
    reader_id = count.first_reader_id if reading.place == 1 else count.second_reader_id
    if reader_id != by.pk:
        raise Refused("This cell was dealt to the other reader.", code="wrong_state")
    if not Reading.objects.filter(pk=reading.pk, code="").update(code=code, read_at=timezone.now()):
        raise Refused("This cell was read already.", code="wrong_state")
    if not count.readings.filter(place=reading.place, code="").exists():
        with transaction.atomic():
            record("reference.finish", actor=by, obj=count, case=count.case, changes={"reader": reading.place})


def is_finished(count) -> bool:
    """Whether both readers have read all their cells: only then anybody sees what they read."""
    return bool(count.second_reader_id) and not count.readings.filter(code="").exists()


def disagreements(count) -> list[tuple[Reading, Reading]]:
    """The cells that both readers read and called differently: (the owner's reading, the second look)."""
    return [(own, second) for own, second in _pairs(count) if own.code != second.code]


def settle(count, cell_id: int, code: str, *, by) -> None:
    """Write what a disagreed cell is. Before: both readers have finished. After: the merged count uses this."""
    if not by.can("sign_report"):
        raise Refused("Only a pathologist settles a disagreement.", code="not_allowed")
    with transaction.atomic():
        Case.objects.locked(count.case_id)
        if not is_finished(count):
            raise Refused("Both readers must have finished first.", code="wrong_state")
        own = next((own for own, _ in disagreements(count) if own.cell_id == cell_id), None)
        if own is None or code not in LABELS:
            raise Refused("The readers do not disagree on this cell, or this is no cell type.")
        own.settled_code, own.settled_by, own.settled_at = code, by, timezone.now()
        own.save()
        record("reference.settle", actor=by, obj=count, case=count.case, changes={"cell": cell_id, "code": code})


def result_of(count) -> dict:
    """The two counts, the merged one, kappa on the cells read twice, and the disagreements."""
    readings = list(count.readings.select_related("cell"))
    own = [r for r in readings if not r.is_second_look]
    pairs = _pairs(count)
    return {
        "first": _counted(count.case, [r.code for r in own if r.place == 1]),
        "second": _counted(count.case, [r.code for r in own if r.place == 2]),
        "merged": _counted(count.case, [r.settled_code or r.code for r in own]),
        "kappa": cohen_kappa([(one.code, two.code) if one.place == 1 else (two.code, one.code) for one, two in pairs]),
        "read_twice": len(pairs),
        "disagreements": [(one, two) for one, two in pairs if one.code != two.code],
    }


def reference_section(case) -> dict | None:
    """What a report says of the case's reference count; None while there is none that is finished and settled."""
    count = ReferenceCount.objects.filter(case=case).select_related("first_reader", "second_reader").first()
    if count is None or not is_finished(count):
        return None
    result = result_of(count)
    return {
        "readers": [count.first_reader.printed_name, count.second_reader.printed_name],
        "differential": result["merged"].as_dict(),
        "kappa": None if result["kappa"] is None else round(result["kappa"], 4),
        "read_twice": result["read_twice"],
        "disagreements": len(result["disagreements"]),
        "open": sum(not own.settled_code for own, _ in result["disagreements"]),
    }


def _counted(case, codes) -> Differential:
    rules = rules_of(current_policy(case.laboratory))
    return count_differential(Counter(codes), rules, wbc=wbc_of(case), age_years=age_years(case), sex=case.patient.sex)


def _pairs(count):
    """The cells read by both: (the owner's reading, the second look)."""
    readings = list(count.readings.select_related("cell", "settled_by"))
    own = {r.cell_id: r for r in readings if not r.is_second_look}
    return [(own[r.cell_id], r) for r in readings if r.is_second_look and r.code and own[r.cell_id].code]
