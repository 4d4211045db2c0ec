"""Lost passwords and second factors: who may reset them, and what a signature soon after says of it.

For who signs or administers, or ever did, it takes two administrators, so that none alone can act in another's name;
sign-in itself is left to sign_in.py.
"""

import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from leukoweb.accounts.models import Reset, User
from leukoweb.accounts.roles import ADMIN, ROLES, allows
from leukoweb.accounts.second_factor import forget_second_factor
from leukoweb.accounts.services import close_sessions, refuse_own
from leukoweb.audit.models import Event
from leukoweb.audit.services import record

WAITS = timedelta(days=1)  # for the second administrator
MARKED = timedelta(days=7)  # signatures after a reset say so for so long


def reset(user: User, kind: str, *, by: User) -> str | None:
    """Reset a password or second factor, or ask for it; return the temporary password or "", None while it waits.

    Where the account signs or administers, the first administrator asks and another one, doing the same, confirms.
    """
    refuse_own(user, by, "Change your own password and second factor on their pages.")
    with transaction.atomic():
        list(User.objects.select_for_update(no_key=True).filter(pk=user.pk).values_list("pk"))
        asked = waiting_for(user).filter(kind=kind).first()
        if asked is None:
            asked = Reset.objects.create(user=user, kind=kind, asked_by=by)
            if _needs_two(user):
                record("reset.ask", actor=by, obj=user, laboratory=user.laboratory,
                       changes={"account": user.username, "kind": str(kind)})  # fmt: skip
                return None
        elif asked.asked_by_id == by.pk:
            return None
        return _do(asked, by=by)


def reset_on_server(user: User, kind: str) -> str:
    """Reset as whoever holds the server itself: the way out where there is one administrator only."""
    with transaction.atomic():
        return _do(Reset.objects.create(user=user, kind=kind), by=None)


def waiting_for(user: User) -> QuerySet[Reset]:
    """Return what was asked for an account and waits for another administrator."""
    return Reset.objects.filter(user=user, done_at=None, asked_at__gt=timezone.now() - WAITS).select_related("asked_by")


def note_of_reset(user: User, at: datetime) -> str:
    """Return what a signature at that time must say of a reset shortly before; empty without one."""
    last = Reset.objects.filter(user=user, done_at__lte=at, done_at__gt=at - MARKED).order_by("-done_at").first()
    if last is None:
        return ""
    people = dict.fromkeys(person.printed_name for person in (last.asked_by, last.done_by) if person)
    who = " and ".join(people) or "the operator of the server"
    return (
        f"The signer's {last.kind.replace('_', ' ')} was reset on {timezone.localtime(last.done_at):%Y-%m-%d} by {who}."
    )


def _needs_two(user: User) -> bool:
    """Say whether it takes two: who signs or administers, or did so before the role was changed.

    Else one administrator takes the role away, resets, and gives it back. Who has signed is asked of the audit: where
    technologists release reports, those who have are among them, and once a laboratory's rules let them, all who may.
    """
    if user.role == ADMIN or allows(user.role, "sign_report") or user.statement_accepted_at is not None:
        return True
    if Event.objects.filter(action="report.sign", actor=user).exists():
        return True
    if allows(user.role, "release_report"):
        policies = Event.objects.filter(action="policy.change")
        if any("release" in event.changes for event in policies.iterator()):
            return True
    changed = Event.objects.filter(action="account.change", object_type="accounts.user", object_id=str(user.pk))
    before = {event.changes["role"][0] for event in changed if "role" in event.changes}
    return any(role == ADMIN or allows(role, "sign_report") for role in before & set(ROLES))


def _do(asked: Reset, *, by: User | None) -> str:
    """Carry a reset out; its owner must change a temporary password at the next sign-in (S3)."""
    user, password = asked.user, ""
    asked.done_by, asked.done_at = by, timezone.now()
    asked.save()
    if asked.kind == Reset.Kind.PASSWORD:
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.must_change_password = True
        user.save(update_fields=["password", "must_change_password"])
    else:
        forget_second_factor(user)
    close_sessions(user)
    asker = asked.asked_by.username if asked.asked_by else "server"
    changes = {"account": user.username, "asked_by": asker}
    record(f"{asked.kind}.reset", actor=by, obj=user, laboratory=user.laboratory, changes=changes)
    return password
