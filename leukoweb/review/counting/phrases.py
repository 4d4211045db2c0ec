"""Phrases whose places in braces, such as {NGS}, {blasts}, {MON#} or {cbc:MCV}, take the figures of the case; pure.

A phrase with an unknown placeholder is refused when it is written, not when a report is due.
"""

import re
from collections.abc import Collection

from detection.cell_types import CODES
from leukoweb.cases.cbc import PARAMETERS, CbcValuePart
from leukoweb.review.counting.groups import GROUPS
from leukoweb.review.counting.parts import DifferentialPart
from leukoweb.review.counting.words import printed
from leukoweb.sentences import translated

PLACES = ("total", *GROUPS, *CODES)
_FURTHER = {*(f"{key}#" for key in (*GROUPS, *CODES)), *(f"cbc:{key}" for key in PARAMETERS)}
_PLACE = re.compile(r"\{([^{}]*)\}")


def unknown_places(text: str) -> list[str]:
    """Return the places of a phrase that no figure belongs to; empty when all are known.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return [name for name in _PLACE.findall(text) if name not in PLACES and name not in _FURTHER]


def filled(text: str, differential: DifferentialPart, decimals: int, cbc: Collection[CbcValuePart] = ()) -> str:
    """Put the figures of a case into the places of a phrase, as the active language writes numbers.

    Parameters
    ----------
    text : str
        A place is `{total}` (leukocytes counted), a group or a code, with `#` behind it for the absolute count, or
        `{cbc:MCV}`; what has no figure stays as it is.
    differential : DifferentialPart
    decimals : int
        Digits behind the point of a percentage; 0 upward.
    cbc : collection of CbcValuePart
        The values of the blood count (cases/cbc.py); they are printed with their unit, as they were sent.

    Returns
    -------
    str
        Percentages as on the report; erythroblasts and smudge cells outside of the differential per 100 WBC.
    """
    rows = {row["key"]: row for row in differential["rows"]} | differential["groups"]
    figures = {"total": str(differential["total"])}
    for key, row in rows.items():
        value = row["percent"] if row["percent"] is not None else row["per_100"]
        figures[key] = printed(value or 0, decimals)
        if row["absolute"] is not None:
            figures[f"{key}#"] = printed(row["absolute"], 2)
    figures = {key: translated(figure) for key, figure in figures.items()}
    figures |= {f"cbc:{value['key']}": f"{value['sent']} {value['unit']}".strip() for value in cbc}
    return _PLACE.sub(lambda place: figures.get(place[1], place[0]), text)
