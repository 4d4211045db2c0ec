"""What every table of a laboratory's rules is checked for: shape, ids, texts and ages; each table adds its own checks.

Problems are sentences or their ends, in English; who shows them translates them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from leukoweb.review.counting.ages import days_of, is_bound

Row = dict[str, Any]  # as it comes: what a table is made of is known once these checks are passed


def problem_of_table(rows: object, of: type, *, row: str, most: int, problem_of_row: Callable[[Row], str]) -> str:
    """Return in a sentence what is wrong with a table, or "".

    Parameters
    ----------
    rows : object
        Anything; right is a list of at most `most` dicts.
    of : type
        The TypedDict of a row, with `key` and `title`: its names are those that each dict must have.
    row : str
        What a row is called: "flag limit".
    problem_of_row : callable
        The end of a sentence, or "".
    """
    if not isinstance(rows, list) or len(rows) > most:
        return f"At most {most} {row}s are possible, as a list."
    wanted, name = list(of.__annotations__), row.capitalize()
    keys: set[object] = set()
    for number, entry in enumerate(rows, 1):
        if not isinstance(entry, dict) or set(entry) != set(wanted):
            return f"{name} {number} must have these fields: {', '.join(wanted)}."
        problem = problem_of_row(entry)
        if not problem and entry["key"] in keys:
            problem = f"the id {entry['key']} is used twice."
        if problem:
            return f"{name} {number} ({entry['title'] or entry['key']}): {problem}"
        keys.add(entry["key"])
    return ""


def problem_of_texts(entry: Mapping[str, Any], limits: Mapping[str, int]) -> str:
    """Return which text is empty or longer than its limit, or ""."""
    for name, most in limits.items():
        if not isinstance(entry[name], str) or not 0 < len(entry[name].strip()) <= most:
            return f"fill in the {name.replace('_', ' ')}, at most {most} characters."
    return ""


def problem_of_key(key: str) -> str:
    """Return what is wrong with an id, or ""."""
    is_right = key.replace("_", "").isalnum() and key.isascii()
    return "" if is_right else "the id must be of letters, digits and underscores."


def problem_of_ages(entry: Mapping[str, Any]) -> str:
    """Return what is wrong with the half-open span of ages of a row, or ""."""
    if not is_bound(entry["age_from"]) or not (entry["age_under"] is None or is_bound(entry["age_under"])):
        return "write ages as 3d, 6m or 2y."
    if days_of(entry["age_under"]) <= days_of(entry["age_from"]):
        return "the ages are empty: “under” must be above “from”."
    return ""


def is_limit(value: object, most: float = 100_000) -> bool:
    """Say whether a value is a number from 0 to `most`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
