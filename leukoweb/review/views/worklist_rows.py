"""One row of the worklist as its template shows it, made for the lines of one page in a fixed number of queries."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from detection.cell_types import BY_CODE
from leukoweb.accounts.models import User
from leukoweb.analysis.models import Run
from leukoweb.cases.models import AMENDING, FAILED, ORDERED, SIGNED, STATES, TO_REVIEW, TO_SIGN, Case
from leukoweb.numbers import number
from leukoweb.review.models import HandOver, Presence
from leukoweb.review.services import age_of
from leukoweb.review.views.cells import PRESENT_FOR
from leukoweb.review.worklist import ANALYSING, NO_SLIDE, RETURNED, Line, Lines, lines_for
from leukoweb.sentences import translated

HOUR, DAY = 60, 24 * 60


@dataclass(frozen=True)
class Bar:
    """The share of a type on the bar of a row, which is 100 wide."""

    x: float
    width: float
    color: str
    name: str


@dataclass(frozen=True)
class Row:
    """A case with everything that its row shows; `version` changes with all of it but the waiting time."""

    case: Case
    line: Line
    flags: list[dict[str, Any]]
    faces: list[list[Any]]
    bars: list[Bar]
    bars_words: str
    counted: int
    verified: int
    age: str
    note: str
    progress: str
    reader: User | None
    initials: str
    others: str
    waited: str
    due: str
    act: str
    act_url: str
    sign_url: str
    version: int

    @property
    def verified_percent(self) -> float:
        """How many of the cells a person verified, for the ring."""
        return round(100 * self.verified / self.counted, 1) if self.counted else 0


def rows_of(lines: list[Line], of: Lines, user: User) -> list[Row]:
    """Make the rows of some lines."""
    keys = [line.pk for line in lines]
    cases = Case.objects.select_related("patient__survivor", "assignment__reader").in_bulk(keys)
    for case in cases.values():
        if case.laboratory_id == user.laboratory_id:
            case.laboratory = user.laboratory
    prefetch_related_objects([*cases.values()], "laboratory")  # of those opened in an emergency
    handed = {}
    for hand_over in (
        HandOver.objects.filter(case__in=keys).select_related("handed_over_by", "returned_by").order_by("pk")
    ):
        handed[hand_over.case_id] = hand_over
    others: dict[int, list[str]] = {}
    present = Presence.objects.filter(case__in=keys, seen_at__gte=of.now - PRESENT_FOR).exclude(reader=user)
    for presence in present.select_related("reader").order_by("reader__username"):
        others.setdefault(presence.case_id, []).append(str(presence.reader))
    at_work = Run.objects.filter(
        slide__case__in=[line.pk for line in lines if line.tab == ANALYSING], slide__set_aside_at=None, is_shadow=False
    )
    progress: dict[int, list[float]] = {}
    for run in at_work.select_related("slide"):
        progress.setdefault(run.slide.case_id, []).append(run.progress)
    return [
        _row(line, cases[line.pk], of, user, handed.get(line.pk), others.get(line.pk, []), progress.get(line.pk, []))
        for line in lines
        if line.pk in cases
    ]


def _row(
    line: Line, case: Case, of: Lines, user: User, handed: HandOver | None, others: list[str], progress: list[float]
) -> Row:
    if line.pk in of.forgotten:
        case.flag_level, case.flags, case.glance = of.forgotten[line.pk]
    assignment = getattr(case, "assignment", None)
    reader = assignment.reader if assignment else None
    glance, age = case.glance, age_of(case)
    counted, verified = glance.get("counted", 0), glance.get("verified", 0)
    bars = _bars(glance.get("bars", []))
    act, act_url = _act(line, user, is_ready=0 < counted == verified)
    can_sign = user.can("sign_report") and line.tab in (TO_SIGN, TO_REVIEW, RETURNED)
    minutes = line.minutes(of.now)
    row: dict[str, Any] = {
        "flags": [flag for flag in case.flags if flag["urgency"] != "note"],
        "faces": glance.get("faces", []),
        "bars": bars,
        "bars_words": ", ".join(f"{translated(bar.name)} {number(bar.width, 'g')}%" for bar in bars),
        "counted": counted,
        "verified": verified,
        "age": translated(age.words().replace(" years", "")) if age else "",
        "note": _note(line, handed),
        "progress": f"{sum(progress) / len(progress):.0%}" if progress else "",
        "reader": reader,
        "initials": _initials(reader),
        "others": ", ".join(others),
        "act": act,
        "act_url": act_url,
        "sign_url": reverse("case_sign", args=[case.pk]) if can_sign else "",
    }
    told = (
        row, line.tab, line.is_stat, line.is_urgent, case.accession_number, case.patient.name, case.patient.mrn,
        case.patient.sex, case.requester, case.ward, case.clinical_note, reader and reader.pk,
    )  # fmt: skip
    version = zlib.crc32(repr(told).encode())
    return Row(case=case, line=line, waited=duration(minutes), due=_due(line, minutes), version=version, **row)


def next_row(user: User) -> Row | None:
    """Return the case that a signer opens next: the first to sign, else the first to review; None when all is done."""
    lines = lines_for(user)
    waiting = lines.of_tab(TO_SIGN, user) + lines.of_tab(TO_REVIEW, user)
    return next(iter(rows_of(waiting[:1], lines, user)), None)


def duration(minutes: int) -> str:
    """Return a time as a worklist prints it: minutes under two hours, hours under two days, then days."""
    if minutes < 2 * HOUR:
        return f"{minutes} min"
    return f"{minutes // HOUR} h" if minutes < 2 * DAY else gettext("%(days)s d") % {"days": minutes // DAY}


def _due(line: Line, minutes: int) -> str:
    """Say where a waiting time stands against the goal: "late", "soon" when half of it is gone, or ""."""
    if line.signed_at is not None:
        return ""
    goal = settings.GOAL_STAT_MIN if line.is_stat else settings.GOAL_ROUTINE_MIN
    return "late" if minutes > goal else "soon" if 2 * minutes > goal else ""


def _act(line: Line, user: User, *, is_ready: bool) -> tuple[str, str]:
    """Return the one next step of a case, and where it is done."""
    if line.state == SIGNED:
        return gettext_noop("Report"), reverse("report_detail", args=[line.report])
    if line.tab == NO_SLIDE:
        return gettext_noop("Upload"), reverse("slide_upload", args=[line.pk])
    if line.tab in (FAILED, ANALYSING):
        return (gettext_noop("Resolve") if line.tab == FAILED else gettext_noop("Open")), reverse(
            "case_detail", args=[line.pk]
        )
    if user.can("sign_report") and (line.tab == TO_SIGN or (line.tab == TO_REVIEW and is_ready)):
        return gettext_noop("Sign"), reverse("case_sign", args=[line.pk])
    if line.tab == TO_SIGN:
        return "Open", reverse("case_detail", args=[line.pk])
    return gettext_noop("Review"), reverse("workbench", args=[line.pk])


def _note(line: Line, handed: HandOver | None) -> str:
    """Say what its tab does not: why nothing can be signed yet, or what the last hand-over means; "" for nothing."""
    if line.state in (ORDERED, FAILED, AMENDING):
        return str(STATES[line.state])
    if handed is None:
        return ""
    if line.tab == RETURNED and handed.returned_by_id:
        return gettext("Returned by %(name)s: %(reason)s") % {
            "name": handed.returned_by,
            "reason": handed.return_reason,
        }
    return gettext("From %(name)s") % {"name": handed.handed_over_by} if line.state == TO_SIGN else ""


def _bars(shares: Iterable[tuple[str, float]]) -> list[Bar]:
    """Place the shares of a differential beside each other on a bar of width 100."""
    bars, x = [], 0.0
    for code, percent in shares:
        cell_type = BY_CODE[code]
        bars.append(Bar(round(x, 2), percent, cell_type.color, cell_type.short))
        x += percent
    return bars


def _initials(person: User | None) -> str:
    """Return up to two initials of a person's printed name."""
    words = person.printed_name.split() if person else []
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()
