"""The services by which people mark findings: mark and undo; each writes rows and one audit event.

The case is locked first: nothing is marked while its report is signed. A row is never changed; what is taken back is a
new row with an empty value.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import REJECTED, SIGNED, WITHDRAWN, Case, SlideImage
from leukoweb.refusals import Refused
from leukoweb.review.findings.state import last_findings
from leukoweb.review.findings.table import (
    GROUPS,
    ITEMS,
    NORMAL,
    NOT_EXAMINED,
    Group,
    is_abnormal,
    items_of,
    values_of,
)
from leukoweb.review.models import Finding, Report
from leukoweb.review.urgency import keep_flags

MOST_NOTE, MOST_EXAMINED, MOST_PICTURES, LEAST_PICTURE_PX = 200, 1_000_000, 3, 8


@dataclass(frozen=True)
class Mark:
    """One finding or group as a person marks it; an empty value takes it back.

    `pictures` are boxes [image, x1, y1, x2, y2] on images of the case.
    `counted` of `examined` only where the table says among what. `seen` is the last row that was shown (0: none).
    """

    key: str
    value: str
    counted: int | None = None
    examined: int | None = None
    note: str = ""
    pictures: list[list[int]] = field(default_factory=list)
    seen: int | None = None

    def is_as(self, row: Finding | None) -> bool:
        """Say whether a row says the same."""
        said = (self.value, self.counted, self.examined, self.note, self.pictures)
        return (row.said if row else ("", None, None, "", [])) == said


def mark_findings(case: Case, marks: Sequence[Mark], *, by: User, step: UUID | None = None) -> list[Finding]:
    """Mark findings in one step that is undone as one; all or none. What is marked so already is not written again.

    A `step` that is stored already is returned, not made again. Before: the case is not signed.
    """
    for mark in marks:
        _refuse_wrong(mark)
    keys = [mark.key for mark in marks]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise Refused(gettext("%(name)s is marked twice. Send one grade for it.") % {"name": _name(twice)}, "findings")
    with transaction.atomic():
        case = _lock(case, by)
        if made := _made(step, by, case):
            return made
        _refuse_wrong_pictures(case, marks)
        last = last_findings(case)
        _refuse_unseen([mark.key for mark in marks if _is_newer(mark, last.get(mark.key))])
        new = [mark for mark in marks if not mark.is_as(last.get(mark.key))]
        _refuse_contradiction({key: row.value for key, row in last.items()} | {m.key: m.value for m in new})
        rows = [
            Finding(case=case, key=m.key, value=m.value, counted=m.counted, examined=m.examined, note=m.note,
                    pictures=m.pictures)
            for m in new
        ]  # fmt: skip
        return _write(rows, last, "finding.mark", step, by, case)


def undo_findings(case: Case, *, by: User, step: UUID | None = None) -> list[Finding]:
    """Take back this reader's last step that is not undone yet, as new rows; [] when there is none."""
    with transaction.atomic():
        case = _lock(case, by)
        if made := _made(step, by, case):
            return made
        rows = list(Finding.objects.filter(case=case).order_by("pk"))
        undone = {row.undoes_id for row in rows}
        own = [r for r in rows if r.marked_by_id == by.pk and r.undoes_id is None and r.pk not in undone]
        of_step = [row for row in own if row.step == own[-1].step] if own else []
        last = {row.key: row for row in rows}
        _refuse_unseen([row.key for row in of_step if last[row.key].marked_by_id != by.pk])
        new = []
        for row in of_step:
            before = next((r for r in reversed(rows) if r.key == row.key and r.pk < row.pk), None)
            new.append(_again(before, case, row.key, undoes=row))
        _refuse_contradiction({key: row.value for key, row in last.items()} | {row.key: row.value for row in new})
        return _write(new, last, "finding.undo", step, by, case) if new else []


def put_findings_back(case: Case, signed: Report, *, by: User) -> None:
    """Mark again what was signed; called under the case's lock when an amendment is withdrawn."""
    step, new = uuid.uuid4(), []
    then = last_findings(case, until=signed.signed_at)
    for key, row in last_findings(case).items():
        was = _again(then.get(key), case, key)
        if row.said != was.said:
            was.marked_by, was.step = by, step
            new.append(was)
    Finding.objects.bulk_create(new)


def _again(row: Finding | None, case: Case, key: str, *, undoes: Finding | None = None) -> Finding:
    """Return a new row that says what an older one said; of none, that nothing is marked."""
    if row is None:
        return Finding(case=case, key=key, value="", undoes=undoes)
    return Finding(
        case=case, key=key, value=row.value, counted=row.counted, examined=row.examined, note=row.note,
        pictures=row.pictures, undoes=undoes,
    )  # fmt: skip


def _write(
    rows: list[Finding], last: dict[str, Finding], action: str, step: UUID | None, by: User, case: Case
) -> list[Finding]:
    if not rows:
        return []
    step = step or uuid.uuid4()
    for row in rows:
        row.marked_by, row.step = by, step
    made = Finding.objects.bulk_create(rows)
    changes = [[row.key, last[row.key].value if row.key in last else "", row.value, *_further(row)] for row in made]
    keep_flags(case)
    record(action, actor=by, obj=case, case=case, changes={"findings": changes})
    return made


def _further(row: Finding) -> list[str]:
    """Return count and note of a row, as far as they are there."""
    count = f"{row.counted} of {row.examined}" if row.examined else ""
    pictures = f"{len(row.pictures)} pictures" if row.pictures else ""
    return [text for text in (count, row.note, pictures) if text]


def _made(step: UUID | None, by: User, case: Case) -> list[Finding]:
    """Return the rows stored under a step, read under the case's lock; a request that is sent twice makes them once."""
    return list(Finding.objects.filter(case=case, marked_by=by, step=step).order_by("pk")) if step else []


def _lock(case: Case, by: User) -> Case:
    if not by.can("relabel_cell"):
        raise Refused(gettext("Your role cannot mark findings."), code="not_allowed")
    case = Case.objects.locked(case.pk)
    if case.laboratory_id != by.laboratory_id:
        raise Refused(
            gettext("This case belongs to another laboratory: its findings are read-only."), code="not_allowed"
        )
    if case.state in (SIGNED, WITHDRAWN):
        raise Refused(
            gettext("The report of this case is signed: open an amendment to change the findings."), code="case_closed"
        )
    if case.state == REJECTED:
        raise Refused(gettext("This specimen was rejected: no findings are marked."), code="case_closed")
    return case


def _is_newer(mark: Mark, row: Finding | None) -> bool:
    return mark.seen is not None and (row.pk if row else 0) != mark.seen


def _refuse_unseen(keys: list[str]) -> None:
    if keys:
        raise Refused(
            gettext("Another reader has marked %(name)s since it was shown to you. Nothing was changed; look again.")
            % {"name": _name(keys[0])},
            code="changed_since",
        )


def _refuse_wrong(mark: Mark) -> None:
    """Refuse a mark that the table does not have."""
    if mark.key not in ITEMS and mark.key not in GROUPS:
        raise Refused(gettext("“%(key)s” is no finding.") % {"key": mark.key[:40]}, "findings")
    values = values_of(mark.key)
    if mark.value and mark.value not in values:
        raise Refused(
            gettext("%(name)s cannot be “%(value)s”. Choose one of: %(values)s.")
            % {
                "name": _name(mark.key),
                "value": mark.value[:20],
                "values": ", ".join(f"{value} ({words})" for value, words in values.items()),
            },
            "findings",
        )
    if len(mark.note) > MOST_NOTE:
        raise Refused(
            gettext("The note has %(n)s characters: write at most %(most)s.")
            % {"n": len(mark.note), "most": MOST_NOTE},
            "findings",
        )
    if len(mark.pictures) > MOST_PICTURES:
        raise Refused(
            gettext("%(name)s: at most %(most)s pictures.") % {"name": _name(mark.key), "most": MOST_PICTURES},
            "findings",
        )
    if (mark.note or mark.pictures or mark.counted is not None or mark.examined is not None) and not mark.value:
        raise Refused(
            gettext("%(name)s has a note or a count, but no grade. Grade it first.") % {"name": _name(mark.key)},
            "findings",
        )
    _refuse_wrong_count(mark)


def _refuse_wrong_count(mark: Mark) -> None:
    """Refuse a count that cannot be: without its total, above it, of a finding that is graded only."""
    if mark.counted is None and mark.examined is None:
        return
    item, name = ITEMS.get(mark.key), _name(mark.key)
    problem = ""
    if item is None or not item.counted_per:
        problem = gettext("%(name)s is graded, not counted.")
    elif mark.counted is None or mark.examined is None:
        problem = gettext("Enter both how many were counted and among how many cells: %(name)s.")
    elif not 0 < mark.examined <= MOST_EXAMINED:
        problem = gettext("%(name)s: the number of cells examined must be from 1 to 1,000,000.")
    elif not 0 <= mark.counted <= mark.examined:
        problem = gettext("%(name)s: more were counted than cells were examined. Check both numbers.")
    elif (mark.counted > 0) != (mark.value != "0"):
        problem = gettext("%(name)s: the count and the grade contradict each other. Correct one of them.")
    if problem:
        raise Refused(problem % {"name": name}, "findings")


def _refuse_wrong_pictures(case: Case, marks: Sequence[Mark]) -> None:
    """Refuse a picture that is not on an image of the case."""
    boxes = [(mark.key, box) for mark in marks for box in mark.pictures]
    images = SlideImage.objects.filter(slide__case=case, slide__set_aside_at=None).in_bulk([box[0] for _, box in boxes])
    for key, (pk, x1, y1, x2, y2) in boxes:
        width, height = (images[pk].width_px, images[pk].height_px) if pk in images else (0, 0)
        is_inside = min(x1, y1) >= 0 and x2 <= width and y2 <= height
        if not is_inside or min(x2 - x1, y2 - y1) < LEAST_PICTURE_PX:
            raise Refused(
                gettext("%(name)s: the picture must be a part of an image of this case.") % {"name": _name(key)},
                "findings",
            )


def _refuse_contradiction(values: dict[str, str]) -> None:
    """Refuse a group that is normal or not examined while one of its findings says otherwise."""
    for group in GROUPS.values():
        whole = values.get(group.key, "")
        said = [item for item in items_of(group.key) if values.get(item.key)]
        abnormal = [item for item in said if is_abnormal(item.key, values[item.key])]
        clash = abnormal if whole == NORMAL else said if whole == NOT_EXAMINED else []
        if clash:
            raise Refused(
                _contradiction(group, whole, clash[0].name, clash[0].values[values[clash[0].key]]),
                "findings",
                code="wrong_state",
            )


def _contradiction(group: Group, whole: str, name: str, text: str) -> str:
    return gettext(
        "%(group)s cannot be “%(whole)s” while %(name)s is “%(text)s”. Take one of the two back, then mark the other."
    ) % {"group": group.name, "whole": group.values[whole], "name": name, "text": text}


def _name(key: str) -> str:
    known = ITEMS.get(key) or GROUPS.get(key)
    return known.name if known else key
