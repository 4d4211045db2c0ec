"""The second factor: secrets are encrypted at rest, codes are checked here."""

import base64
import hashlib
from collections.abc import Callable

from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest

from leukoweb.accounts.lockout import address_of, lock_sentence, locked_until
from leukoweb.accounts.models import User


class SecondFactorAdapter(DefaultMFAAdapter):
    """Keeps TOTP secrets and recovery seeds encrypted under this installation's key."""

    def encrypt(self, text: str) -> str:
        return _box().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _box().decrypt(encrypted_text.encode()).decode()


class CodeForm(AuthenticateForm):
    """The code at sign-in: a wrong one counts towards the lock-out of its address."""

    def clean_code(self) -> str:
        return _taken_once(self.user, super().clean_code, request=context.request)


class ConfirmForm(ReauthenticateForm):
    """The code that a live session is asked for again: a wrong one counts towards the lock-out of live sessions."""

    def clean_code(self) -> str:
        return _taken_once(self.user, super().clean_code, request=HttpRequest())


def _taken_once(user: User, check: Callable[[], str], *, request: HttpRequest) -> str:
    """Check a code of a form, once in all processes, and count a wrong one where `request` comes from."""
    if until := locked_until(user.username, address_of(request)):
        raise ValidationError(lock_sentence(until), code="locked")
    try:
        with transaction.atomic():
            list(Authenticator.objects.select_for_update(no_key=True).filter(user=user).order_by("pk"))
            return check()
    except ValidationError:
        _count_failure(user, request)
        raise


def has_second_factor(user: User) -> bool:
    """Say whether the person has an authenticator app or a security key."""
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
    return Authenticator.objects.filter(user=user, type__in=kinds).exists()


def check_code(user: User, code: str, *, request: HttpRequest | None = None) -> bool:
    """Say whether `code` is the current code of the person's authenticator app or an unused recovery code.

    A wrong one counts towards the lock-out, as a wrong password does (see lockout.py): that of the address where a
    `request` signs in, else that of the person's live sessions.
    """
    code = "".join((code or "").split())
    if not code:
        return False
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    with transaction.atomic():
        # The rows are the lock: of two processes that get one code at once, the second finds it used.
        own = Authenticator.objects.select_for_update(no_key=True).filter(user=user, type__in=kinds)
        is_good = any(authenticator.wrap().validate_code(code) for authenticator in own)
    if not is_good:
        _count_failure(user, request or HttpRequest())
    return is_good


def _count_failure(user: User, request: HttpRequest) -> None:
    """Count one wrong code, one at a time for each person: two at once would begin the same count twice."""
    locked_out: PermissionDenied | None = None
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        try:
            user_login_failed.send(__name__, credentials={"username": user.username}, request=request)
        except PermissionDenied as raised:  # it must not undo the count
            locked_out = raised
    if locked_out:
        raise locked_out


def forget_second_factor(user: User) -> int:
    """Remove every factor of a person who lost theirs; how many there were."""
    return Authenticator.objects.filter(user=user).delete()[0]


def _box() -> Fernet:
    key = hashlib.sha256(b"leukoweb second factor" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
