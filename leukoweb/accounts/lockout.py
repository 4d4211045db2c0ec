"""Lock-out after failed sign-ins (S6) and the one check of a password.

django-axes counts; whoever asks for a password outside the sign-in page calls confirm_password, so that it counts too.
"""

import unicodedata
from datetime import datetime

from axes.helpers import get_client_ip_address
from axes.models import AccessAttempt
from axes.utils import reset
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db.models import Max, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import ngettext

from leukoweb.accounts.models import User
from leukoweb.refusals import Refused

ANYWHERE = "anywhere"  # the lock of a name itself, from every address


def name_of(username: str) -> str:
    """One spelling for all spellings that sign the same account in: the lock cannot be gone around by case."""
    return unicodedata.normalize("NFKC", username or "").strip().upper().casefold()


def name_of_credentials(request: HttpRequest, credentials: dict | None) -> str:
    """What django-axes counts by."""
    return name_of((credentials or {}).get("username", ""))


def address_of(request: HttpRequest) -> str | None:
    """Return the address that somebody signs in from; None where it is not known."""
    return str(get_client_ip_address(request) or "") or None


def locked_until(username: str, address: str | None) -> datetime | None:
    """Return when the lock of an account ends for an address, or None when it is open there.

    Failures inside live sessions lock everything; without an address only these count, so that nobody stops
    somebody else's session by guessing at the sign-in page.
    """
    found = [
        until
        for at, until in _locks_of([username]).get(name_of(username), [])
        if at is None or at == address or (at == ANYWHERE and address)
    ]
    return max(found, default=None)


def locks(usernames: list[str] | None = None) -> dict[str, datetime]:
    """Return the names (see name_of) that are locked from anywhere, with the end of the longest lock."""
    return {name: max(until for _, until in found) for name, found in _locks_of(usernames).items()}


def _locks_of(usernames: list[str] | None) -> dict[str, list[tuple[str | None, datetime]]]:
    """Return each locked name with (address, end): an address, None for live sessions, or ANYWHERE; in one query."""
    recent = AccessAttempt.objects.filter(attempt_time__gt=timezone.now() - settings.AXES_COOLOFF_TIME)
    if usernames is not None:
        recent = recent.filter(username__in=[name_of(name) for name in usernames])
    rows = recent.order_by().values("username", "ip_address").annotate(
        failures=Sum("failures_since_start"), last=Max("attempt_time"))  # fmt: skip
    found: dict[str, list[tuple[str | None, datetime]]] = {}
    outside: dict[str, list[tuple[int, datetime]]] = {}
    for row in rows:
        if row["failures"] >= settings.AXES_FAILURE_LIMIT:
            found.setdefault(row["username"], []).append((row["ip_address"], row["last"] + settings.AXES_COOLOFF_TIME))
        if row["ip_address"]:
            outside.setdefault(row["username"], []).append((row["failures"], row["last"]))
    for name, tries in outside.items():
        if sum(failures for failures, _ in tries) >= settings.LOCKOUT_FAILURES_BY_NAME:
            until = max(last for _, last in tries) + settings.AXES_COOLOFF_TIME
            found.setdefault(name, []).append((ANYWHERE, until))
    return found


def lock_sentence(until: datetime) -> str:
    """What a locked-out person reads; the same for names that do not exist."""
    minutes = max(1, round((until - timezone.now()).total_seconds() / 60))
    said = ngettext(
        "Too many failed sign-ins: this account is locked for %(count)s more minute. "
        "Wait, or ask an administrator to unlock it.",
        "Too many failed sign-ins: this account is locked for %(count)s more minutes. "
        "Wait, or ask an administrator to unlock it.",
        minutes,
    )
    return said % {"count": minutes}


def unlock(username: str) -> bool:
    """Lift a lock; False when there was none."""
    return bool(reset(username=name_of(username)))


def confirm_password(user: User, password: str) -> bool:
    """Say whether this is the password of the person whose live session asks.

    Wrong ones lock the account's sessions, and failures outside of them do not: nobody ends another one's work by
    guessing at the sign-in page. Call it outside the transaction of what it guards, or a rollback forgets the failure.
    Refused as `locked_out` while the account is locked.
    """
    if until := locked_until(user.username, None):
        raise Refused(lock_sentence(until), code="locked_out")
    if not user.is_active or not user.check_password(password or ""):
        user_login_failed.send(__name__, credentials={"username": user.username}, request=HttpRequest())
        if until := locked_until(user.username, None):
            raise Refused(lock_sentence(until), code="locked_out")
        return False
    return True  # without forgetting failures: whoever knows the password could guess at the second factor for ever
