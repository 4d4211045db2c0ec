"""What the readers of the demonstration do once the detector has read its cases: review, hand over, sign, amend.

They use the same services as everybody. They know the type of the cell in the middle of a view, which stands in the
name that its source gave it; any other cell they confirm as the detector typed it.
"""

import logging

from django.db import transaction

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import PATHOLOGIST, TECHNOLOGIST
from leukoweb.analysis.models import Cell, Run
from leukoweb.cases.models import TO_REVIEW, Case
from leukoweb.ops.demo import DEMO_LABORATORY, LEFT_SHIFT, NORMAL, password_file
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import current_cells, relabel_cell
from leukoweb.review.models import Decision
from leukoweb.review.reports.signing import (
    MEANINGS,
    acknowledge_flag,
    amend_report,
    draft_of,
    edit_draft,
    hand_over,
    sign_report,
)
from leukoweb.review.services import count_case

# The first part of a file's name in PBC, which is the type that the laboratory of its source gave the cell.
TYPES = {
    "BA": "BAS", "BNE": "NGB", "EO": "EOS", "ERB": "EBO", "LY": "LYT", "MMY": "MMZ", "MO": "MON", "MY": "MYB",
    "PMY": "PMO", "SNE": "NGS",
}  # fmt: skip
STAGES = ("MYB", "MMZ", "NGB", "NGS")  # of maturation, where readers disagree most
OVERLOOKED = 3  # cells of the signed case, one stage off, that its first reading leaves to the amendment
COMMENT = "Left shift: bands, metamyelocytes and myelocytes. A composition for demonstration, no patient's blood."
AMENDMENT = "A second reading changed some neutrophils or their precursors by one stage."

log = logging.getLogger(__name__)


def unread_cases() -> list[Case]:
    """Return the demo cases that the readers of the demonstration have still to read, and nobody else has begun."""
    numbers = [plan.accession_number for plan in (NORMAL, LEFT_SHIFT)]
    begun = Decision.objects.values("cell__run__slide__case")
    cases = Case.objects.filter(is_demonstration=True, accession_number__in=numbers, hand_overs=None, reports=None)
    return list(cases.filter(rejected_at=None).exclude(pk__in=begun).order_by("pk"))


def read_cases() -> bool:
    """Read what the detector has finished; False while it is still at work on a case."""
    is_finished = True
    for case in unread_cases():
        runs = Run.objects.filter(slide__case=case, is_shadow=False)
        if runs.filter(state__in=(Run.State.QUEUED, Run.State.RUNNING)).exists():
            is_finished = False
            continue
        try:
            with transaction.atomic():
                # In the order of every signature, so that none waits for us while we wait for it.
                Laboratory.objects.select_for_update(no_key=True).get(pk=case.laboratory_id)
                _read(Case.objects.locked(case.pk))
        except Refused as reason:  # a visitor came first, or changed a password: the case is the visitor's
            log.warning("demo case %s was left as it is: %s", case.accession_number, reason)
    return is_finished


def _read(case: Case) -> None:
    if case.state != TO_REVIEW:
        return
    technologist, pathologist = (
        User.objects.get(username=name, laboratory__name=DEMO_LABORATORY) for name in (TECHNOLOGIST, PATHOLOGIST)
    )
    is_signed = case.accession_number == LEFT_SHIFT.accession_number
    cells = list(current_cells(case).exclude(code="").select_related("image").order_by("pk"))
    true = _true_codes(cells)
    overlooked = [cell for cell in cells if _is_one_stage_off(cell.code, true[cell.pk])][: OVERLOOKED * is_signed]
    for cell in cells:
        relabel_cell(cell, to=cell.code if cell in overlooked else true[cell.pk], by=technologist)
    hand_over(case, by=technologist)
    if is_signed:
        _sign(case, by=pathologist)
        amend_report(case.reports.get(), by=pathologist, reason=AMENDMENT)
        for cell in overlooked:
            relabel_cell(cell, to=true[cell.pk], by=pathologist, reason="Second reading.")
        _sign(case, by=pathologist)


def _true_codes(cells: list[Cell]) -> dict[int, str]:
    """Return the type of each cell: of the middle one of a view by the file's name, of any other the detector's."""
    middle: dict[int, Cell] = {}
    for cell in cells:
        best = middle.get(cell.image_id)
        if best is None or _off_centre(cell) < _off_centre(best):
            middle[cell.image_id] = cell
    named = {cell.pk: TYPES.get(cell.image.name.partition("_")[0], "") for cell in middle.values()}
    return {cell.pk: named.get(cell.pk) or cell.detector_code for cell in cells}


def _is_one_stage_off(code: str, true_code: str) -> bool:
    """Say whether two types are neighbours in the maturation of neutrophils."""
    return {code, true_code} <= {*STAGES} and abs(STAGES.index(code) - STAGES.index(true_code)) == 1


def _off_centre(cell: Cell) -> float:
    """The distance of a cell from the middle of its picture, squared, in px."""
    x, y = cell.x1 + cell.x2 - cell.image.width_px, cell.y1 + cell.y2 - cell.image.height_px
    return (x * x + y * y) / 4


def _sign(case: Case, *, by: User) -> None:
    for flag in count_case(case).flags:
        if flag.is_urgent:
            acknowledge_flag(case, flag.key, by=by)
    report = draft_of(case, by=by)
    lya_meaning = "variant" if count_case(case).counts["LYA"] else None
    edit_draft(report, by=by, comment=COMMENT, lya_meaning=lya_meaning)
    sign_report(report, by=by, password=password_file().read_text(), meaning=MEANINGS[0])
