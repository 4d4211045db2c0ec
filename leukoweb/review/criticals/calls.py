"""What people do with a critical result: give a receipt, write down a call, close it; each writes one line of its log.

Only a call whose value was read back closes it without a reason. A receipt never closes it, whoever gives it.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import SIGNED, Case
from leukoweb.refusals import Refused
from leukoweb.review.criticals.detection import facts_now, look_at_other_cases
from leukoweb.review.criticals.models import Critical, CriticalEntry
from leukoweb.review.services import count_case
from leukoweb.review.urgency import keep_flags
from leukoweb.texts import checked_reason

Kind = CriticalEntry.Kind
CLOCK = timedelta(minutes=1)  # a time is typed in whole minutes


def give_receipt(critical: Critical, *, by: User) -> CriticalEntry:
    """Write that the bench or a pathologist has seen it; the first receipt of each kind is kept."""
    if not by.can("relabel_cell"):
        raise Refused(_("Your role cannot acknowledge critical results."), code="not_allowed")
    kind = str(Kind.PATHOLOGIST if by.can("sign_report") else Kind.BENCH)
    with transaction.atomic():
        critical = _locked(critical, by)
        if known := next(iter(critical.of_kind(kind)), None):
            return known
        if not critical.is_open:
            raise Refused(_("This critical result is closed. Load the page again."), code="wrong_state")
        entry = CriticalEntry.objects.create(critical=critical, kind=kind, by=by)
        record("critical.receipt", actor=by, obj=critical, case=critical.case, changes={"receipt": kind})
    return entry


def receipts_with_flag(case: Case, codes: tuple[str, ...], *, by: User) -> None:
    """Give the receipts of the open critical results whose cells are those of an acknowledged flag: one act sees both.

    Before: the case is locked.
    """
    for critical in Critical.objects.filter(case=case).open().with_log():
        if critical.fact["codes"] and set(critical.fact["codes"]) <= set(codes):
            give_receipt(critical, by=by)


def record_call(
    critical: Critical,
    *,
    by: User,
    told_to: str,
    told_role: str,
    how: str,
    is_reached: bool,
    is_read_back: bool = False,
    told_at: datetime | None = None,
) -> CriticalEntry:
    """Write down a call or message: to whom, how, whether the person was reached and read the value back.

    Calls are written also after the signature and after closing; the sealed report keeps those that it was signed with.
    """
    told_to, told_role, told_at = " ".join(told_to.split()), " ".join(told_role.split()), told_at or timezone.now()
    if not by.can("tell_critical"):
        raise Refused(_("Your role cannot record calls."), code="not_allowed")
    problems = {
        "told_to": "" if told_to else _("Enter the name of the person who was called."),
        "told_role": "" if told_role else _("Enter the role of the person, such as ward physician."),
        "how": "" if how in CriticalEntry.How.values else _("Choose how the person was told."),
        "is_read_back": _("Nobody was reached, so nobody can have read the value back.")
        if is_read_back and not is_reached
        else "",
    }
    problems |= {
        name: _("Write at most %(most)d characters.") % {"most": most}
        for name, text, most in (("told_to", told_to, 200), ("told_role", told_role, 100))
        if len(text) > most
    }
    if told_at > timezone.now() + CLOCK:
        problems["told_at"] = _("This time has not come yet.")
    elif told_at + CLOCK <= critical.detected_at:
        problems["told_at"] = _("The value was not known then: it was detected at %(at)s.") % {
            "at": timezone.localtime(critical.detected_at).strftime("%Y-%m-%d %H:%M")
        }  # fmt: skip
    if problems := {name: sentence for name, sentence in problems.items() if sentence}:
        raise Refused(" ".join(problems.values()), fields=problems)
    with transaction.atomic():
        critical = _locked(critical, by)
        if _is_unconfirmed(critical):
            raise Refused(
                _("No person has confirmed a cell of this result yet. Review its cells before you call."),
                code="wrong_state",
            )
        entry = CriticalEntry.objects.create(
            critical=critical, kind=Kind.CALL, by=by, told_to=told_to, told_role=told_role, how=how,
            is_reached=is_reached, is_read_back=is_read_back, told_at=max(told_at, critical.detected_at),
        )  # fmt: skip
        record(
            "critical.call", actor=by, obj=critical, case=critical.case,
            changes={"to": told_to, "role": told_role, "how": how, "reached": is_reached, "read_back": is_read_back,
                     "minutes": entry.minutes},
        )  # fmt: skip
    return entry


def close_critical(critical: Critical, *, by: User, reason: str = "") -> CriticalEntry:
    """Close a critical result that was told and read back; a pathologist closes it without that, with a reason."""
    if not by.can("tell_critical"):
        raise Refused(_("Your role cannot close critical results."), code="not_allowed")
    reason = checked_reason(reason)
    with transaction.atomic():
        critical = _locked(critical, by)
        if not critical.is_open:
            raise Refused(_("This critical result is closed already."), code="wrong_state")
        if not critical.is_read_back:
            if not by.can("sign_report"):
                raise Refused(
                    _("No call with read-back is recorded. Record the call, or ask a pathologist to close it."),
                    code="not_allowed",
                )
            if not reason:
                raise Refused(_("No call with read-back is recorded: enter why you close it without."), "reason")
        entry = CriticalEntry.objects.create(critical=critical, kind=Kind.CLOSED, by=by, reason=reason)
        keep_flags(critical.case)
        if critical.told is None:
            look_at_other_cases(critical)
        record("critical.close", actor=by, obj=critical, case=critical.case,
               changes={"reason": reason, "read_back": critical.is_read_back})  # fmt: skip
    return entry


def _locked(critical: Critical, by: User) -> Critical:
    """Lock the case and return the critical result with its log; another laboratory's is refused."""
    case = Case.objects.locked(critical.case_id)
    if case.laboratory_id != by.laboratory_id:
        raise Refused(_("This case belongs to another laboratory."), code="not_allowed")
    critical = Critical.objects.with_log().get(pk=critical.pk)
    critical.case = case
    return critical


def _is_unconfirmed(critical: Critical) -> bool:
    """Say whether the value still comes from the detector alone; a signature confirms what it covers."""
    if critical.case.state == SIGNED or not critical.fact["codes"]:
        return False
    _version, facts = facts_now([critical.case], {critical.case_id: count_case(critical.case)})[critical.case_id]
    return any(fact.key == critical.key and fact.is_machine_only for fact in facts)
