"""Changes of accounts: invite, change, deactivate, unlock, each with its event; resets are left to resets.py.

Administrators manage the accounts of every laboratory of the installation. Nobody changes their own role or state,
and the last active administrator stays one.
"""

from datetime import timedelta

from allauth.usersessions.models import UserSession
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django.utils.translation import gettext

from leukoweb.accounts import lockout
from leukoweb.accounts.models import EmergencyAccess, Laboratory, User
from leukoweb.accounts.roles import ADMIN
from leukoweb.audit.services import record
from leukoweb.refusals import Refused


def invite(*users: User, by: User) -> None:
    """Save new accounts without a password; invitation_path(user) is where each owner chooses one."""
    with transaction.atomic():
        _lock_administrators()  # two who invite the same name at once: the second finds it taken
        for user in users:
            if User.objects.filter(username__iexact=user.username).exists():
                raise Refused(
                    gettext("There is already an account named “%(username)s”.") % {"username": user.username},
                    "username",
                    code="taken",
                )
            user.set_unusable_password()
            user.save()
        for user in users:  # events last: they hold the chain until the end
            record("account.invite", actor=by, obj=user, laboratory=user.laboratory,
                   changes={"account": user.username, "role": user.role})  # fmt: skip


def invitation_path(user: User) -> str:
    """The one-time address where the person chooses a password; it ends with use, or after the set hours."""
    token = default_token_generator.make_token(user)
    return reverse("invitation", args=[urlsafe_base64_encode(force_bytes(user.pk)), token])


def change_account(user: User, changes: dict, *, by: User) -> None:
    """Write new values to an account; a role or laboratory ends its sessions, so that it counts at once."""
    with transaction.atomic():
        _lock_administrators()
        user = User.objects.get(pk=user.pk)
        written = {name: [_said(getattr(user, name)), _said(value)] for name, value in changes.items()
                   if getattr(user, name) != value}  # fmt: skip
        if not written:
            return
        if "role" in written:
            refuse_own(user, by, "You cannot change your own role: ask another administrator.")
            if changes["role"] != ADMIN:
                _refuse_last_administrator(user)
        for name, value in changes.items():
            setattr(user, name, value)
        user.save(update_fields=list(written))  # its owner may change the rest meanwhile, such as the password
        if {"role", "laboratory"} & written.keys():
            close_sessions(user)
        record("account.change", actor=by, obj=user, laboratory=user.laboratory, changes=written)


def set_active(user: User, is_active: bool, *, by: User) -> None:
    """Let an account in or not; it is never deleted, its name stands on records."""
    with transaction.atomic():
        _lock_administrators()
        user = User.objects.get(pk=user.pk)
        refuse_own(user, by, "You cannot deactivate your own account: ask another administrator.")
        if user.is_active == is_active:
            return
        if not is_active:
            _refuse_last_administrator(user)
            close_sessions(user)
        user.is_active = is_active
        user.save(update_fields=["is_active"])
        action = "account.activate" if is_active else "account.deactivate"
        record(action, actor=by, obj=user, laboratory=user.laboratory, changes={"account": user.username})


def choose_password(user: User, password: str) -> None:
    """Write the password its owner chose: the duty to change it ends."""
    with transaction.atomic():
        user.set_password(password)
        user.must_change_password = False
        user.save(update_fields=["password", "must_change_password"])
        end_tokens(user)
        record("password.change", actor=user, obj=user)


def unlock(user: User, *, by: User | None) -> None:
    """Lift the lock of failed sign-ins."""
    with transaction.atomic():
        if lockout.unlock(user.username):
            record("account.unlock", actor=by, obj=user, laboratory=user.laboratory,
                   changes={"account": user.username})  # fmt: skip


def end_sessions(user: User, *, by: User) -> None:
    """Sign an account out everywhere."""
    with transaction.atomic():
        close_sessions(user)
        record("session.end_all", actor=by, obj=user, laboratory=user.laboratory, changes={"account": user.username})


def accept_statement(user: User) -> None:
    """The signer accepted that an electronic signature binds like one on paper."""
    with transaction.atomic():
        user.statement_accepted_at = timezone.now()
        user.save(update_fields=["statement_accepted_at"])
        record("statement.accept", actor=user, obj=user)


def note_emergency(case_id: int, laboratory: Laboratory, *, reason: str, by: User, hours: int = 4) -> EmergencyAccess:
    """Write that a case of another laboratory is opened in an emergency; it waits for follow-up.

    The caller writes the event, since the case is at hand there.
    """
    return EmergencyAccess.objects.create(
        opened_by=by, ends_at=timezone.now() + timedelta(hours=hours), laboratory=laboratory, case_id=case_id,
        reason=reason,
    )  # fmt: skip


def follow_up(access: EmergencyAccess, *, finding: str, by: User) -> None:
    """Close an emergency access with what was found; the first one to do so counts."""
    with transaction.atomic():
        open_one = EmergencyAccess.objects.filter(pk=access.pk, followed_up_at=None)
        if open_one.update(followed_up_by=by, followed_up_at=timezone.now(), finding=finding):
            record("emergency.close", actor=by, obj=access, laboratory=access.laboratory, changes={"finding": finding})


def save_laboratory(laboratory: Laboratory, *, by: User, changed: list[str]) -> None:
    """Save a new or changed laboratory."""
    with transaction.atomic():
        _lock_administrators()
        if Laboratory.objects.filter(name=laboratory.name).exclude(pk=laboratory.pk).exists():
            raise Refused(gettext("A laboratory with this name already exists."), "name", code="taken")
        action = "laboratory.change" if laboratory.pk else "laboratory.create"
        laboratory.save(update_fields=changed if laboratory.pk else None)
        changes = {name: _said(getattr(laboratory, name)) for name in changed}
        record(action, actor=by, obj=laboratory, laboratory=laboratory, changes=changes)


def close_sessions(user: User) -> None:
    """End the sessions of an account, and with them its access tokens."""
    for session in UserSession.objects.filter(user=user):
        session.end()
    end_tokens(user)


def end_tokens(user: User) -> None:
    """End the access tokens that an account has now."""
    user.sessions_ended_at = timezone.now()
    User.objects.filter(pk=user.pk).update(sessions_ended_at=user.sessions_ended_at)


def _lock_administrators() -> None:
    """Two administrators who demote each other at once: the second waits, and finds itself the last.

    No key lock: an event names its actor, and writing one must not wait for us while we wait for the chain.
    """
    list(
        User.objects.select_for_update(no_key=True).filter(role=ADMIN, is_active=True).order_by("pk").values_list("pk")
    )


def refuse_own(user: User, by: User, sentence: str) -> None:
    if user.pk == by.pk:
        raise Refused(sentence, code="wrong_state")


def _refuse_last_administrator(user: User) -> None:
    others = User.objects.filter(role=ADMIN, is_active=True).exclude(pk=user.pk)
    if user.role == ADMIN and user.is_active and not others.exists():
        raise Refused(
            gettext("This is the last active administrator. Give another account this role first."), code="wrong_state"
        )


def _said(value: object) -> object:
    return value if isinstance(value, str | bool | int | None) else str(value)
