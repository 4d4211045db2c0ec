"""The second factor: secrets are encrypted at rest, codes are checked here; it knows no page."""

import base64
import hashlib

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest


class SecondFactorAdapter(DefaultMFAAdapter):
    """Keeps TOTP secrets and recovery seeds encrypted under this installation's key."""

    def encrypt(self, text: str) -> str:
        return _box().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _box().decrypt(encrypted_text.encode()).decode()


def has_second_factor(user) -> bool:
    """Say whether the person has an authenticator app or a security key."""
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
    return Authenticator.objects.filter(user=user, type__in=kinds).exists()


def check_code(user, code: str) -> bool:
    """Say whether `code` is the current code of the person's authenticator app or an unused recovery code.

    A wrong one counts towards the lock-out, as a wrong password does (see lockout.py).
    """
    code = "".join((code or "").split())
    if not code:
        return False
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    is_good = any(a.wrap().validate_code(code) for a in Authenticator.objects.filter(user=user, type__in=kinds))
    if not is_good:
        user_login_failed.send(__name__, credentials={"username": user.username}, request=HttpRequest())
    return is_good


def forget_second_factor(user) -> int:
    """Remove every factor of a person who lost theirs; how many there were."""
    return Authenticator.objects.filter(user=user).delete()[0]


def _box() -> Fernet:
    key = hashlib.sha256(b"leukoweb second factor" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
