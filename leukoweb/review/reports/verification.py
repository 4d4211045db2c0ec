"""How many counted cells a person verified, and the one word that follows from it for every page, file and answer.

Pure functions of a report's cells; who may sign, and where the numbers are printed, is left to others.
"""

import math
from collections.abc import Sequence

from detection.cell_types import NOT_A_CELL
from leukoweb.review.reports.parts import CellPart, Verification

PRELIMINARY, REVIEWED = "preliminary, not reviewed", "reviewed, not signed"


def verification_of(
    cells: Sequence[CellPart], least_percent: float, names: dict[str, str] | None = None
) -> Verification:
    """Count the verified cells of a report.

    Parameters
    ----------
    cells : sequence of CellPart
        The cells of a report's content, each with `code` and `decisions`, first to last.
    least_percent : float
        The laboratory's policy: how many percent of the counted cells must be verified, 0 to 100.
    names : dict, optional
        User name to printed name; a user name that is absent is printed as it is.

    Returns
    -------
    Verification
        A cell is verified while its last decision gives it a label: a decision that was undone does not count.
    """
    counted = [cell for cell in cells if cell["code"] not in ("", NOT_A_CELL)]
    verified = [cell for cell in counted if cell["decisions"] and cell["decisions"][-1]["to"]]
    readers = dict.fromkeys(cell["decisions"][-1]["by"] for cell in verified)
    return {
        "counted": len(counted),
        "verified": len(verified),
        "needed": cells_needed(len(counted), least_percent),
        "by": [(names or {}).get(reader, reader) for reader in readers],
    }


def cells_needed(counted: int, least_percent: float) -> int:
    """Return how many of `counted` cells the policy asks a person to verify, rounded upward."""
    return math.ceil(round(counted * least_percent / 100, 6))


def is_reviewed(verification: Verification) -> bool:
    """Say whether the word "reviewed" may be used: a person verified every counted cell, and there is one."""
    return 0 < verification["counted"] == verification["verified"]


def sentence_of(verification: Verification) -> str:
    """Return what a report prints of the verification, such as "113 of 113 cells verified by a person."."""
    counted, verified = verification["counted"], verification["verified"]
    alone = f", {counted - verified} by the detector alone" if verified < counted else ""
    return f"{verified} of {counted} cell{'' if counted == 1 else 's'} verified by a person{alone}."


def status_of(verification: Verification, *, is_signed: bool, is_amending: bool = False) -> str:
    """Return the words that are shown beside every figure of a case or report (C10).

    "signed" alone means that every counted cell was verified; otherwise the numbers are part of the status.
    """
    if not is_signed:
        return REVIEWED if is_reviewed(verification) else PRELIMINARY
    words = "signed" if is_reviewed(verification) else f"signed, {sentence_of(verification).rstrip('.')}"
    return f"{words}; an amendment is open" if is_amending else words
