"""Stored values in the words of a report."""

from datetime import date

from django import template
from django.utils.formats import date_format
from django.utils.translation import gettext

from leukoweb.analysis.detectors import ComputedOn
from leukoweb.review.counting.table import Line
from leukoweb.review.reports.changes import NOTHING, PATIENT, SPECIMEN, WORDS
from leukoweb.sentences import translated

register = template.Library()

UNITS = {
    "10*9/L": "× 10⁹/L", "10*3/uL": "× 10³/µL", "/uL": "/µL", "10*12/L": "× 10¹²/L", "10*6/uL": "× 10⁶/µL",
    "/100{WBCs}": "per 100 WBC",
}  # fmt: skip
SEXES = {"F": "female", "M": "male"}
YEARS_WITH_MONTHS = 2
WRITTEN = {
    *PATIENT.values(),
    *SPECIMEN.values(),
    WORDS["comment"],
    WORDS["left_shift_comment"],
    "Slides",
    "Slides set aside",
} - {"Sex"}


@register.filter
def day(stored: str | None) -> str:
    """Return an ISO date as the active language writes it."""
    return date_format(date.fromisoformat(stored), "SHORT_DATE_FORMAT") if stored else ""


@register.filter
def minute(stamp: str | None) -> str:
    """Return an ISO time as date, minute and offset, in the zone it was written in."""
    return f"{day(stamp[:10])} {stamp[11:16]} {_offset(stamp)}" if stamp else ""


@register.filter
def second(stamp: str | None) -> str:
    """Return an ISO time as date, second and offset, in the zone it was written in."""
    return f"{day(stamp[:10])} {stamp[11:19]} {_offset(stamp)}" if stamp else ""


@register.filter
def unit(code: str) -> str:
    """Return a unit of counts as it is printed."""
    return translated(UNITS.get(code, code))


@register.filter
def sex(code: str) -> str:
    """Return a sex as it is printed."""
    return translated(SEXES.get(code, "unknown"))


@register.filter
def age(years: float) -> str:
    """Return an age as it is printed: in months under two years, else in whole years."""
    if years < YEARS_WITH_MONTHS:
        return translated(f"{int(years * 12)} months")
    return translated(f"{int(years)} years")


@register.filter
def paged(stylesheet: str) -> str:
    """Return the style sheet of a PDF with the words of its page numbers in the active language."""
    page, of = gettext("Page"), gettext("of")
    return stylesheet.replace('"Page "', f'"{page} "').replace('" of "', f'" {of} "')


@register.filter
def figure(text: str, what: str) -> str:
    """Return an old or new value of an amendment: figures in the active language, what people wrote as it is."""
    return text if what in WRITTEN and text != NOTHING else translated(text)


@register.filter
def has_doubt(lines: list[Line]) -> bool:
    """Say whether the call of a line has a "?"."""
    return any(line["call_text"].endswith("?") for line in lines)


@register.filter
def computed(computed_on: ComputedOn) -> str:
    """Return the device, backend and precision of a run, as far as they were stored."""
    parts = (computed_on.get("device"), computed_on.get("backend"), computed_on.get("precision"))
    return " ".join(part for part in parts if part)


def _offset(stamp: str) -> str:
    """Return the offset of an ISO time as "UTC" or "UTC+02:00": the doubled hour of autumn has two."""
    tail = stamp[19:].lstrip("0123456789.")
    return "UTC" if tail in ("", "Z", "+00:00") else f"UTC{tail}"
