"""Services that give and take back tokens, each with its audit event."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.api.models import ApiToken, digest_of, new_token
from leukoweb.audit.services import record


def give_token(
    user: User, *, name: str = "", scope: Any = ApiToken.Scope.WRITE, days: int | None = None
) -> tuple[ApiToken, str]:
    """Make a token and return its row and its secret; the secret is kept nowhere."""
    secret = new_token()
    days = min(days or settings.TOKEN_MAX_DAYS, settings.TOKEN_MAX_DAYS)
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=name,
            scope=scope,
            digest=digest_of(secret),
            expires_at=timezone.now() + timedelta(days=days),
        )
        record("token.create", actor=user, obj=token, changes={"name": name, "scope": scope, "days": days})
    return token, secret


def revoke_token(token: ApiToken, *, by: User) -> None:
    """End a token at once; a second time changes nothing."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            record(
                "token.revoke",
                actor=by,
                obj=token,
                laboratory=token.user.laboratory,
                changes={"of": token.user.username},
            )
