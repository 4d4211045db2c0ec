"""How the programming interface says no: always JSON with a sentence in `detail`; it knows no cases."""

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
    return exception_handler(error, context)
