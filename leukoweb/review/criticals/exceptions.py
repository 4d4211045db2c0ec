"""Except a patient from being told of certain critical results until a day, and end that; what is covered is detected.

An exception covers what is detected while it holds. What was open before it stays open, to be told or closed.
"""

from datetime import date, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.time_zone import today_of
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Patient
from leukoweb.refusals import Refused
from leukoweb.review.criticals.detection import current_critical_policy
from leukoweb.review.criticals.models import CriticalException
from leukoweb.review.criticals.policies import values_of
from leukoweb.review.criticals.rules import CriticalRule
from leukoweb.sentences import translated
from leukoweb.texts import checked_reason


def rows_with_exceptions(laboratory: Laboratory | None) -> list[CriticalRule]:
    """Return the rows of a laboratory's rules in force that a patient may be excepted from."""
    rules = values_of(current_critical_policy(laboratory))["rules"] if laboratory else []
    return [row for row in rules if row["may_except"]]


def set_exception(patient: Patient, *, limits: list[str], until: date, reason: str, by: User) -> CriticalException:
    """Let critical results of some limits of a person be covered up to and with a day.

    Before: the rows of the limits allow it, and no exception of the person covers one of them. After: in force.
    """
    _refuse_role(by, patient)
    reason = checked_reason(reason, _("Enter why these results need not be notified, such as the known disease."))
    laboratory = patient.laboratory
    allowed = {row["key"]: row["title"] for row in rows_with_exceptions(laboratory)}
    if not limits or not set(limits) <= set(allowed):
        raise Refused(_("Choose at least one critical limit for which the rules allow exceptions."), "limits")
    _refuse_day(until, laboratory)
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory.pk)
        for other in CriticalException.objects.of_person(patient).in_force(laboratory):
            if both := [key for key in limits if key in other.limits]:
                raise Refused(
                    _("%(title)s already has an exception until %(until)s: withdraw it first.")
                    % {"title": translated(allowed[both[0]]), "until": other.until.isoformat()},
                    code="wrong_state",
                )
        exception = CriticalException.objects.create(
            patient=patient, limits={key: allowed[key] for key in allowed if key in limits}, reason=reason,
            until=until, set_by=by,
        )  # fmt: skip
        record("critical.except", actor=by, obj=exception, laboratory=laboratory,
               changes={"mrn": patient.mrn, "limits": exception.titles, "until": until.isoformat(),
                        "reason": reason})  # fmt: skip
    return exception


def withdraw_exception(exception: CriticalException, *, by: User, reason: str) -> CriticalException:
    """End an exception before its day. Before: in force. After: ended; covered results of open cases are raised."""
    _refuse_role(by, exception.patient)
    reason = checked_reason(reason, _("Enter why the exception ends."))
    with transaction.atomic():
        exception = CriticalException.objects.select_for_update(no_key=True, of=("self",)).get(pk=exception.pk)
        if not exception.is_in_force:
            raise Refused(_("This exception has already ended."), code="wrong_state")
        exception.ended_by, exception.end_reason = by, reason
        _end(exception)
    return exception


def end_exceptions() -> int:
    """End the exceptions whose last day is over, and let the open cases be looked at; return how many."""
    ended = 0
    waiting = CriticalException.objects.filter(ended_at=None, until__lte=timezone.now().date() + timedelta(days=1))
    for pk in list(waiting.values_list("pk", flat=True)):
        with transaction.atomic():
            exception = CriticalException.objects.select_for_update(no_key=True, of=("self",)).get(pk=pk)
            if exception.ended_at is None and not exception.is_in_force:
                _end(exception)
                ended += 1
    return ended


def _end(exception: CriticalException) -> None:
    exception.ended_at = timezone.now()
    exception.save(update_fields=["ended_at", "ended_by", "end_reason"])
    patient = exception.patient
    Case.objects.filter(patient__in=Patient.objects.same_person(patient)).forget_flags()
    record("critical.except_end", actor=exception.ended_by, obj=exception, laboratory=patient.laboratory,
           changes={"mrn": patient.mrn, "limits": exception.titles, "reason": exception.end_reason})  # fmt: skip


def _refuse_role(by: User, patient: Patient) -> None:
    if not by.can("except_critical"):
        raise Refused(_("Only a pathologist or an administrator decides on exceptions."), code="not_allowed")
    if patient.laboratory_id != by.laboratory_id:
        raise Refused(_("This patient belongs to another laboratory."), code="not_allowed")


def _refuse_day(until: date, laboratory: Laboratory) -> None:
    today = today_of(laboratory)
    most = values_of(current_critical_policy(laboratory))["exception_days"]
    if not today <= until <= today + timedelta(days=most):
        raise Refused(
            _("Choose a last day from today to %(last)s: your laboratory's rules allow %(most)d days.")
            % {"last": (today + timedelta(days=most)).isoformat(), "most": most},
            "until",
        )
