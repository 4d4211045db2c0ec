"""Ages in completed days, months and years, and the bounds that ranges and flags use: `3d`, `6m`, `2y`.

A bound is half open (from inclusive, to exclusive) and a birthday counts from its day on.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

_BOUND = re.compile(r"\A(\d{1,5})([dmy])\Z")
_DAYS = {"d": 1.0, "m": 365.25 / 12, "y": 365.25}
FROM_BIRTH = "0d"


@dataclass(frozen=True)
class Age:
    """An age in completed days, in completed months and in completed years, each of the whole life."""

    days: int
    months: int
    years: int

    def reached(self, bound: str) -> bool:
        """Say whether a bound such as `6m` has been reached; ValueError when it is none."""
        number, unit = _parts(bound)
        return {"d": self.days, "m": self.months, "y": self.years}[unit] >= number

    def words(self) -> str:
        """Return the age as a laboratory writes it: days under two months, months under two years, then years."""
        if self.months < 2:
            return f"{self.days} day" + ("" if self.days == 1 else "s")
        if self.years < 2:
            return f"{self.months} months"
        return f"{self.years} years"


def age_at(birth: date, on: date) -> Age | None:
    """Return the age on a day; None before the birth. Born on 29 February: in other years the birthday is 1 March."""
    if on < birth:
        return None
    months = 12 * (on.year - birth.year) + on.month - birth.month - (on.day < birth.day)
    return Age(days=(on - birth).days, months=months, years=months // 12)


def age_from(patient: dict[str, Any]) -> Age | None:
    """Return the age in the stored content of a report; before version 1.3 it held a number of years."""
    if patient.get("age"):
        return Age(**{name: patient["age"][name] for name in ("days", "months", "years")})
    years = patient.get("age_years")
    if years is None:
        return None
    return Age(days=int(years * 365.25), months=int(years * 12), years=int(years))


def is_within(age: Age | None, age_from: str, age_under: str | None) -> bool:
    """Say whether an age lies in a half-open span; an unknown age lies only in the span of a whole life."""
    if age is None:
        return age_from == FROM_BIRTH and age_under is None
    return age.reached(age_from) and (age_under is None or not age.reached(age_under))


def is_judged(age: Age | None, age_from: str, age_under: str | None) -> bool:
    """Say whether a limit of certain ages is for a person; one whose age is not known is judged as an adult."""
    return age_under is None if age is None else is_within(age, age_from, age_under)


def days_of(bound: str | None) -> float:
    """Return about how many days a bound is, to compare bounds with each other; no bound is infinite."""
    if bound is None:
        return float("inf")
    number, unit = _parts(bound)
    return number * _DAYS[unit]


def is_bound(value: object) -> bool:
    """Say whether a value is a bound: a whole number and d, m or y."""
    return isinstance(value, str) and bool(_BOUND.match(value))


def bound_of_years(value: object) -> object:
    """Return the bound of a number of years, as rules of before version 1.3 stored ages; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1000:
        return value
    if value == 0:
        return FROM_BIRTH
    if value == int(value):
        return f"{int(value)}y"
    if value * 12 == int(value * 12):
        return f"{int(value * 12)}m"
    return f"{round(value * 365.25)}d"


def _parts(bound: str) -> tuple[int, str]:
    found = _BOUND.match(bound)
    if found is None:
        raise ValueError(f"“{bound}” is no age: write a whole number and d, m or y, such as 3d, 6m or 2y.")
    return int(found[1]), found[2]
