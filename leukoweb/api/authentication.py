"""Who calls the programming interface, by `Authorization: Token ...` or `Bearer ...`."""

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from leukoweb.accounts.models import User
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.api.models import LAST_USED_EVERY, ApiToken, digest_of
from leukoweb.refusals import Refused

READING = {"GET", "HEAD", "OPTIONS"}


class TokenAuthentication(BaseAuthentication):
    """Find the living token of a request; a wrong one is 401 and never falls back to the session."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        kind, _, secret = get_authorization_header(request).decode("latin-1").strip().partition(" ")
        if kind.lower() not in ("token", "bearer"):
            return None
        token = ApiToken.objects.select_related("user__laboratory").filter(digest=digest_of(secret.strip())).first()
        if token is None or not token.is_alive or not token.user.is_active:
            raise AuthenticationFailed(
                gettext("This token is wrong, expired or revoked: get a new one at /api/v1/token/.")
            )
        if duty := duty_of(token.user):
            raise Refused(duty, code="account_duty")
        view = request.parser_context.get("view")
        may_send = request.method in READING or getattr(view, "is_open_to_reading_tokens", False)
        if token.scope == ApiToken.Scope.READ and not may_send:
            raise Refused(gettext("This token may only read: get one with the scope “write”."), code="read_only_token")
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at > LAST_USED_EVERY:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"


class TokenScheme(OpenApiAuthenticationExtension):
    """How the schema describes the header."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token <token>`"}


def duty_of(user: User) -> str:
    """What the person must do on the pages before a token works, or an empty string."""
    if user.must_change_password:
        return "Change your password on the sign-in page first."
    if user.role in settings.SECOND_FACTOR_ROLES and not has_second_factor(user):
        return "Your role needs a second factor: sign in on the page and set one up first."
    return ""
