"""Where the points of a parameter lie on a true time axis, as coordinates of a drawing; it reads nothing.

Each reference range holds from its result until the next one, so that a changed range is a step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 620, 12, 222
MOST_TICKS = 5
_STEPS = [*(timedelta(hours=n) for n in (1, 3, 6, 12)), *(timedelta(days=n) for n in (1, 2, 5, 10, 20))]
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)


@dataclass(frozen=True)
class Point:
    """One value at one time, in its own unit; None where there is no interval or no limit of a range."""

    at: datetime
    value: float
    low: float | None = None
    high: float | None = None
    range_low: float | None = None
    range_high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A point as it is drawn; `low` and `high` are the ends of its interval."""

    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Chart:
    """The drawing; (x, time) and (y, number) of the ticks, (x, y, width, height) of the bands."""

    marks: list[Mark]
    bands: list[tuple[float, float, float, float]]
    times: list[tuple[float, datetime]]
    numbers: list[tuple[float, float]]


def chart_of(points: Sequence[Point], *, from_zero: bool) -> Chart:
    """Return the drawing of some points.

    Parameters
    ----------
    points : sequence of Point
        At least one, oldest first, with aware times of one zone.
    from_zero : bool
        Whether the axis begins at 0: shares and counts of cells.

    Returns
    -------
    Chart
        A single point, or several of one moment, stand in the middle.
    """
    first, last = points[0].at, points[-1].at
    span = (last - first).total_seconds()
    bottom, top, step = _axis(points, from_zero=from_zero)

    def x_of(at: datetime) -> float:
        share = (at - first).total_seconds() / span if span else 0.5
        return round(LEFT + 20 + share * (RIGHT - LEFT - 40), 1)

    def y_of(value: float) -> float:
        return round(BOTTOM - (min(max(value, bottom), top) - bottom) / (top - bottom) * (BOTTOM - TOP), 1)

    marks = [
        Mark(x_of(p.at), y_of(p.value), *(None if end is None else y_of(end) for end in (p.low, p.high)))
        for p in points
    ]
    edges = [LEFT, *(mark.x for mark in marks[1:]), RIGHT]
    bands = []
    for number, point in enumerate(points):
        if point.range_low is None and point.range_high is None:
            continue
        high = y_of(top if point.range_high is None else point.range_high)
        low = y_of(bottom if point.range_low is None else point.range_low)
        left, right = edges[number], edges[number + 1]
        if right > left:
            bands.append((left, high, round(right - left, 1), max(round(low - high, 1), 1.0)))
    numbers = [(y_of(bottom + n * step), round(bottom + n * step, 6)) for n in range(round((top - bottom) / step) + 1)]
    times = [(x_of(at), at) for at in _ticks(first, last)] if span else [(x_of(first), first)]
    return Chart(marks, bands, times, numbers)


def _axis(points: Sequence[Point], *, from_zero: bool) -> tuple[float, float, float]:
    """Return where the axis of numbers begins and ends, and its step: 1, 2 or 5 of a power of ten."""
    shown = [
        value for p in points for value in (p.value, p.low, p.high, p.range_low, p.range_high) if value is not None
    ]  # fmt: skip
    low, high = (0.0 if from_zero else min(shown)), max(shown)
    if high - low < 1e-9:
        low, high = (0.0, 1.0) if from_zero and high == 0 else (low - abs(low) * 0.1, high + abs(high) * 0.1 or 1.0)
        low = max(low, 0.0) if from_zero else low
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9))
    bottom = math.floor(low / step + 1e-9) * step
    top = math.ceil(high / step - 1e-9) * step
    return bottom, top if top > bottom else bottom + step, step


def _ticks(first: datetime, last: datetime) -> list[datetime]:
    """Return at most MOST_TICKS round times between two: hours, days, first days of months and years."""
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    for step in _STEPS:
        if (last - first) / step <= MOST_TICKS:
            found, at = [], midnight
            while at <= last:
                if at >= first:
                    found.append(at)
                at += step
            if len(found) > 1 or step == _STEPS[0]:
                return found[:MOST_TICKS] or [first, last]
            return [first, last]
    months = (last.year - first.year) * 12 + last.month - first.month
    step_months = next((n for n in _MONTHS if months / n <= MOST_TICKS), _MONTHS[-1])
    start = first.year * 12 + first.month - 1
    start += -start % step_months
    found = []
    for month in range(start, last.year * 12 + last.month, step_months):
        at = midnight.replace(year=month // 12, month=month % 12 + 1, day=1)
        if first <= at <= last:
            found.append(at)
    return found or [first, last]
