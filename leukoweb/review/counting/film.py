"""Whether the film and the analyser's white cell count can be of one specimen (C14); it counts nothing.

Only whole fields are compared: pictures cut around single cells say nothing of how densely leukocytes lie.

References
----------
The estimate of the WBC from a film: average per high-power field (40x objective) times 2,000 per microlitre,
ormedmedical.us, table 20; a high-power field of field number 22 is 0.24 mm2.
"""

from leukoweb.review.counting.differential import Differential
from leukoweb.review.counting.words import cells, printed

# A square of 140 micrometres: smaller pictures are cut around cells.
LEAST_FIELD_MM2 = 0.02
LEAST_CELLS = 10


def contradiction_of(differential: Differential, area_mm2: float | None) -> str:
    """Say where the leukocytes on the film and the analyser's count contradict each other; "" where they do not.

    Parameters
    ----------
    differential : Differential
        With the analyser's count, else there is nothing to compare.
    area_mm2 : float or None
        Of all fields that were read; None where a field is too small to tell a density.

    Returns
    -------
    str
        Also "" where both expect fewer than 10 cells, and where the policy switches the comparison off.
    """
    wbc, rules = differential.wbc_giga_per_l, differential.rules
    if wbc is None or not area_mm2:
        return ""
    if not rules.film_wbc_per_mm2:
        return ""
    estimate = differential.total / area_mm2 * rules.film_wbc_per_mm2
    expected = wbc / rules.film_wbc_per_mm2 * area_mm2
    if max(differential.total, expected) < LEAST_CELLS:
        return ""
    if 1 / rules.film_tolerance <= max(estimate, 1e-9) / wbc <= rules.film_tolerance:
        return ""
    return (
        f"Film and analyser contradict each other: {cells(differential.total, 'leukocyte', 'leukocytes')} on "
        f"{area_mm2:.2f} mm² suggest about {printed(estimate, 1)} × 10⁹/L, the analyser gave {printed(wbc, 2)}."
    )
