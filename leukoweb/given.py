"""What a request may hold: one guard for JSON, one for numbers and texts of addresses, queries and forms.

What the values mean, and whether they are allowed, is left to forms, serializers and services.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext

from leukoweb.answers import answer_of
from leukoweb.numbers import number
from leukoweb.refusals import Refused

MOST_JSON_BYTES = 2**20
MOST_DEPTH = 20
MOST_QUERY_BYTES = 16_384
LARGEST_KEY = 2**63 - 1  # what a row's key can be, in both databases
MOST_OFFSET = timedelta(hours=14)  # of a time zone; PostgreSQL stores none of 16 hours


def is_offset_on_earth(at: datetime) -> bool:
    """Whether a time has no offset, or one that a place on earth can have."""
    return abs(at.utcoffset() or timedelta()) <= MOST_OFFSET


def json_of(raw: bytes, *, most_bytes: int = MOST_JSON_BYTES) -> object:
    """Return the value of a JSON text; refuse one that is broken, large or deep, or holds what no row can keep."""
    if len(raw) > most_bytes:
        raise Refused(
            gettext("The JSON is larger than %(number)s MiB: send less at once.")
            % {"number": number(most_bytes / 2**20, "g")},
            code="too_large",
        )
    try:
        value = json.loads(
            raw.decode(), parse_int=_whole, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_once
        )
    except RecursionError:
        raise _unreadable(
            gettext("it is nested deeper than %(most_depth)s levels") % {"most_depth": MOST_DEPTH}
        ) from None
    except UnicodeDecodeError:
        raise _unreadable(gettext("it is not UTF-8")) from None
    except json.JSONDecodeError as error:
        raise _unreadable(
            gettext("%(lower)s%(msg)s, at line %(lineno)s")
            % {"lower": error.msg[:1].lower(), "msg": error.msg[1:], "lineno": error.lineno}
        ) from None
    for part, depth in _parts(value):
        if depth > MOST_DEPTH:
            raise _unreadable(gettext("it is nested deeper than %(most_depth)s levels") % {"most_depth": MOST_DEPTH})
        if isinstance(part, str) and not is_storable(part):
            raise _unreadable(gettext("a text holds a NUL character or half of a surrogate pair"))
    return value


def whole_number(text: str | None) -> int | None:
    """Return the row's key that a text is in plain digits, or None: no sign, no "²", nothing over 64 bits."""
    if not text or not re.fullmatch(r"[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if number <= LARGEST_KEY else None


def is_storable(text: str) -> bool:
    """Say whether a text can be stored: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


class GuardRequests:
    """Refuse a request whose address, query or form holds what no row can keep, before any view sees it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if len(query) > MOST_QUERY_BYTES:
            return answer_of(request, Refused(gettext("The address is too long."), code="too_large", status=414))
        if not all(map(is_storable, _texts(request.GET))):
            return answer_of(request, Refused(gettext("The address contains an invalid character."), code="unreadable"))
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable, args: tuple, kwargs: dict[str, object]
    ) -> HttpResponse | None:
        """Check the parts of the address, and a form that is held in memory; uploads are read by their views."""
        for part in kwargs.values():
            if (isinstance(part, int) and part > LARGEST_KEY) or (isinstance(part, str) and not is_storable(part)):
                raise Http404
        is_form = request.content_type == "application/x-www-form-urlencoded" or hasattr(request, "_post")
        if is_form and not all(map(is_storable, _texts(request.POST))):
            return answer_of(
                request, Refused(gettext("The form contains an invalid character (NUL)."), code="unreadable")
            )
        return None


def _texts(query: QueryDict) -> Iterator[str]:
    for name, values in query.lists():
        yield name
        yield from values


def _parts(value: object) -> Iterator[tuple[object, int]]:
    """Yield every value and key inside a JSON value with its depth, without recursion."""
    levels, ended = [iter([value])], object()
    while levels:
        part = next(levels[-1], ended)
        if part is ended:
            levels.pop()
            continue
        yield part, len(levels)
        if len(levels) <= MOST_DEPTH and isinstance(part, dict | list):
            levels.append(chain.from_iterable(part.items()) if isinstance(part, dict) else iter(part))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object that has a name twice: only one of its values would be read."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _unreadable(gettext("an object has a name twice"))
    return found


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > LARGEST_KEY:
        raise _unreadable(gettext("a number has more than 64 bits"))
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _unreadable(gettext("%(text)s is no number that can be kept") % {"text": text[:20]})
    return number


def _unreadable(why: str) -> Refused:
    return Refused(gettext("The request could not be read as JSON: %(why)s.") % {"why": why}, code="unreadable")
