"""How far two readers agree beyond chance.

References
----------
Cohen 1960, Educational and Psychological Measurement 20:37. Fleiss, Cohen and Everitt 1969, Psychological Bulletin
72:323, for the standard error.
"""

import math
from collections import Counter
from collections.abc import Sequence

Z_95 = 1.959963984540054


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa of two readers.

    Parameters
    ----------
    pairs : list of (str, str)
        What the first and the second reader called each cell.

    Returns
    -------
    float or None
        1 for full agreement, 0 for what chance gives; None without a pair, or when both used one and the same label
        throughout (then chance alone explains everything).
    """
    n = len(pairs)
    if n == 0:
        return None
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(first[label] * second[label] for label in first) / n**2
    if by_chance == 1:
        return None
    agreed = sum(a == b for a, b in pairs) / n
    return (agreed - by_chance) / (1 - by_chance)


def kappa_interval(pairs: list[tuple[str, str]]) -> tuple[float, float] | None:
    """Return the 95 % interval of Cohen's kappa by its large-sample standard error.

    Parameters
    ----------
    pairs : list of (str, str)
        What the first and the second reader called each cell.

    Returns
    -------
    tuple of float or None
        (low, high), cut to -1 and 1; None without a kappa, and where the readers never disagree: the standard error is
        0 then, which would claim more than some ten cells can show.
    """
    kappa, n = cohen_kappa(pairs), len(pairs)
    if kappa is None or all(a == b for a, b in pairs):
        return None
    cells, first, second = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(first[label] * second[label] for label in first) / n**2
    agreed = sum(
        count / n * (1 - (first[a] + second[a]) / n * (1 - kappa)) ** 2 for (a, b), count in cells.items() if a == b
    )
    apart = sum(count / n * ((second[a] + first[b]) / n) ** 2 for (a, b), count in cells.items() if a != b)
    variance = agreed + (1 - kappa) ** 2 * apart - (kappa - by_chance * (1 - kappa)) ** 2
    error = Z_95 * math.sqrt(max(variance, 0.0) / n) / (1 - by_chance)
    return max(kappa - error, -1.0), min(kappa + error, 1.0)
