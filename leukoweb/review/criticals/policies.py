"""Write the next version of a laboratory's rules of critical results; earlier versions stay."""

from typing import TypedDict
from urllib.parse import urlsplit

from django.db import transaction
from django.utils.translation import gettext as _

from leukoweb.accounts.models import Laboratory, User
from leukoweb.audit.services import differing, record
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.criticals.detection import current_critical_policy
from leukoweb.review.criticals.models import CriticalPolicy
from leukoweb.review.criticals.rules import CriticalRule, defaults, problem_of
from leukoweb.review.services import current_policy, refuse_other_version, rules_of
from leukoweb.sentences import translated
from leukoweb.texts import checked_reason

MOST_PEOPLE = 20


class CriticalValues(TypedDict):
    """What a version says: limits, minutes until the next person is told, the people, where notices go, exceptions."""

    rules: list[CriticalRule]
    minutes: int
    people: list[str]
    webhook: str
    exception_days: int


def values_of(policy: CriticalPolicy | None) -> CriticalValues:
    """Return what a version says, or the defaults; a row of a version from before there were exceptions allows none."""
    if policy is None:
        return {"rules": defaults(), "minutes": 30, "people": [], "webhook": "", "exception_days": 90}
    return {
        "rules": [row | {"may_except": row.get("may_except", False)} for row in policy.rules],
        "minutes": policy.minutes, "people": policy.people, "webhook": policy.webhook,
        "exception_days": policy.exception_days,
    }  # fmt: skip


def save_critical_policy(
    laboratory: Laboratory,
    *,
    rules: list[CriticalRule],
    minutes: int,
    people: list[str],
    webhook: str,
    exception_days: int,
    reason: str,
    by: User,
    seen: str | None = None,
) -> CriticalPolicy:
    """Put limits and escalation in force as the laboratory's next version; `seen` is the one that was edited."""
    new: CriticalValues = {
        "rules": rules, "minutes": minutes, "people": people, "webhook": webhook, "exception_days": exception_days
    }  # fmt: skip
    reason, before = checked_reason(reason, _("Enter the reason.")), values_of(current_critical_policy(laboratory))
    problems = {
        "rules": translated(problem_of(rules, rules_of(current_policy(laboratory)).flag_rules)),
        "minutes": "" if 1 <= minutes <= 1440 else _("Enter a whole number from 1 to 1440."),
        "exception_days": "" if 1 <= exception_days <= 366 else _("Enter a whole number from 1 to 366."),
        "people": _problem_of_people(people, laboratory),
        "webhook": _problem_of_webhook(webhook),
    }
    if problems := {name: problem for name, problem in problems.items() if problem}:
        raise Refused(" ".join(problems.values()), fields=problems)
    if new == before:
        raise Refused(_("Nothing was changed, so no new version was made."))
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory.pk)
        last = current_critical_policy(laboratory)
        refuse_other_version(last.version if last else 0, seen)
        policy = CriticalPolicy.objects.create(
            laboratory=laboratory, version=last.version + 1 if last else 1, reason=reason, created_by=by, **new
        )
        Case.objects.filter(laboratory=laboratory).forget_flags()
        record("critical.policy", actor=by, obj=policy, laboratory=laboratory,
               changes={"version": policy.version, "reason": reason, **differing(before, new)})  # fmt: skip
    return policy


def _problem_of_people(people: list[str], laboratory: Laboratory) -> str:
    if len(people) > MOST_PEOPLE or len(set(people)) < len(people):
        return _("List at most %(most)d people, each once.") % {"most": MOST_PEOPLE}
    known = User.objects.filter(laboratory=laboratory, is_active=True, username__in=people)
    readers = {user.username for user in known if user.can("tell_critical")}
    if unknown := [name for name in people if name not in readers]:
        return _("%(name)s is no active technologist or pathologist of this laboratory.") % {"name": unknown[0]}
    return ""


def _problem_of_webhook(webhook: str) -> str:
    if not webhook:
        return ""
    try:
        parts = urlsplit(webhook)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and len(webhook) <= 500
    except ValueError:
        is_right = False
    return "" if is_right and not parts.username else _("Write the address as https://server/path, without a password.")
