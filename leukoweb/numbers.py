"""Numbers as the active language writes them."""

from django.utils.formats import get_format


def number(value: object, spec: str = "") -> str:
    """Format a number by `spec`, with the decimal and thousands separators of the active language."""
    marks = {".": get_format("DECIMAL_SEPARATOR"), ",": get_format("THOUSAND_SEPARATOR")}
    return "".join(marks.get(letter, letter) for letter in format(value, spec))
