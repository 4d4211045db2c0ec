"""Stored values in the words of a report; it knows no models."""

from django import template

register = template.Library()


@register.filter
def minute(stamp):
    """An ISO time as date and minute, in the zone it was written in."""
    return f"{stamp[:10]} {stamp[11:16]}" if stamp else ""


@register.filter
def unit(code):
    """A unit of counts as it is printed."""
    return {"10*9/L": "× 10⁹/L", "10*3/uL": "× 10³/µL", "/uL": "/µL"}.get(code, code)
