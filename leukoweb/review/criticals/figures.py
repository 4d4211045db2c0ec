"""How fast critical results were told, over a period: the figures of the page and of its file."""

import statistics
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.review.criticals.models import Critical
from leukoweb.review.reports.parts import sealed_time

WITHIN_MIN = 30
MOST_DAYS = 3660


class Told(NamedTuple):
    """How many results of a period were told, and how fast; `total` leaves out those that nobody had to tell.

    Left out are values that an exception covers, or that were no longer critical before anybody was told.
    """

    total: int
    within: int
    later: int
    never: int
    median: float | None

    @property
    def percent(self) -> float | None:
        """The share that was told within the goal."""
        return 100 * self.within / self.total if self.total else None


def criticals_between(user: User, first: date, last: date) -> list[Critical]:
    """Return the results that were detected on the days of a period, by the laboratory's calendar."""
    start, end = (
        timezone.make_aware(datetime.combine(day, datetime.min.time())) for day in (first, last + timedelta(days=1))
    )
    found = Critical.objects.visible_to(user).filter(detected_at__gte=start, detected_at__lt=end)
    found = found.filter(case__is_demonstration=False).select_related("case").with_log()
    return list(found.order_by("detected_at", "pk"))


def told_of(criticals: list[Critical]) -> Told:
    """Count how many were told within 30 minutes of their detection."""
    counted = [critical for critical in criticals if critical.told or not (critical.no_longer or critical.covered)]
    minutes = [(c.told.told_at - c.detected_at).total_seconds() / 60 for c in counted if c.told]
    within = sum(minute <= WITHIN_MIN for minute in minutes)
    median = statistics.median(minutes) if minutes else None
    return Told(len(counted), within, len(minutes) - within, len(counted) - len(minutes), median)


CSV_HEAD = (
    "critical", "accession_number", "title", "value", "detected_at", "bench_receipt_at", "pathologist_receipt_at",
    "attempts", "told_to", "told_role", "how", "read_back", "told_at", "minutes", "closed_at", "reason", "exception",
)  # fmt: skip


def csv_row(critical: Critical) -> list[Any]:
    """Return the line of one result in the file; empty where nothing happened yet."""
    told, ending, covered = critical.told, critical.ending, critical.covered
    return [
        critical.pk, critical.case.accession_number, critical.title, critical.fact["sentence"],
        _at(critical.detected_at), _at(critical.bench_receipt and critical.bench_receipt.at),
        _at(critical.pathologist_receipt and critical.pathologist_receipt.at), len(critical.calls),
        told.told_to if told else "", told.told_role if told else "", told.how if told else "",
        "yes" if critical.is_read_back else "no", _at(told and told.told_at),
        critical.minutes if told else "", _at(ending and ending.at), ending.reason if ending else "",
        covered.exception_id if covered else "",
    ]  # fmt: skip


def _at(at: datetime | None) -> str:
    return sealed_time(at) if at else ""
