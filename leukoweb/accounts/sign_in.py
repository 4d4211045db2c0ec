"""How people come in: the sign-in form, the hospital's identity provider, and what the audit hears of it.

django-allauth does the work, these are its adapters.
"""

from typing import Any

from allauth.account import auth_backends
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import ChangePasswordForm, LoginForm
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext, gettext_lazy

from leukoweb.accounts.lockout import address_of, lock_sentence, locked_until, name_of
from leukoweb.accounts.models import User
from leukoweb.accounts.services import choose_password, end_tokens
from leukoweb.audit.services import record


class SignInForm(LoginForm):
    """User name and password; a locked account is told so, whether it exists or not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
        self.fields["login"].widget.attrs["autofocus"] = True

    def add_prefix(self, field_name: str) -> str:
        """The field is called what it is in the page."""
        return super().add_prefix("username" if field_name == "login" else field_name)

    def clean(self) -> dict:
        self._refuse_locked()
        try:
            return super().clean()
        except ValidationError:
            self._refuse_locked()
            raise

    def _refuse_locked(self) -> None:
        if until := locked_until(self.cleaned_data.get("login", ""), address_of(self.request)):
            raise ValidationError(lock_sentence(until), code="locked")


class AuthenticationBackend(auth_backends.AuthenticationBackend):
    """Who is signed in, read with the laboratory: every page needs its time zone."""

    def get_user(self, user_id: int) -> User | None:
        user = User.objects.select_related("laboratory").filter(pk=user_id).first()
        return user if user and self.user_can_authenticate(user) else None


class PasswordForm(ChangePasswordForm):
    """A new password, not the one before: a temporary one cannot be kept (S3)."""

    def clean(self) -> dict:
        cleaned = super().clean()
        if cleaned.get("password1") and self.user.check_password(cleaned["password1"]):
            self.add_error("password1", gettext("This is the password you have now: choose another one."))
        return cleaned


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by administrators, and a new password ends the duty to change it."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": gettext_lazy("User name or password is wrong."),
        "too_many_login_attempts": gettext_lazy(
            "Too many failed sign-ins from here. Wait ten minutes, then try again."
        ),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: User, password: str) -> None:
        choose_password(user, password)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return "/"


class SessionsAdapter(DefaultUserSessionsAdapter):
    """Who signs out everywhere else ends the access tokens too."""

    def end_sessions(self, sessions: list[UserSession]) -> None:
        super().end_sessions(sessions)
        if self.request is not None and self.request.user.is_authenticated:
            end_tokens(self.request.user)


class HospitalAdapter(DefaultSocialAccountAdapter):
    """Sign-in through the hospital's identity provider: only for accounts that an administrator made before."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: object,
        error: object = None,
        exception: Exception | None = None,
        extra_context: dict | None = None,
    ) -> None:
        record("sign_in.refused", changes={"by": "identity provider", "why": type(exception).__name__})
        messages.error(request, gettext("Your hospital's sign-in did not work. Try again, or sign in with a password."))
        raise ImmediateHttpResponse(redirect("sign_in"))

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if sociallogin.is_existing:
            return
        claims = sociallogin.account.extra_data
        claims = claims.get("userinfo") or claims.get("id_token") or claims
        username = claims.get("preferred_username") or ""
        user = User.objects.filter(username__iexact=username, is_active=True).first() if username else None
        if user is None:
            record("sign_in.refused", changes={"by": "identity provider", "why": "no account here"})
            messages.error(
                request,
                gettext(
                    "Your hospital sign-in worked, but you have no account here. "
                    "Ask an administrator for an invitation."
                ),
            )
            raise ImmediateHttpResponse(redirect("sign_in"))
        sociallogin.connect(request, user)


def note_sign_in(sender: object, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Record a sign-in, by whichever method."""
    record("sign_in", actor=user, obj=user, changes=_from(request))


def note_refusal(sender: object, credentials: dict, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """A password was wrong; a name that nobody has may be a password typed into the wrong box and is not kept."""
    user = User.objects.filter(username__iexact=credentials.get("username") or "").first()
    record(
        "sign_in.refused",
        obj=user,
        laboratory=user and user.laboratory,
        changes={"account": user.username if user else "unknown"} | _from(request),
    )


def note_lock(sender: object, request: HttpRequest, username: str, **kwargs: Any) -> None:
    """An account was locked after too many failures."""
    user = next((u for u in User.objects.all() if name_of(u.username) == username), None)
    record("sign_in.locked", obj=user, laboratory=user and user.laboratory, changes=_from(request))


def note_sign_out(sender: object, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    """Somebody left, or was signed out for being idle."""
    if user is not None:
        record("sign_out", actor=user, obj=user, changes={"why": getattr(request, "sign_out_reason", "asked")})


def _from(request: HttpRequest | None) -> dict:
    """The address somebody came from, as far as it is known."""
    address = address_of(request) if request is not None and request.META else None
    return {"address": address} if address else {}
