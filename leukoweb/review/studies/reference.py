"""The reference differential (C1): two readers who see neither each other's labels nor the detector's, 200 cells each.

Of each reader's cells the other reads a tenth again: on these they are compared. The 400 cells are different ones, so
that the intervals of the merged count are honest. It changes no label of the case.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from detection.cell_types import CELL_TYPES, NOT_A_CELL, UNIDENTIFIED
from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import AMENDING, TO_REVIEW, TO_SIGN, Case
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import LABELS, current_cells
from leukoweb.review.counting.agreement import cohen_kappa, kappa_interval
from leukoweb.review.counting.differential import Differential, count_differential
from leukoweb.review.models import Decision, Reading, ReferenceCount
from leukoweb.review.reports.parts import ReferencePart, sealed_time
from leukoweb.review.services import age_of, current_policy, rules_of, wbc_of
from leukoweb.texts import checked_reason

EACH, SECOND_LOOKS = 200, 20
LEUKOCYTES = (*(t.code for t in CELL_TYPES if t.in_differential), UNIDENTIFIED)


def start_reference(case: Case, *, by: User) -> ReferenceCount:
    """Draw 400 cells of a case at random, over all its slides, and deal them to two readers."""
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if ReferenceCount.objects.filter(case=case).exists():
            raise Refused(gettext("A reference count of this case has already been started."), code="wrong_state")
        if case.state not in (TO_REVIEW, TO_SIGN, AMENDING):
            raise Refused(
                gettext("A reference count needs a case whose slides are analysed and that is not signed."),
                code="wrong_state",
            )
        own = _drawn(case)
        count = ReferenceCount.objects.create(case=case, started_by=by)
        for place, other in ((1, 2), (2, 1)):
            dealt = [(pk, False) for pk in own[place]] + [(pk, True) for pk in own[other][:SECOND_LOOKS]]
            random.SystemRandom().shuffle(dealt)
            Reading.objects.bulk_create(
                Reading(count=count, cell_id=pk, place=place, is_second_look=is_second) for pk, is_second in dealt
            )
        record("reference.start", actor=by, obj=count, case=case, changes={"cells": len(own[1]) + len(own[2])})
    return count


def _drawn(case: Case) -> dict[int, list[int]]:
    """Draw each reader's own cells, in random order, until EACH leukocytes are among them.

    Erythroblasts and smudge cells lie outside of the 400, but who reads blind must be able to meet them. Where two
    slides have enough, each reader has a slide (CLSI H20); else the cells come from all slides.
    """
    pools: dict[int, list[tuple[int, bool]]] = {}
    for cell in current_cells(case).select_related("run"):
        if cell.code and cell.code != NOT_A_CELL:
            pools.setdefault(cell.run.slide_id, []).append((cell.pk, cell.code in LEUKOCYTES))
    leukocytes = {slide: sum(counts for _, counts in cells) for slide, cells in pools.items()}
    in_all = sum(leukocytes.values())
    if in_all < 2 * EACH:
        raise Refused(
            gettext(
                "A reference count needs %(number)s leukocytes, %(each)s for each reader; this case has "
                "%(in_all)s. Upload more fields."
            )
            % {"number": 2 * EACH, "each": EACH, "in_all": in_all}
        )
    largest = sorted(leukocytes, key=leukocytes.__getitem__, reverse=True)[:2]
    if len(largest) == 2 and leukocytes[largest[1]] >= EACH:
        return {place: _until_enough(pools[slide]) for place, slide in enumerate(largest, 1)}
    everything = [cell for cells in pools.values() for cell in cells]
    first = _until_enough(everything)
    taken = set(first)
    return {1: first, 2: _until_enough([cell for cell in everything if cell[0] not in taken])}


def _until_enough(cells: list[tuple[int, bool]]) -> list[int]:
    """Take cells in random order until EACH leukocytes are among them."""
    shuffled = random.SystemRandom().sample(cells, len(cells))
    taken, leukocytes = [], 0
    for key, is_leukocyte in shuffled:
        if leukocytes == EACH:
            break
        taken.append(key)
        leukocytes += is_leukocyte
    return taken


def _refuse_unblinded(case: Case, reader: User) -> None:
    """Refuse somebody who has labelled or added a cell of the case: such a reader is not blinded."""
    if Decision.objects.filter(cell__run__slide__case=case, decided_by=reader).exists():
        raise Refused(
            gettext("You have labelled cells of this case and are not blinded. Ask a colleague who has not."),
            code="wrong_state",
        )


def _deal_more(count: ReferenceCount, place: int) -> None:
    """Deal further cells of the reader's slides while the reader has called fewer than EACH of them leukocytes."""
    readings = count.readings.filter(place=place, is_second_look=False)
    missing = EACH - readings.filter(code__in=LEUKOCYTES).count()
    if missing <= 0:
        return
    dealt = count.readings.filter(is_second_look=False).values("cell")
    slides = readings.values("cell__run__slide")
    left = current_cells(count.case).filter(run__slide__in=slides).exclude(pk__in=dealt)
    pool = [cell.pk for cell in left if cell.code and cell.code != NOT_A_CELL]
    drawn = random.SystemRandom().sample(pool, min(missing, len(pool)))
    Reading.objects.bulk_create(Reading(count=count, cell_id=key, place=place) for key in drawn)


def place_of(count: ReferenceCount, reader: User) -> int | None:
    """Return which reader somebody is, 1 or 2; None while they are neither."""
    return {count.first_reader_id: 1, count.second_reader_id: 2}.get(reader.pk)


def take_place(count: ReferenceCount, *, by: User) -> int:
    """Say which reader somebody is, 1 or 2; a free place is taken, and nobody takes both."""
    with transaction.atomic():
        Case.objects.locked(count.case_id)
        count = ReferenceCount.objects.get(pk=count.pk)
        if place := place_of(count, by):
            return place
        _refuse_unblinded(count.case, by)
        if count.first_reader_id and count.second_reader_id:
            raise Refused(gettext("This reference count already has two other readers."), code="wrong_state")
        place = 1 if count.first_reader_id is None else 2
        setattr(count, "second_reader" if place == 2 else "first_reader", by)
        count.save()
        record("reference.read", actor=by, obj=count, case=count.case, changes={"reader": place})
    return place


def give_place_back(count: ReferenceCount, *, by: User) -> None:
    """Free the place of a reader who has read none of its cells."""
    with transaction.atomic():
        Case.objects.locked(count.case_id)
        count = ReferenceCount.objects.get(pk=count.pk)
        place = place_of(count, by)
        if place is None:
            raise Refused(gettext("You are not a reader of this reference count."), code="wrong_state")
        if count.readings.filter(place=place).exclude(code="").exists():
            raise Refused(
                gettext("You have already read cells: a place that was started cannot be given up."), code="wrong_state"
            )
        setattr(count, "second_reader" if place == 2 else "first_reader", None)
        count.save()
        record("reference.leave", actor=by, obj=count, case=count.case, changes={"reader": place})


def next_reading(count: ReferenceCount, place: int) -> tuple[Reading | None, int, int]:
    """The next cell for a reader, how many are read, and of how many; the cell is None at the end."""
    readings = Reading.objects.filter(count=count, place=place)
    reading = readings.filter(code="").select_related("cell").first()
    return reading, readings.exclude(code="").count(), readings.count()


def read_cell(reading: Reading, code: str, *, by: User) -> None:
    """Write what a reader sees; a cell is read once, and only by the reader it was dealt to."""
    count = reading.count
    if code not in LABELS:
        raise Refused(gettext("This is no cell type. Choose one of the buttons."))
    reader_id = count.first_reader_id if reading.place == 1 else count.second_reader_id
    if reader_id != by.pk:
        raise Refused(gettext("This cell is assigned to the other reader."), code="wrong_state")
    _refuse_unblinded(count.case, by)
    with transaction.atomic():
        if not Reading.objects.filter(pk=reading.pk, code="").update(code=code, read_at=timezone.now()):
            raise Refused(gettext("This cell has already been read."), code="wrong_state")
        if not count.readings.filter(place=reading.place, code="").exists():
            _deal_more(count, reading.place)
        if not count.readings.filter(place=reading.place, code="").exists():
            record("reference.finish", actor=by, obj=count, case=count.case, changes={"reader": reading.place})


def cancel_reference(count: ReferenceCount, *, by: User, reason: str) -> None:
    """End a reference count that will not be finished; what was read goes to the audit with the reason."""
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can cancel a reference count."), code="not_allowed")
    reason = checked_reason(reason, gettext("Enter why the reference count is cancelled."))
    with transaction.atomic():
        case = Case.objects.locked(count.case_id)
        if case.state not in (TO_REVIEW, TO_SIGN, AMENDING):
            raise Refused(gettext("This case is closed: its reference count stays as it is."), code="case_closed")
        read = count.readings.exclude(code="").values_list("cell_id", "place", "code")
        changes = {"reason": reason, "readings": [list(entry) for entry in read]}
        key = count.pk
        count.readings.all().delete()
        count.delete()
        count.pk = key
        record("reference.cancel", actor=by, obj=count, case=case, changes=changes)


def unread(case: Case) -> int:
    """Return how many cells of an unfinished reference count are still to be read; 0 where none is open."""
    count = ReferenceCount.objects.filter(case=case).first()
    return 0 if count is None or is_finished(count) else count.readings.filter(code="").count() or 1


def is_finished(count: ReferenceCount) -> bool:
    """Whether both readers have read all their cells: only then anybody sees what they read."""
    return bool(count.first_reader_id and count.second_reader_id) and not count.readings.filter(code="").exists()


def disagreements(count: ReferenceCount) -> list[tuple[Reading, Reading]]:
    """The cells that both readers read and called differently: (the owner's reading, the second look)."""
    return [(own, second) for own, second in _pairs(count) if own.code != second.code]


def settle(count: ReferenceCount, cell_id: int, code: str, *, by: User) -> None:
    """Write what a disagreed cell is. Before: both readers have finished. After: the merged count uses this."""
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can settle a disagreement."), code="not_allowed")
    with transaction.atomic():
        case = Case.objects.locked(count.case_id)
        if case.state not in (TO_REVIEW, TO_SIGN, AMENDING):
            raise Refused(gettext("This case is closed: its reference count stays as it is."), code="case_closed")
        if not is_finished(count):
            raise Refused(gettext("Both readers must have finished first."), code="wrong_state")
        own = next((own for own, _ in disagreements(count) if own.cell_id == cell_id), None)
        if own is None or code not in LABELS:
            raise Refused(gettext("The readers do not disagree on this cell, or this is no cell type."))
        own.settled_code, own.settled_by, own.settled_at = code, by, timezone.now()
        own.save()
        record("reference.settle", actor=by, obj=count, case=count.case, changes={"cell": cell_id, "code": code})


@dataclass(frozen=True)
class Result:
    """The two counts, the merged one, kappa on the cells read twice, and the disagreements."""

    first: Differential
    second: Differential
    merged: Differential
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    read_twice: int
    disagreements: list[tuple[Reading, Reading]]


def result_of(count: ReferenceCount) -> Result:
    """Return what both readers found."""
    readings = list(count.readings.select_related("cell"))
    own = [r for r in readings if not r.is_second_look]
    pairs = _pairs(count)
    called = [(one.code, two.code) if one.place == 1 else (two.code, one.code) for one, two in pairs]
    return Result(
        first=_counted(count.case, [r.code for r in own if r.place == 1]),
        second=_counted(count.case, [r.code for r in own if r.place == 2]),
        merged=_counted(count.case, [r.settled_code or r.code for r in own]),
        kappa=cohen_kappa(called),
        kappa_interval=kappa_interval(called),
        read_twice=len(pairs),
        disagreements=[(one, two) for one, two in pairs if one.code != two.code],
    )


def reference_section(case: Case) -> ReferencePart | None:
    """What a report says of the case's reference count; None while there is none that is finished and settled."""
    count = ReferenceCount.objects.filter(case=case).select_related("first_reader", "second_reader").first()
    if count is None or not is_finished(count):
        return None
    result = result_of(count)
    low, high = result.kappa_interval or (None, None)
    readers = {1: count.first_reader.username, 2: count.second_reader.username}
    return {
        "readers": [count.first_reader.printed_name, count.second_reader.printed_name],
        "differential": result.merged.as_dict(),
        "kappa": None if result.kappa is None else round(result.kappa, 4),
        "kappa_low": None if low is None else round(low, 4),
        "kappa_high": None if high is None else round(high, 4),
        "read_twice": result.read_twice,
        "disagreements": len(result.disagreements),
        "open": sum(not own.settled_code for own, _ in result.disagreements),
        "readings": [
            {
                "cell": reading.cell_id,
                "by": readers[reading.place],
                "is_second_look": reading.is_second_look,
                "code": reading.code,
                "at": sealed_time(reading.read_at),
                "settled_code": reading.settled_code,
                "settled_by": reading.settled_by.username if reading.settled_by else "",
            }
            for reading in count.readings.select_related("settled_by").order_by("pk")
        ],
    }


def _counted(case: Case, codes: Iterable[str]) -> Differential:
    rules = rules_of(current_policy(case.laboratory))
    return count_differential(Counter(codes), rules, wbc=wbc_of(case), age=age_of(case), sex=case.patient.person.sex)


def _pairs(count: ReferenceCount) -> list[tuple[Reading, Reading]]:
    """The cells read by both: (the owner's reading, the second look)."""
    readings = list(count.readings.select_related("cell", "settled_by"))
    own = {r.cell_id: r for r in readings if not r.is_second_look}
    return [(own[r.cell_id], r) for r in readings if r.is_second_look and r.code and own[r.cell_id].code]
