"""Lock-out after failed sign-ins (S6) and the one check of a password; it knows no page and no report.

django-axes counts; whoever asks for a password outside the sign-in page calls confirm_password, so that it counts too.
"""

import unicodedata
from datetime import datetime

from axes.models import AccessAttempt
from axes.utils import reset
from django.conf import settings
from django.contrib.auth import authenticate
from django.db.models import Max, Sum
from django.http import HttpRequest
from django.utils import timezone

from leukoweb.refusals import Refused


def name_of(username: str) -> str:
    """One spelling for all spellings that sign the same account in: the lock cannot be gone around by case."""
    return unicodedata.normalize("NFKC", username or "").strip().upper().casefold()


def name_of_credentials(request, credentials) -> str:
    """What django-axes counts by."""
    return name_of((credentials or {}).get("username", ""))


def locked_until(username: str) -> datetime | None:
    """When the lock of an account ends, or None when it is not locked."""
    return locks([username]).get(name_of(username))


def locks(usernames=None) -> dict[str, datetime]:
    """The locked names (see name_of) with the end of each lock, in one query."""
    recent = AccessAttempt.objects.filter(attempt_time__gt=timezone.now() - settings.AXES_COOLOFF_TIME)
    if usernames is not None:
        recent = recent.filter(username__in=[name_of(name) for name in usernames])
    counted = recent.values("username").annotate(failures=Sum("failures_since_start"), last=Max("attempt_time"))
    full = counted.filter(failures__gte=settings.AXES_FAILURE_LIMIT).order_by()
    return {row["username"]: row["last"] + settings.AXES_COOLOFF_TIME for row in full}


def lock_sentence(until: datetime) -> str:
    """What a locked-out person reads; the same for names that do not exist."""
    minutes = max(1, round((until - timezone.now()).total_seconds() / 60))
    return (
        f"Too many failed sign-ins: this account is locked for {minutes} more minute{'s' if minutes != 1 else ''}. "
        "Wait, or ask an administrator to unlock it."
    )


def unlock(username: str) -> bool:
    """Lift a lock; False when there was none."""
    return bool(reset(username=name_of(username)))


def confirm_password(user, password: str, *, request=None) -> bool:
    """Say whether this is the person's own password; a wrong one counts towards the lock-out.

    Call it outside the transaction of what it guards, or a rollback forgets the failure.
    Refused as `locked_out` while the account is locked.
    """
    if until := locked_until(user.username):
        raise Refused(lock_sentence(until), code="locked_out")
    found = authenticate(request or HttpRequest(), username=user.username, password=password or "")
    if found is None or found.pk != user.pk:
        if until := locked_until(user.username):
            raise Refused(lock_sentence(until), code="locked_out")
        return False
    return True  # without forgetting failures: whoever knows the password could guess at the second factor for ever
