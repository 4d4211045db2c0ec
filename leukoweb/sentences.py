"""Sentences that are stored, sealed or computed in English, shown in the active language.

Flags, limits and rules are worked out by modules without Django, and a sealed report or an event of the audit keeps its
English text for ever. Who shows such a text translates it here: by the text, or by the message that it fills.
"""

import re
from functools import cache, lru_cache

from django import template
from django.utils.translation import get_language, gettext

from leukoweb.numbers import number
from leukoweb.sentence_patterns import PATTERNS, TYPES

register = template.Library()  # a builtin of the templates: {{ flag.sentence|translated }}

_PLACE = re.compile(r"%\((\w+)\)s")
_NUMBER = re.compile(r"([<>]?)(\d[\d,]*(?:\.\d+)?)")
_PARTS = {"count": r"[\d,]+", "title": "[^,;]+?"}  # what fills these places; others are filled by anything
_NEXT_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z“])")


@cache
def _shapes() -> list[tuple[re.Pattern[str], str]]:
    """Return each message with places as an expression that finds the values, the longest first."""
    shapes = []
    for message in sorted(PATTERNS, key=lambda text: -len(_PLACE.sub("", text))):
        parts = [part.replace("%%", "%") if i % 2 == 0 else part for i, part in enumerate(_PLACE.split(message))]
        shape = "".join(
            f"(?P<{part}>{_PARTS.get(part, '.+?')})" if i % 2 else re.escape(part) for i, part in enumerate(parts)
        )
        shapes.append((re.compile(shape, re.DOTALL), message))
    return shapes


@register.filter
def translated(text: object) -> str:
    """Return a stored English text in the active language; what has no translation stays as it is."""
    said, language = str(text), get_language() or "en"
    return said if not said or language.startswith("en") else _translated(said, language)


@lru_cache(maxsize=4096)
def _translated(said: str, language: str) -> str:
    for text in (said, said[0].upper() + said[1:]):  # a name of a type within a sentence
        known = gettext(text)
        if known != text or text in TYPES:
            return known
    if found := _NUMBER.fullmatch(said):
        places = len(found[2].partition(".")[2])
        return found[1] + number(float(found[2].replace(",", "")), f"{',' if ',' in found[2] else ''}.{places}f")
    sentences = _NEXT_SENTENCE.split(said)
    if len(sentences) > 1:
        return " ".join(_translated(sentence, language) for sentence in sentences)
    for shape, message in _shapes():
        if found := shape.fullmatch(said):
            return gettext(message) % {name: _translated(value, language) for name, value in found.groupdict().items()}
    if said.endswith("."):
        return f"{_translated(said[:-1], language)}."
    for mark in ("; ", ", "):
        if mark in said:
            return mark.join(_translated(part, language) for part in said.split(mark))
    return said
