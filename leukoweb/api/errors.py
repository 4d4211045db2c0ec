"""How the programming interface says no: JSON with a sentence in `detail`, and one by field; it knows no cases."""

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from rest_framework.exceptions import ParseError
from rest_framework.views import exception_handler

TOO_MUCH = "The request is too large: send the images as files of a multipart request, at most 100 at once."


def answer_in_words(error, context):
    """Turn Django's refusals of odd requests into 400 with a sentence, and leave the rest to REST framework."""
    if isinstance(error, RequestDataTooBig | TooManyFilesSent):
        error = ParseError(TOO_MUCH)
    elif isinstance(error, SuspiciousOperation):
        error = ParseError("The request could not be read.")
    response = exception_handler(error, context)
    if response is not None and not (isinstance(response.data, dict) and "detail" in response.data):
        fields = response.data if isinstance(response.data, dict) else {}
        response.data = {"detail": " ".join(_sentences(response.data)), **fields}
    return response


def _sentences(found, name=""):
    """The sentences of nested field errors, each behind the name of its field."""
    if isinstance(found, dict):
        for inner, more in found.items():
            yield from _sentences(more, f"{name}.{inner}" if name else str(inner))
    elif isinstance(found, list | tuple):
        for more in found:
            yield from _sentences(more, name)
    else:
        yield f"{name}: {found}" if name else str(found)
