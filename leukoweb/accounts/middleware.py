"""What stands before every page: the clock of idle sessions, and duties that come before work."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_lazy

from leukoweb.accounts.models import User
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.answers import answer_of, wants_json
from leukoweb.refusals import Refused

GetResponse = Callable[[HttpRequest], HttpResponse]
SEEN_AT = "seen_at"
SIGNED_OUT = gettext_lazy("You were signed out because nothing happened for a while. Sign in again.")
EMERGENCY = "emergency"  # {case id: when the access ends}: in this session only, and for reading only
# The page marks what nobody asked for (idle.js does it for every htmx request without an event of a person).
POLL_HEADER = "X-LeukoWeb-Poll"


def is_poll(request: HttpRequest) -> bool:
    """Say whether the page asked by itself: that is no activity of a person."""
    return POLL_HEADER in request.headers


def seconds_left(request: HttpRequest) -> int:
    """How long until this session is signed out."""
    now = int(time.time())
    return settings.IDLE_LIMIT_S - (now - request.session.get(SEEN_AT, now))


def idle_sign_out(get_response: GetResponse) -> GetResponse:
    """Sign out sessions in which no person did anything for the limit (S7); the server's clock decides."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if SESSION_KEY not in request.session:
            return get_response(request)
        if seconds_left(request) <= 0:
            request.sign_out_reason = "idle"
            logout(request)
            return get_response(request) if request.path == reverse("session_state") else _signed_out(request)
        if not is_poll(request):
            note_activity(request)
        return get_response(request)

    return middleware


def note_activity(request: HttpRequest) -> None:
    """Start the idle clock anew; written at most every half minute, or a tenth of a shorter limit."""
    now = int(time.time())
    seen_at = request.session.get(SEEN_AT)
    if seen_at is None or now - seen_at >= min(30, settings.IDLE_LIMIT_S / 10):
        request.session[SEEN_AT] = now
        User.objects.filter(pk=request.session[SESSION_KEY]).update(last_seen_at=timezone.now())


def _signed_out(request: HttpRequest) -> HttpResponse:
    """The answer to a request of a session that just ended."""
    page = request.path if request.method == "GET" else ""
    address = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'idle': 1, 'next': page})}"
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": f"{resolve_url(settings.LOGIN_URL)}?idle=1"})
    if wants_json(request):
        return answer_of(request, Refused(SIGNED_OUT, code="not_signed_in"))
    return redirect(address)


class AccountGates:
    """Lead people to what they must do first: a new password (S3), a second factor, the signers' statement."""

    ALWAYS_OPEN = {"sign_in", "sign_out", "account_login", "account_logout", "session_state", "session_stay"}
    PASSWORD = {"password_change", "account_change_password"}

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if "Cache-Control" not in response and request.user.is_authenticated:
            response["Cache-Control"] = "no-store"  # after sign-out, Back shows nothing of a patient
        return response

    def process_view(self, request: HttpRequest, view: Callable, args: tuple, kwargs: dict) -> HttpResponse | None:
        name = request.resolver_match.url_name or ""
        reads = request.method in ("GET", "HEAD") and not getattr(view, "writes", False)
        if reads and EMERGENCY in request.session and request.user.is_authenticated:
            ends = request.session[EMERGENCY]
            request.user.emergency_cases = [int(pk) for pk, end in ends.items() if end > time.time()]
        if name in self.ALWAYS_OPEN or not request.user.is_authenticated:
            return None
        if request.user.must_change_password:
            return (
                None
                if name in self.PASSWORD
                else _duty(request, "password_change", gettext("Change your password first."))
            )
        if request.user.role in settings.SECOND_FACTOR_ROLES and not has_second_factor(request.user):
            own = name.startswith(("mfa_", "account_reauthenticate"))
            return (
                None
                if own
                else _duty(request, "mfa_index", gettext("Your role needs a second factor: set one up first."))
            )
        if name == "case_sign" and request.user.statement_accepted_at is None and request.user.can("sign_report"):
            return _duty(request, "statement", gettext("Read and accept the statement of responsibility first."))
        return None


def _duty(request: HttpRequest, name: str, sentence: str) -> HttpResponse:
    if wants_json(request):
        return answer_of(request, Refused(sentence, code="account_duty"))
    address = f"{reverse(name)}?{urlencode({'next': request.path})}"
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": address})
    return redirect(address)
