"""The services of the signed report: draft, hand over, return, acknowledge, sign, amend; each locks the case first.

A report is DRAFT, then SIGNED for ever; a change after that is the next version with a reason.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, gettext_noop

from leukoweb.accounts.lockout import confirm_password
from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.second_factor import check_code, has_second_factor
from leukoweb.accounts.time_zone import zone_of
from leukoweb.audit.services import record
from leukoweb.cases.models import AMENDING, REJECTED, SIGNED, TO_REVIEW, TO_SIGN, WITHDRAWN, Case
from leukoweb.refusals import Refused
from leukoweb.review.criticals.calls import receipts_with_flag
from leukoweb.review.models import Acknowledgement, HandOver, Report
from leukoweb.review.reports.content import content_of, signature_of
from leukoweb.review.reports.gates import gates_of
from leukoweb.review.reports.parts import Content, Verification
from leukoweb.review.reports.release import may_release
from leukoweb.review.reports.seal import FIRST, digest, seal_of
from leukoweb.review.reports.verification import is_reviewed
from leukoweb.review.services import count_case, current_policy, rules_of, verification_of_count
from leukoweb.review.urgency import keep_flags
from leukoweb.texts import checked_reason, within

MEANINGS = (gettext_noop("Review and approval"), gettext_noop("Responsibility for the reported results"))
CLOSED = {
    SIGNED: gettext_lazy("This case is signed. Open an amendment to change its report."),
    WITHDRAWN: gettext_lazy("The report of this case is withdrawn. Open an amendment to write the next version."),
    REJECTED: gettext_lazy("This specimen was rejected: there is nothing to report."),
}
MOST_INTERPRETATION, MOST_COMMENT = 300, 10_000
# Where the policy lets cells pass that no person verified, nobody signs for their review.
MEANINGS_WITHOUT_REVIEW = (gettext_noop("Approval"), MEANINGS[1])

_SEEN = ["patient", "specimen", "cbc", "counts", "differential", "policies", "detectors", "images", "cells", "findings"]


def draft_of(case: Case, *, by: User, is_kept: bool = True) -> Report:
    """Return the open report of a case; where there is none, its first version, stored only if `is_kept`.

    Before: the case is not signed.
    """
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if case.state in CLOSED:
            raise Refused(CLOSED[case.state], code="case_closed")
        report = Report.objects.filter(case=case, state=Report.State.DRAFT).first()
        if report is None:
            report = Report(case=case, created_by=by)
        if report.pk is None and is_kept:
            report.save()
            record("report.draft", actor=by, obj=report, case=case)
        return report


def edit_draft(
    report: Report,
    *,
    by: User,
    interpretation: str | None = None,
    comment: str | None = None,
    lya_meaning: str | None = None,
    pictures: list[int] | None = None,
    smudge_as_lymphocytes: bool | None = None,
    smudge_reason: str | None = None,
) -> Report:
    """Change the words, choices and pictures of a draft; a signed report is refused."""
    if comment is not None:
        within(comment, MOST_COMMENT, "comment")
    if interpretation is not None:
        within(interpretation, MOST_INTERPRETATION, "interpretation")
    changes = {
        "interpretation": interpretation, "comment": comment, "lya_meaning": lya_meaning, "pictures": pictures,
        "smudge_as_lymphocytes": smudge_as_lymphocytes, "smudge_reason": smudge_reason,
    }  # fmt: skip
    with transaction.atomic():
        Case.objects.locked(report.case_id)
        report = Report.objects.get(pk=report.pk)
        if report.state == Report.State.SIGNED:
            raise Refused(
                gettext("This report is signed and stays as it is. Open an amendment to change it."), code="case_closed"
            )
        changed = {n: [getattr(report, n), v] for n, v in changes.items() if v is not None and v != getattr(report, n)}
        for name, (_, value) in changed.items():
            setattr(report, name, value)
        if changed:
            report.save(update_fields=list(changed))
            if changed.keys() & {"lya_meaning", "smudge_as_lymphocytes"}:
                keep_flags(report.case)
            record("report.edit", actor=by, obj=report, case=report.case, changes=changed)
    return report


def meanings_of(content: Content) -> tuple[str, ...]:
    """What a signature on this report may mean (S1): "review" only where a person verified every counted cell."""
    return MEANINGS if is_reviewed(content["verification"]) else MEANINGS_WITHOUT_REVIEW


def fingerprint(content: Content) -> str:
    """What a signer has seen of cells and figures; words and pictures are the signer's own."""
    sections: Mapping[str, Any] = content
    return digest({name: sections.get(name) for name in _SEEN})


def hand_over(case: Case, *, by: User, is_confirmed: bool = False) -> Verification:
    """Give a case to the pathologists; return how far it is verified. Before: TO_REVIEW. After: TO_SIGN.

    With no cell verified the sender must confirm it, so that nothing unseen passes silently.
    """
    if not by.can("hand_over"):
        raise Refused(gettext("Your role cannot send cases for sign-off."), code="not_allowed")
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if case.state != TO_REVIEW:
            raise Refused(gettext("Only a case in review can be sent for sign-off."), code="wrong_state")
        cells = verification_of_count(count_case(case))
        if cells["counted"] and not cells["verified"] and not is_confirmed:
            raise Refused(
                gettext(
                    "None of the %(counted)s cells is verified: nobody has reviewed this case. Review it "
                    "first, or confirm that you send it as it is."
                )
                % {"counted": cells["counted"]},
                code="wrong_state",
            )
        HandOver.objects.create(case=case, handed_over_by=by)
        record("case.hand_over", actor=by, obj=case, case=case,
               changes={"cells_verified": cells["verified"], "cells_counted": cells["counted"]})  # fmt: skip
    return cells


def take_back(case: Case, *, by: User) -> HandOver:
    """Take back a case that this person handed over. Before: TO_SIGN. After: TO_REVIEW."""
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        handed = HandOver.objects.filter(case=case, returned_at=None).first()
        if case.state != TO_SIGN or handed is None:
            raise Refused(
                gettext("This case was not sent for sign-off: there is nothing to recall."), code="wrong_state"
            )
        if handed.handed_over_by_id != by.pk:
            raise Refused(
                gettext("Only the sender can recall a case; a pathologist can return it."),
                code="not_allowed",
            )
        handed.returned_by, handed.returned_at, handed.return_reason = by, timezone.now(), "Taken back by the sender."
        handed.save()
        record("case.take_back", actor=by, obj=case, case=case)
    return handed


def return_case(case: Case, *, by: User, reason: str) -> HandOver:
    """Give a case back to whoever handed it over. Before: TO_SIGN. After: TO_REVIEW, the reason is kept."""
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can return a case."), code="not_allowed")
    reason = checked_reason(reason, gettext("Enter what the technologist needs to do."))
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if case.state != TO_SIGN:
            raise Refused(gettext("Only a case that was sent for sign-off can be returned."), code="wrong_state")
        handed = HandOver.objects.get(case=case, returned_at=None)
        handed.returned_by, handed.returned_at, handed.return_reason = by, timezone.now(), reason
        handed.save()
        record("case.return", actor=by, obj=case, case=case,
               changes={"reason": handed.return_reason, "to": handed.handed_over_by.username})  # fmt: skip
    return handed


def acknowledge_flag(case: Case, flag: str, *, by: User) -> Acknowledgement:
    """Give a receipt for an urgent flag, the pathologist's or the bench's; the first of each kind is kept.

    Only the pathologist's ends the urgency and is asked for before a signature.
    """
    if not by.can("relabel_cell"):
        raise Refused(gettext("Your role cannot acknowledge flags."), code="not_allowed")
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        flags = {f.key: f for f in count_case(case).flags if f.is_urgent}
        if flag not in flags:
            raise Refused(gettext("This flag is no longer raised. Load the page again."), code="wrong_state")
        kinds = Acknowledgement.Receipt
        receipt = kinds.PATHOLOGIST if by.can("sign_report") else kinds.BENCH
        seen, is_new = Acknowledgement.objects.get_or_create(
            case=case, flag=flag, receipt=receipt, defaults={"acknowledged_by": by}
        )
        if is_new:
            receipts_with_flag(case, flags[flag].codes, by=by)
            keep_flags(case)
            record("flag.acknowledge", actor=by, obj=case, case=case, changes={"flag": flag, "receipt": str(receipt)})
    return seen


def sign_report(
    report: Report,
    *,
    by: User,
    password: str,
    meaning: str,
    username: str | None = None,
    code: str = "",
    seen: str | None = None,
) -> Report:
    """Sign a report: freeze its content, seal it into the laboratory's chain.

    `username`, and `code` where a second factor is enrolled, are asked at the first signing of a session (S2); `seen`
    is the fingerprint of what the page showed. Refused as `locked_out` when the password was wrong too often.
    Before: DRAFT, all gates met, `by` may sign. After: SIGNED for ever, sealed.
    """
    _refuse_role(report.case, by)
    _confirm_signer(by, password, username, code)
    with transaction.atomic():
        # The laboratory's row is the lock of its chain: two signatures at once never get the same predecessor.
        laboratory = Laboratory.objects.select_for_update(no_key=True).get(pk=report.case.laboratory_id)
        case = Case.objects.locked(report.case_id)
        if case.laboratory_id != by.laboratory_id:
            raise Refused(gettext("This case belongs to another laboratory."))
        _refuse_role(case, User.objects.get(pk=by.pk))  # the role may have been taken away meanwhile
        report = Report.objects.select_related("case__patient", "case__laboratory", "amends").get(pk=report.pk)
        if report.state == Report.State.SIGNED:
            raise Refused(gettext("This report is already signed."), code="wrong_state")
        if case.state not in (TO_REVIEW, TO_SIGN, AMENDING):
            raise Refused(gettext("This case is not ready to be signed: check its slides."), code="wrong_state")
        content = content_of(report)
        if seen is not None and seen != fingerprint(content):
            raise Refused(
                gettext("The case changed since this page was shown to you. Nothing was signed; read it again."),
                code="changed_since",
            )
        if meaning not in meanings_of(content):
            raise Refused(gettext("Choose the meaning of your signature."))
        unmet = [gate.sentence for gate in gates_of(report, content, by=by) if not gate.is_met]
        if unmet:
            raise Refused(gettext("Nothing was signed. ") + " ".join(unmet), code="wrong_state")
        last = (
            Report.objects.filter(case__laboratory=laboratory, state=Report.State.SIGNED).order_by("-sequence").first()
        )
        report.signed_by, report.signed_at, report.signature_meaning = by, timezone.now(), meaning
        content["signature"] = signature_of(by, meaning, timezone.localtime(report.signed_at, zone_of(laboratory)))
        report.content = content
        report.sequence = last.sequence + 1 if last else 1
        report.previous_seal = last.seal if last else FIRST
        report.seal = seal_of(content, sequence=report.sequence, previous_seal=report.previous_seal)
        report.state = Report.State.SIGNED
        report.save()
        record("report.sign", actor=by, obj=report, case=case,
               changes={"version": report.version, "meaning": meaning, "seal": report.seal})  # fmt: skip
    return report


def amend_report(report: Report, *, by: User, reason: str) -> Report:
    """Open the next version of a signed report; the signed one stays readable for ever (S9)."""
    if not by.can("sign_report"):
        raise Refused(gettext("Only a pathologist can amend a report."), code="not_allowed")
    reason = checked_reason(
        reason, gettext("Write why the report must be amended; the reason is printed on the new version.")
    )
    with transaction.atomic():
        case = Case.objects.locked(report.case_id)
        report = Report.objects.get(pk=report.pk)
        if report.state != Report.State.SIGNED:
            raise Refused(gettext("This report is not signed yet: edit the draft."), code="wrong_state")
        if Report.objects.filter(case=case, version__gt=report.version).exists():
            raise Refused(
                gettext("There is already a newer version of this report. Amend that one."), code="wrong_state"
            )
        new = Report.objects.create(
            case=case, version=report.version + 1, amends=report, amendment_reason=reason, created_by=by,
            interpretation=report.interpretation, comment=report.comment, lya_meaning=report.lya_meaning,
            pictures=report.pictures, smudge_as_lymphocytes=report.smudge_as_lymphocytes,
            smudge_reason=report.smudge_reason,
        )  # fmt: skip
        keep_flags(case)
        record("report.amend", actor=by, obj=new, case=case,
               changes={"version": [report.version, new.version], "reason": new.amendment_reason})  # fmt: skip
    return new


def _refuse_role(case: Case, by: User) -> None:
    """Refuse a role that may not release reports under the laboratory's rules."""
    if not may_release(by, rules_of(current_policy(case.laboratory_id))):
        raise Refused(gettext("Only a pathologist can sign."), code="not_allowed")


def _confirm_signer(by: User, password: str, username: str | None, code: str) -> None:
    """Refuse anybody but the person who is signed in; outside of the transaction, so that a failure is counted (S6)."""
    if username is not None and username.strip() != by.username:
        raise Refused(gettext("This is not your user name: nobody can sign for another person."))
    if not confirm_password(by, password):
        raise Refused(gettext("The password is wrong. Nothing was signed."), code="wrong_password")
    if username is not None and has_second_factor(by) and not check_code(by, code):
        raise Refused(
            gettext("The code of your authenticator app is wrong or was used already. Nothing was signed."),
            code="wrong_password",
        )
