"""Report templates: phrases whose places in braces, such as {NGS} or {blasts}, take the figures of the case; pure.

A phrase with an unknown placeholder is refused when it is written, not when a report is due.
"""

import re

from detection.cell_types import CODES
from leukoweb.review.counting.differential import GROUPS
from leukoweb.review.counting.words import printed

PLACES = ("total", *GROUPS, *CODES)
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
    return [name for name in _PLACE.findall(text) if name not in PLACES]


def filled(text: str, differential: dict, decimals: int) -> str:
    """Put the figures of a differential into the places of a phrase.

    Parameters
    ----------
    text : str
        A place is `{total}` (leukocytes counted), a group, or a code; unknown places stay as they are.
    differential : dict
        `Differential.as_dict()`.
    decimals : int
        Digits behind the point of a percentage; 0 upward.

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
    return _PLACE.sub(lambda place: figures.get(place[1], place[0]), text)
