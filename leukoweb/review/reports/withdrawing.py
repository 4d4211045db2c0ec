"""Take back what was signed or opened: withdraw a report, or close an amendment that was opened by mistake (S12).

Both ask for a reason and are audited; a signed report itself is never changed.
"""

import uuid

from django.db import transaction
from django.utils.translation import gettext

from detection.cell_types import NOT_A_CELL
from leukoweb.accounts.lockout import confirm_password
from leukoweb.accounts.models import User
from leukoweb.analysis.set_aside import leave_out
from leukoweb.audit.services import record
from leukoweb.cases.models import AMENDING, SIGNED, Case, Slide
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.criticals.detection import keep_criticals
from leukoweb.review.findings.marking import put_findings_back
from leukoweb.review.models import Decision, Report, Withdrawal
from leukoweb.review.reports.changes import PATIENT, SPECIMEN
from leukoweb.review.reports.content import patient_of, specimen_of
from leukoweb.review.reports.parts import CellPart, is_same
from leukoweb.review.services import count_cases
from leukoweb.texts import MOST_REASON, checked_reason


def withdraw_report(report: Report, *, by: User, password: str, reason: str) -> Withdrawal:
    """Say of a signed report that it no longer holds. Before: it is in force. After: the case is WITHDRAWN."""
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can withdraw a report."), code="not_allowed")
    reason = checked_reason(reason, gettext("Write why the report is withdrawn; the reason is printed on it."))
    if not confirm_password(by, password):
        raise Refused(gettext("The password is wrong. Nothing was withdrawn."), code="wrong_password")
    with transaction.atomic():
        case = Case.objects.locked(report.case_id)
        report = Report.objects.get(pk=report.pk)
        newest = Report.objects.filter(case=case).order_by("-version").first()
        if case.state != SIGNED or report.pk != newest.pk:
            raise Refused(
                gettext(
                    "Only the signed report that is in force is withdrawn: there is a newer version, an open amendment "
                    "or an earlier withdrawal."
                ),
                code="wrong_state",
            )
        withdrawal = Withdrawal.objects.create(report=report, reason=reason, withdrawn_by=by)
        record("report.withdraw", actor=by, obj=report, case=case,
               changes={"version": report.version, "reason": reason, "seal": report.seal})  # fmt: skip
    return withdrawal


def cancel_amendment(draft: Report, *, by: User, reason: str) -> Report:
    """Close an amendment that was opened by mistake; return the signed report that is in force again.

    Before: AMENDING, and neither patient nor specimen was changed since. After: SIGNED; every cell has the label that
    was signed, slides that came since are set aside, the draft is gone and its words are in the audit.
    """
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can withdraw an amendment."), code="not_allowed")
    reason = checked_reason(reason, gettext("Write why the amendment is withdrawn; the reason is kept in the audit."))
    with transaction.atomic():
        case = Case.objects.locked(draft.case_id)
        draft = Report.objects.select_related("amends").filter(pk=draft.pk, state=Report.State.DRAFT).first()
        if case.state != AMENDING or draft is None or draft.amends is None:
            raise Refused(gettext("There is no open amendment to withdraw."), code="wrong_state")
        signed = draft.amends
        _refuse_changed_case(case, signed)
        _put_slides_back(case, signed, by=by, reason=reason)
        cells = _put_labels_back(case, signed, by=by)
        put_findings_back(case, signed, by=by)
        changes = {
            "version": draft.version, "reason": reason, "amendment_reason": draft.amendment_reason,
            "interpretation": draft.interpretation, "comment": draft.comment, "cells": cells,
        }  # fmt: skip
        draft.delete()
        keep_criticals([case], count_cases([case]))  # what is in force again may be critical again
        record("report.cancel_amendment", actor=by, obj=signed, case=case, changes=changes)
    return signed


def _refuse_changed_case(case: Case, signed: Report) -> None:
    """Refuse where patient or specimen no longer are what was signed."""
    now = {"patient": patient_of(case), "specimen": specimen_of(case)}
    for section, names in (("patient", PATIENT), ("specimen", SPECIMEN)):
        for name, what in names.items():
            if name in signed.content[section] and not is_same(signed.content[section][name], now[section].get(name)):
                raise Refused(
                    gettext(
                        "%(what)s was changed since version %(version)s was signed: change it back first, or sign "
                        "the amendment."
                    )
                    % {"what": what, "version": signed.version},
                    code="wrong_state",
                )


def _put_slides_back(case: Case, signed: Report, *, by: User, reason: str) -> None:
    """Set aside what came since the signature; refuse where a signed slide is missing."""
    signed_slides = {image["slide"] for image in signed.content["images"]}
    counted = Slide.objects.filter(case=case, set_aside_at=None)
    if signed_slides - set(counted.values_list("pk", flat=True)):
        raise Refused(gettext("A slide of the signed report is set aside: include it in the case first."),
                      code="wrong_state")  # fmt: skip
    for slide in counted.exclude(pk__in=signed_slides).select_related("case"):
        leave_out(slide, by=by, reason=f"Amendment withdrawn: {reason}"[:MOST_REASON])


def _put_labels_back(case: Case, signed: Report, *, by: User) -> list[list]:
    """Give each cell the label that was signed, in one step; return [cell, from, to] of those that differed."""
    was = {cell["id"]: cell for cell in signed.content["cells"]}
    now = list(current_cells(case))
    if set(was) - {cell.pk for cell in now}:
        raise Refused(
            gettext("A slide was read again since the signature: sign the amendment instead."), code="wrong_state"
        )
    step, decisions = uuid.uuid4(), []
    for cell in now:
        to = _signed_label(was.get(cell.pk))
        if cell.code != (to or cell.detector_code):
            decisions.append(
                Decision(cell=cell, from_code=cell.code, to_code=to, reason="Amendment withdrawn.", decided_by=by,
                         step=step)
            )  # fmt: skip
    Decision.objects.bulk_create(decisions, batch_size=500)
    return [[decision.cell_id, decision.from_code, decision.to_code] for decision in decisions]


def _signed_label(cell: CellPart | None) -> str:
    """The decision that gives a cell its signed label: "" for the detector's own, NOT for one added since."""
    if cell is None:
        return NOT_A_CELL
    return cell["decisions"][-1]["to"] if cell["decisions"] else ""
