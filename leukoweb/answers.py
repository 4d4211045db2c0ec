"""The one place that turns a refusal into an answer: JSON for programs and scripts, a fragment for htmx, or a page.

FHIR has a JSON of its own. The error pages of Django have these forms too. What is refused, and why, others decide.
"""

import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from django.contrib import messages
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy

from leukoweb.places import DISK_FULL_ERRORS
from leukoweb.refusals import Refused, outcome_of

log = logging.getLogger(__name__)
RETRY_AFTER_S = 5
FHIR = "/fhir/"
NOT_FOUND = gettext_lazy("There is nothing at this address, or it belongs to another laboratory.")
NOT_ALLOWED = gettext_lazy("Your role does not allow this.")
UNREADABLE = gettext_lazy("The request could not be read.")
TOO_LARGE = gettext_lazy(
    "The request is too large: send the images as files of a multipart request, at most 100 at once."
)
FAULT = gettext_lazy(
    "A fault of the server; nothing was half-saved. Try again, and tell the administrator the time if it repeats."
)
NO_ROOM = gettext_lazy(
    "The server has no room on its disk. Nothing was half-saved: tell the administrator, then try again."
)
AWAY = gettext_lazy("The database does not answer at the moment. Nothing was changed; try again in a few seconds.")


def as_json(refused: Refused) -> dict:
    """Return a refusal as programs read it: `detail`, `code`, and each field's own sentence."""
    fields = {"fields": refused.fields} if refused.fields else {}
    return {**refused.fields, **fields, "detail": str(refused), "code": refused.code}


def answer_of(request: HttpRequest, refused: Refused, **more: object) -> HttpResponse:
    """Return a refusal in the form that was asked for; `more` joins the JSON."""
    if wants_json(request):
        return _program_answer(request, refused, **more)
    if request.headers.get("HX-Request"):
        answer = render(request, "_refused.html", {"refused": refused}, status=refused.status)
    else:
        title = HTTPStatus(refused.status).phrase
        answer = render(request, "refused.html", {"refused": refused, "title": title}, status=refused.status)
    return _with_time(answer, refused)


def json_answer(refused: Refused, **more: object) -> JsonResponse:
    """Return a refusal as JSON, for addresses that answer nothing else; `more` joins it."""
    return _with_time(JsonResponse(as_json(refused) | more, status=refused.status), refused)


def _program_answer(request: HttpRequest, refused: Refused, **more: object) -> HttpResponse:
    """Return a refusal as JSON, or as an OperationOutcome where FHIR was asked."""
    if not request.path.startswith(FHIR):
        return json_answer(refused, **more)
    said = outcome_of(str(refused), code=refused.code)
    return _with_time(JsonResponse(said, status=refused.status, content_type="application/fhir+json"), refused)


def back_with(request: HttpRequest, refused: Refused, to: str, *args: object) -> HttpResponse:
    """Go back to a page that shows the sentence at its head; scripts and programs get their JSON."""
    if wants_json(request):
        return answer_of(request, refused)
    messages.error(request, str(refused))
    return redirect(to, *args)


@contextmanager
def refusal_shown(request: HttpRequest) -> Iterator[None]:
    """Show the sentence of a refusal at the head of the next page; the rest of the block is left out."""
    try:
        yield
    except Refused as refused:
        messages.error(request, str(refused))


def wants_json(request: HttpRequest) -> bool:
    """Say whether a program or a script of a page asks: by address, or by what it accepts and a browser does not."""
    accepted = request.headers.get("Accept", "*/*")
    is_json = "application/json" in accepted and "text/html" not in accepted
    return request.path.startswith(("/api/", FHIR)) or is_json or request.content_type == "application/json"


class Refusals:
    """Answer a refusal that no view caught."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the answer to a refusal, or to a full disk; anything else goes on to the pages below."""
        if is_disk_full(error):
            log.error("the disk is full: %s", type(error).__name__)
            error = Refused(NO_ROOM, code="no_room")
        return answer_of(request, error) if isinstance(error, Refused) else None


# --- the error pages of Django (leukoweb/urls.py names them) -------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django would not read."""
    is_large = isinstance(exception, RequestDataTooBig | TooManyFilesSent | TooManyFieldsSent)
    refused = Refused(TOO_LARGE, code="too_large") if is_large else Refused(UNREADABLE, code="unreadable")
    return answer_of(request, refused) if wants_json(request) else _page("400.html", None, refused.status)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer what the role does not allow."""
    refused = Refused(NOT_ALLOWED, code="not_allowed")
    return answer_of(request, refused) if wants_json(request) else _page("403.html", request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address without anything behind it."""
    refused = Refused(NOT_FOUND, code="not_found")
    return answer_of(request, refused) if wants_json(request) else _page("404.html", request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a fault: 503 while the database is away, 507 without room, else 500; none asks the database."""
    error = sys.exc_info()[1]
    if is_disk_full(error):
        refused = Refused(NO_ROOM, code="no_room")
        return _program_answer(request, refused) if wants_json(request) else _page("507.html", None, refused.status)
    is_away = is_database_away(error)
    refused = Refused(AWAY, code="unavailable") if is_away else Refused(FAULT, code="server_error")
    if wants_json(request):
        return _program_answer(request, refused)
    return _with_time(_page("503.html" if is_away else "500.html", None, refused.status), refused)


def is_database_away(error: BaseException | None) -> bool:
    """Say whether an error means that the database does not answer, and not that it refused what was written."""
    return isinstance(error, OperationalError | InterfaceError)


def is_disk_full(error: BaseException | None) -> bool:
    """Say whether an error means that a disk has no room: that of the files, or that of the database."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL_ERRORS
    # SQLite says it in words, PostgreSQL by its code (53100, disk_full).
    return isinstance(error, OperationalError | sqlite3.OperationalError) and (
        "disk is full" in str(error) or getattr(error.__cause__, "sqlstate", None) == "53100"
    )


def _with_time(answer: HttpResponse, refused: Refused) -> HttpResponse:
    """Say when to try again, where trying again helps."""
    if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def _page(template: str, request: HttpRequest | None, status: int) -> HttpResponse:
    return HttpResponse(render_to_string(template, {}, request=request), status=status)
