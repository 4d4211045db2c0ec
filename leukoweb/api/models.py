"""Tokens of the programming interface: only their hash is kept, they expire and can be revoked; no cases here."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy

PREFIX = "lw_"
LAST_USED_EVERY = timedelta(minutes=5)


class ApiToken(models.Model):
    """A key that lets a program act as a person, within a scope, until it expires."""

    class Scope(models.TextChoices):
        READ = "read", gettext_lazy("read only")
        WRITE = "write", gettext_lazy("read and write")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60, blank=True)
    scope = models.CharField(max_length=5, choices=Scope, default=Scope.WRITE)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name or f"Token {self.pk}"

    @property
    def is_alive(self) -> bool:
        """Whether the token is still taken: not revoked, not expired, its owner not signed out everywhere since."""
        ended_at = self.user.sessions_ended_at
        is_ended = ended_at is not None and self.created_at <= ended_at
        return self.revoked_at is None and self.expires_at > timezone.now() and not is_ended


def digest_of(token: str) -> str:
    """The hash under which a token is kept: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """A fresh secret, shown once."""
    return PREFIX + secrets.token_urlsafe(32)
