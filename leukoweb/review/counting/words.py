"""Figures as they are printed: a counted cell never reads 0.0, and one cell is no plural; it counts nothing."""


def printed(value: float | None, decimals: int) -> str:
    """Return a figure with its decimals; "" for None, and “<0.1” where it is more than 0 and less than one step (C12).

    Parameters
    ----------
    value : float or None
        Zero or more.
    decimals : int
        0 to 2; with 0 the step is 1, with 1 it is 0.1.
    """
    if value is None:
        return ""
    step = 10.0**-decimals
    # nine digits are what a stored figure keeps
    if 0 < value < step - 1e-9:
        return f"<{step:.{decimals}f}"
    return f"{value:.{decimals}f}"


def cells(count: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else many}"
