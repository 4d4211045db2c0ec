"""How large the body of a request may be, by address, and who may send one: decided before a byte of it is read.

deploy/nginx.conf repeats the limits for the proxy; slow senders are the concern of serving.py.
"""

import json
import re
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress

from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, HttpResponse

REFUSED: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # connections over whose bodies an answer was given
KIB, MIB = 2**10, 2**20
ANONYMOUS_BYTES = 32 * KIB  # a sign-in form, a request for a token, an answer of the identity provider
USUAL_BYTES = 4 * MIB
# Addresses that take files: the first that fits gives the limit of a signed-in sender.
LARGER_BODIES = (
    (re.compile(r"/uploads/[0-9a-f-]+/"), 1024 * MIB),  # one piece of a resumable upload
    # A whole slide of LEUKOWEB_MAX_SLIDE_MB (4096) and what the form adds.
    (re.compile(r"/cases/[0-9]+/slides/new/"), 5120 * MIB),
    (re.compile(r"/api/v1/cases/.+/slides/"), 5120 * MIB),
    (re.compile(r"/reports/verify/"), 64 * MIB),
    (re.compile(r"/atlas/"), 24 * MIB),
)


def body_limit(path: str, *, is_known: bool) -> int:
    """Return how many bytes a request to this address may carry; `is_known` says whether its sender is signed in."""
    if not is_known:
        return ANONYMOUS_BYTES
    return next((limit for address, limit in LARGER_BODIES if address.fullmatch(path)), USUAL_BYTES)


def limit_bodies(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse bodies that are too large for their address or sender, before forms or files are read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.headers.get("Transfer-Encoding"):
            return _refused(request, 411, "Send the length of the request (Content-Length).")
        length = request.headers.get("Content-Length") or "0"
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 2**60
        if size <= ANONYMOUS_BYTES:
            return get_response(request)
        # A token is checked by the API before it reads the body.
        is_known = SESSION_KEY in request.session or (
            request.path_info.startswith("/api/") and "Authorization" in request.headers
        )
        limit = body_limit(request.path_info, is_known=is_known)
        if size > limit:
            said = f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
            sign_in = "" if is_known else " for a request without sign-in: sign in first"
            return _refused(request, 413, f"The request is too large: the limit here is {said}{sign_in}.")
        return get_response(request)

    return middleware


def _refused(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        with suppress(OSError):  # else the server would read the rest of the body first
            connection.shutdown(socket.SHUT_RD)
        REFUSED.add(connection)
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponse(sentence, status=status, content_type="text/plain; charset=utf-8")
    body = json.dumps({"detail": sentence, "code": "too_large" if status == 413 else "unreadable"})
    return HttpResponse(body, status=status, content_type="application/json")
