"""The id of a request: in its answer, in every log line that it causes, and in the tasks that it sends.

An id from outside is taken over only if it looks like one that a proxy makes, so that nothing else comes into the log.
"""

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
WELL_FORMED = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # nginx' $request_id, or a UUID
current_id: ContextVar[str] = ContextVar("request_id", default="")


def name_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Give each request an id while it is answered, and the answer the same."""

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        request_id = given if WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
        token = current_id.set(request_id)
        try:
            response = get_response(request)
        finally:
            current_id.reset(token)
        response[HEADER] = request_id
        return response

    return middleware


def send_along(headers: dict[str, Any], **_: Any) -> None:
    """Write the id of the request that sends a task into its message."""
    headers.setdefault("request_id", current_id.get())


def take_over(task: Any, **_: Any) -> None:
    """Let what a task logs carry the id of the request that sent it."""
    given = getattr(task.request, "request_id", None) or ""
    current_id.set(given if WELL_FORMED.fullmatch(given) else "")


def let_go(**_: Any) -> None:
    """End the id with its task."""
    current_id.set("")
