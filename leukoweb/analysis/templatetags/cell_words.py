"""Names of cell types for pages and paper, which never show a code; it knows no models."""

from django import template

from detection.cell_types import BY_CODE, NOT_A_CELL, UNIDENTIFIED

register = template.Library()

BESIDE_THE_TYPES = {UNIDENTIFIED: "Unidentified", NOT_A_CELL: "Not a cell"}


@register.filter
def type_name(code: str) -> str:
    """Return the name of a cell type as a heading begins: "Segmented neutrophil"; what is no type stays as it is."""
    return BY_CODE[code].label if code in BY_CODE else BESIDE_THE_TYPES.get(code, code)


@register.filter
def type_short(code: str) -> str:
    """Return the short name of a cell type: "Seg"; what is no type stays as it is."""
    return BY_CODE[code].short if code in BY_CODE else BESIDE_THE_TYPES.get(code, code)
