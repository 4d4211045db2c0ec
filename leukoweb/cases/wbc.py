"""The analyser's white cell count as laboratories write it: spellings of units, and which values can be right (C14).

Pure functions of numbers, units and times; services.py and the pages refuse or warn.
"""

import re
import unicodedata
from datetime import datetime
from decimal import Decimal

GIGA_PER_L = {"10*9/L": 1.0, "10*3/uL": 1.0, "/uL": 0.001}
MOST_GIGA_PER_L = 1500
# Below this the whole film holds hardly a cell: more often the unit is wrong (6.2 "/µL" for 6.2 × 10⁹/L).
UNLIKELY_GIGA_PER_L = 0.1
NAMES = {"10*9/L": "× 10⁹/L", "10*3/uL": "× 10³/µL", "/uL": "/µL"}
# Without blanks and signs of multiplication and power, in small letters; µ and μ are one letter, ⁹ is 9.
_SPELLINGS = {
    "10*9/L": ("109/l", "10e9/l", "g/l", "giga/l", "gpt/l", "/nl", "1/nl", "106/ml", "10e6/ml"),
    "10*3/uL": (
        "103/ul", "10e3/ul", "k/ul", "k/mm3", "k/cumm", "th/ul", "th/mm3", "thou/ul", "1000/ul", "103/mm3", "10e3/mm3",
        "103/cumm", "1000/mm3", "k/cmm", "tsd/ul", "tys/ul", "thousand/ul",
    ),
    "/uL": ("/ul", "1/ul", "cells/ul", "/mm3", "1/mm3", "cells/mm3", "/cumm", "106/l", "10e6/l", "mpt/l"),
}  # fmt: skip
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def unit_of(text: str) -> str:
    """Return the unit that a spelling means, one of GIGA_PER_L; the text as it is where it means none of them."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("μ", "u").replace("×", "")
    plain = "".join(sign for sign in plain if not sign.isspace() and sign not in "^*.·⋅,{}[]()")
    plain = re.sub("cell[s]?", "", plain)
    for said, meant in (("mcl", "ul"), ("\u2212", "-"), ("ul-1", "/ul"), ("l-1", "/l")):
        plain = plain.replace(said, meant)
    for prefix in ("x", ""):
        if plain.removeprefix(prefix) in _UNIT_OF:
            return _UNIT_OF[plain.removeprefix(prefix)]
    return text


def refusal_of(value: Decimal | float, unit: str) -> str:
    """Say why a value cannot be a white cell count of blood; "" where it can."""
    giga = float(value) * GIGA_PER_L[unit]
    if not giga > 0:
        return "The WBC must be more than 0: leave the field empty where the analyser gave none."
    if giga > MOST_GIGA_PER_L:
        return (
            f"A WBC of {float(value):g} {NAMES[unit]} is more than blood can hold "
            f"({MOST_GIGA_PER_L:,} × 10⁹/L): check value and unit."
        )
    return ""


def warnings_of(
    value: Decimal | float,
    unit: str,
    measured_at: datetime | None,
    collected_at: datetime | None,
    received_at: datetime | None,
    *,
    most_hours: float,
) -> list[tuple[str, str]]:
    """Return what should be checked about a count that is possible: an unlikely value, and the age of the specimen.

    Parameters
    ----------
    value, unit
        As entered; the unit is one of GIGA_PER_L.
    measured_at, collected_at, received_at : datetime, optional
        The receipt stands in for a collection that is not known.
    most_hours : float
        How long after its collection a specimen may be measured.

    Returns
    -------
    list of (str, str)
        What is so, and what is to be done.
    """
    found = []
    if float(value) * GIGA_PER_L[unit] < UNLIKELY_GIGA_PER_L:
        found.append((f"The WBC is only {float(value) * GIGA_PER_L[unit]:.2g} × 10⁹/L.", "Check the unit."))
    start, name = (collected_at, "collected") if collected_at else (received_at, "received")
    if measured_at and start:
        hours = (measured_at - start).total_seconds() / 3600
        if abs(hours) > most_hours:
            when = "after" if hours > 0 else "before"
            found.append(
                (f"The WBC was measured {_span(abs(hours))} {when} the specimen was {name}.", "Check both times.")
            )
    return found


def _span(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
