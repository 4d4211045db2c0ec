"""What waits for the person who looks: urgent and STAT first, then by age; it opens cases and never signs one (S10)."""

from collections.abc import Callable
from typing import Any

from django.db.models import Case as FirstOf
from django.db.models import Exists, OuterRef, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from leukoweb.accounts.access import requires
from leukoweb.accounts.models import User
from leukoweb.cases.models import AMENDING, FAILED, QUEUED, RUNNING, TO_REVIEW, TO_SIGN, Case, Slide
from leukoweb.review.models import HandOver
from leukoweb.review.urgency import LEVELS, urgent_unstored, worklist_cases

MOST = 200
MOST_WITHOUT_SLIDE = 50
URGENT = LEVELS["urgent"]
Row = dict[str, Any]


@requires("read_cases")
@require_GET
def worklist(request: HttpRequest) -> HttpResponse:
    """The open cases in sections, the reader's own work first; those without a slide stand apart."""
    has_slide = Exists(Slide.objects.filter(case=OuterRef("pk"), set_aside_at=None))
    shown, is_more = _first(worklist_cases(request.user).filter(has_slide), MOST)
    bare, are_more_bare = _first(worklist_cases(request.user).filter(~has_slide), MOST_WITHOUT_SLIDE)
    last = {}
    for handed in (
        HandOver.objects.filter(case__in=shown).select_related("handed_over_by", "returned_by").order_by("pk")
    ):
        last[handed.case_id] = handed
    rows = [_row(case, last.get(case.pk), request.user) for case in shown]
    sections = [(title, [row for row in rows if fits(row)]) for title, fits in _sections(request.user)]
    sections.append(("No slide yet", [_row(case, None, request.user) for case in bare]))
    return render(
        request,
        "review/worklist.html",
        {
            "sections": [(title, rows) for title, rows in sections if rows],
            "is_more": is_more,
            "most": MOST,
            "are_more_bare": are_more_bare,
            "most_bare": MOST_WITHOUT_SLIDE,
        },
    )


def _first(cases: QuerySet[Case], most: int) -> tuple[list[Case], bool]:
    """Return the first cases, the urgent before any cut, and whether there are more.

    A case whose flags were forgotten takes part with flags that are worked out now.
    """
    unstored = urgent_unstored(cases)
    is_urgent = When(flag_level=URGENT, then=Value(0))
    found_urgent = When(pk__in=[pk for pk, (level, _) in unstored.items() if level == URGENT], then=Value(0))
    order = FirstOf(is_urgent, found_urgent, default=Value(1))
    # Cut by key alone: the derived state is worked out for the rows of the page only.
    keys = list(cases.order_by(order, "-priority", "received_at", "pk").values_list("pk", flat=True)[: most + 1])
    by_key = Case.objects.filter(pk__in=keys[:most]).with_state().select_related("patient").in_bulk()
    shown = [by_key[pk] for pk in keys[:most] if pk in by_key]
    for case in shown:
        if case.pk in unstored:
            case.flag_level, case.flags = unstored[case.pk]
    return shown, len(keys) > most


def _row(case: Case, handed: HandOver | None, user: User) -> Row:
    """One case as the list shows it; urgent until a pathologist has acknowledged each urgent flag."""
    is_returned = (
        handed is not None
        and handed.returned_by_id not in (None, handed.handed_over_by_id)  # its own sender took it back
        and case.state == TO_REVIEW
    )
    return {
        "case": case,
        "flags": [flag for flag in case.flags if flag["urgency"] != "note"],
        "is_urgent": case.flag_level == URGENT,
        "is_stat": case.priority == Case.Priority.STAT,
        "hand_over": handed,
        "is_returned": is_returned,
        "is_mine": is_returned and handed is not None and handed.handed_over_by_id == user.pk,
        "hours": (timezone.now() - case.received_at).total_seconds() / 3600,
    }


def _sections(user: User) -> list[tuple[str, Callable[[Row], bool]]]:
    """Titles and what belongs there: one order for those who sign, one for those who prepare."""

    def in_state(*states: str) -> Callable[[Row], bool]:
        return lambda row: row["case"].state in states and not row["is_mine"]

    mine = ("Returned to you", lambda row: row["is_mine"])
    review = ("To review", in_state(TO_REVIEW))
    prepare = ("Action needed", in_state(FAILED))
    machine = ("Analysing", in_state(QUEUED, RUNNING))
    if user.can("sign_report"):
        return [("To sign", in_state(TO_SIGN, AMENDING)), mine, review, prepare, machine]
    return [mine, review, prepare, machine, ("With the pathologist", in_state(TO_SIGN, AMENDING))]
