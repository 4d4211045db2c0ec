"""How the programming interface refuses: every error of REST framework as a sentence with a code of refusals.CODES.

What the answer looks like is written in leukoweb/answers.py, for pages and programs alike.
"""

from collections.abc import Iterator

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from leukoweb.answers import NOT_FOUND, RETRY_AFTER_S, TOO_LARGE, UNREADABLE, as_json
from leukoweb.refusals import Refused

CODE_OF = {
    exceptions.ValidationError: "invalid",
    exceptions.ParseError: "unreadable",
    exceptions.AuthenticationFailed: "bad_token",
    exceptions.NotAuthenticated: "not_signed_in",
    exceptions.PermissionDenied: "not_allowed",
    DjangoPermissionDenied: "not_allowed",
    exceptions.NotFound: "not_found",
    Http404: "not_found",
    exceptions.MethodNotAllowed: "wrong_method",
    exceptions.NotAcceptable: "wrong_format",
    exceptions.UnsupportedMediaType: "wrong_content_type",
    exceptions.Throttled: "too_many_requests",
}


def answer_in_words(error: Exception, context: dict) -> Response | None:
    """Return the JSON of an error, or None for a fault, which Django then answers."""
    if isinstance(error, RequestDataTooBig | TooManyFilesSent):
        error = Refused(TOO_LARGE, code="too_large")
    elif isinstance(error, SuspiciousOperation):
        error = Refused(UNREADABLE, code="unreadable")
    if isinstance(error, Refused):
        answer = Response(as_json(error), status=error.status)
        if error.status == 503:
            answer["Retry-After"] = str(RETRY_AFTER_S)
        return answer
    answer = exception_handler(error, context)
    code = next((code for kind, code in CODE_OF.items() if isinstance(error, kind)), None)
    if answer is None or code is None:
        return answer
    fields, said = {}, answer.data
    if isinstance(error, exceptions.ValidationError) and isinstance(said, dict):
        fields = {name: " ".join(_sentences(found)) for name, found in said.items()}
    sentence = NOT_FOUND if code == "not_found" else " ".join(_sentences(said if fields else _detail(said)))
    if code == "unreadable":
        sentence = f"{UNREADABLE} {sentence.rstrip('.')}."
    refused = Refused(sentence, code=code, status=answer.status_code, fields=fields)
    answer.data = as_json(refused)
    return answer


def _detail(said: object) -> object:
    return said.get("detail", said) if isinstance(said, dict) else said


def _sentences(found: object, name: str = "") -> Iterator[str]:
    """Yield the sentences of nested field errors, each behind the name of its field."""
    if isinstance(found, dict):
        for inner, more in found.items():
            yield from _sentences(more, f"{name}.{inner}" if name else str(inner))
    elif isinstance(found, list | tuple):
        for more in found:
            yield from _sentences(more, name)
    else:
        yield f"{name}: {found}" if name else str(found)
