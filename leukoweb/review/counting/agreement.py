"""How far two readers agree beyond chance; it knows labels and no readers.

References
----------
Cohen 1960, Educational and Psychological Measurement 20:37.
"""

from collections import Counter


def cohen_kappa(pairs) -> float | None:
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
