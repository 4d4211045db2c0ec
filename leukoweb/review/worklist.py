"""Which open cases the worklist shows in which tab and order, and what a row says of each; it changes nothing (S10).

One query reads what counts and orders all open cases; everything else is asked for the rows of one page only.
"""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.translation import gettext_lazy

from leukoweb.accounts.models import User
from leukoweb.cases.lists import found
from leukoweb.cases.models import AMENDING, FAILED, QUEUED, RUNNING, SIGNED, TO_REVIEW, TO_SIGN, Case
from leukoweb.review.models import HandOver, Report
from leukoweb.review.urgency import LEVELS, Stored, unstored, worklist_cases

FIRST, FURTHER, MOST = 25, 100, 1000  # rows that are shown at first, with each further step, and in all
WEEK = 7
URGENT = LEVELS["urgent"]
OPEN, MINE, RETURNED, ANALYSING, NO_SLIDE = "open", "mine", "returned", "analysing", "no_slide"
TABS = {
    OPEN: gettext_lazy("All open"),
    MINE: gettext_lazy("Mine"),
    TO_SIGN: gettext_lazy("To sign"),
    TO_REVIEW: gettext_lazy("To review"),
    RETURNED: gettext_lazy("Returned"),
    FAILED: gettext_lazy("Action needed"),
    ANALYSING: gettext_lazy("Analysing"),
    NO_SLIDE: gettext_lazy("No slide yet"),
    SIGNED: gettext_lazy("Signed today"),
}
_TAB_OF = {
    AMENDING: TO_SIGN, TO_SIGN: TO_SIGN, TO_REVIEW: TO_REVIEW, FAILED: FAILED, QUEUED: ANALYSING, RUNNING: ANALYSING,
    SIGNED: SIGNED,
}  # fmt: skip


class Line(NamedTuple):
    """What counts and orders a case; `tab` is the one that holds it besides "All open" and "Mine".

    `signed_at` and `report` are those of a report that was signed today.
    """

    pk: int
    state: str
    tab: str
    is_stat: bool
    received_at: datetime
    level: int
    returned_to: int | None = None
    reader: int | None = None
    signed_at: datetime | None = None
    report: int | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether an urgent flag waits for a pathologist."""
        return self.level == URGENT

    def is_of(self, user: User) -> bool:
        """Say whether the case is this reader's: assigned, or returned to who handed it over."""
        return user.pk in (self.reader, self.returned_to if self.tab == RETURNED else None)

    def minutes(self, now: datetime) -> int:
        """How long the case waits, or waited for its signature."""
        return max(0, int(((self.signed_at or now) - self.received_at).total_seconds() // 60))


@dataclass(frozen=True)
class Filters:
    """What the rows of a tab are narrowed to; a search is kept in the session, never in an address."""

    is_stat: bool = False
    is_flagged: bool = False
    is_urgent: bool = False
    is_mine: bool = False
    search: str = ""

    def __bool__(self) -> bool:
        return self != Filters()


@dataclass(frozen=True)
class Lines:
    """All lines that a person may see, in order, and what was worked out of those whose flags are not stored."""

    lines: list[Line]
    signed: list[Line]
    turnarounds: list[int]
    forgotten: dict[int, Stored]
    now: datetime = field(default_factory=timezone.now)

    def of_tab(self, tab: str, user: User) -> list[Line]:
        """Return the lines of a tab."""
        if tab == SIGNED:
            return self.signed
        if tab == OPEN:
            return self.lines
        if tab == MINE:
            return [line for line in self.lines if line.is_of(user)]
        return [line for line in self.lines if line.tab == tab]

    def counts(self, user: User) -> dict[str, int]:
        """Return how many cases each tab holds."""
        of_tabs = Counter(line.tab for line in self.lines)
        whole = {OPEN: len(self.lines), MINE: len(self.of_tab(MINE, user)), SIGNED: len(self.signed)}
        return {tab: whole.get(tab, of_tabs[tab]) for tab in TABS}

    @property
    def waiting(self) -> int:
        """How many open cases have a slide."""
        return sum(line.tab != NO_SLIDE for line in self.lines)

    @property
    def pressing(self) -> list[int]:
        """The keys of the open cases that are STAT or have an urgent flag."""
        return [line.pk for line in self.lines if line.is_stat or line.is_urgent]

    @property
    def oldest_stat(self) -> int | None:
        """The minutes for which the oldest open STAT case waits."""
        return max((line.minutes(self.now) for line in self.lines if line.is_stat), default=None)

    @property
    def turnaround(self) -> int | None:
        """The median minutes from receipt to the first signature, of the cases signed first today."""
        return round(statistics.median(self.turnarounds)) if self.turnarounds else None


def lines_for(user: User) -> Lines:
    """Read the open cases, urgent first, then STAT, then the oldest, and those signed today.

    Cases without a slide come last, so that they push no other off a page.
    A case whose flags were forgotten takes part with flags that are worked out now.
    """
    cases = worklist_cases(user)
    forgotten = unstored(cases)
    # The last hand-over counts; what its sender took back was not returned.
    ended = HandOver.objects.filter(case__in=cases, returned_at__isnull=False).order_by("pk")
    returned = {
        case: None if by == sender else sender
        for case, sender, by in ended.values_list("case", "handed_over_by", "returned_by")
    }
    rows = (
        cases.with_state()
        .order_by("received_at", "pk")
        .values_list("pk", "state", "priority", "received_at", "flag_level", "assignment__reader")
    )
    lines = [
        Line(
            pk, state, RETURNED if state == TO_REVIEW and returned.get(pk) else _TAB_OF.get(state, NO_SLIDE),
            priority == Case.Priority.STAT, at, forgotten[pk].level if pk in forgotten else level,
            returned.get(pk), who,
        )
        for pk, state, priority, at, level, who in rows
    ]  # fmt: skip
    lines.sort(key=lambda line: 4 * (line.tab == NO_SLIDE) + 2 * (line.level != URGENT) + (not line.is_stat))
    return Lines(lines, *_signed_today(user), forgotten)


def _signed_today(user: User) -> tuple[list[Line], list[int]]:
    """Return the cases of which a report was signed today, the last first, and the minutes of first signatures."""
    reports = _signed_since(timezone.localdate(), user)
    columns = ("case", "case__priority", "case__received_at", "case__flag_level", "signed_at", "pk", "version")
    lines: dict[int, Line] = {}
    turnarounds = []
    for case, priority, received_at, level, signed_at, pk, version in (
        reports.order_by("-signed_at").values_list(*columns)
    ):  # fmt: skip
        is_stat = priority == Case.Priority.STAT
        line = Line(case, SIGNED, SIGNED, is_stat, received_at, level, signed_at=signed_at, report=pk)
        lines.setdefault(case, line)
        if version == 1:
            turnarounds.append(line.minutes(signed_at))
    return list(lines.values()), turnarounds


def signed_of_week(user: User) -> list[int]:
    """Return how many cases were signed on each of the last seven days, today last."""
    today = timezone.localdate()
    days = [today - timedelta(days=back) for back in range(WEEK - 1, -1, -1)]
    reports = _signed_since(days[0], user).order_by()
    counts = dict(reports.values_list(TruncDate("signed_at")).annotate(Count("case", distinct=True)))
    return [counts.get(day, 0) for day in days]


def _signed_since(day: date, user: User) -> QuerySet[Report]:
    """Return the reports that were signed on a day of the laboratory's calendar or later."""
    midnight = timezone.make_aware(datetime.combine(day, datetime.min.time()))
    return Report.objects.visible_to(user).filter(state=Report.State.SIGNED, signed_at__gte=midnight)


def narrowed(lines: list[Line], filters: Filters, user: User) -> list[Line]:
    """Return the lines that fit the filters."""
    if filters.search:
        keys = set(found(Case.objects.visible_to(user), search=filters.search).values_list("pk", flat=True))
        lines = [line for line in lines if line.pk in keys]
    if not filters:
        return lines
    least = URGENT if filters.is_urgent else LEVELS["review"] if filters.is_flagged else 0
    return [
        line
        for line in lines
        if (line.level or 0) >= least
        and (line.is_stat or not filters.is_stat)
        and (line.is_of(user) or not filters.is_mine)
    ]
