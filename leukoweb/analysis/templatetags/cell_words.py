"""Names of cell types for pages and paper, which never show a code."""

from django import template

from detection.cell_types import BESIDE_THE_TYPES, BY_CODE, label_of
from leukoweb.sentences import translated

register = template.Library()


@register.filter
def type_name(code: str) -> str:
    """Return the name of a cell type in the active language: "Segmented neutrophil"."""
    return translated(label_of(code))


@register.filter
def type_short(code: str) -> str:
    """Return the short name of a cell type: "Seg"; what is no type stays as it is."""
    return translated(BY_CODE[code].short if code in BY_CODE else BESIDE_THE_TYPES.get(code, code))
