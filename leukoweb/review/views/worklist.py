"""What waits for the person who looks: urgent and STAT first, then by age; it opens cases and never signs one (S10)."""

from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from leukoweb.accounts.access import requires
from leukoweb.cases.models import AMENDING, FAILED, ORDERED, QUEUED, REGISTERED, RUNNING, TO_REVIEW, TO_SIGN, Case
from leukoweb.review.models import Acknowledgement, HandOver
from leukoweb.review.services import open_cases, urgent_flags_of

MOST = 200


@requires("read_cases")
@require_GET
def worklist(request):
    """The open cases in sections, the reader's own work first."""
    cases = list(open_cases(request.user)[: MOST + 1])
    shown = cases[:MOST]
    flags = urgent_flags_of(shown)
    seen = set(Acknowledgement.objects.filter(case__in=shown).values_list("case", "flag"))
    last = {}
    for handed in (
        HandOver.objects.filter(case__in=shown).select_related("handed_over_by", "returned_by").order_by("pk")
    ):
        last[handed.case_id] = handed
    rows = [_row(case, flags.get(case.pk, []), seen, last.get(case.pk), request.user) for case in shown]
    rows.sort(key=lambda row: (not row["is_urgent"], not row["is_stat"], row["case"].received_at))
    sections = [(title, [row for row in rows if fits(row)]) for title, fits in _sections(request.user)]
    return render(
        request,
        "review/worklist.html",
        {"sections": [(t, r) for t, r in sections if r], "is_more": len(cases) > MOST, "most": MOST},
    )


def _row(case, flags, seen, handed, user):
    """One case as the list shows it; urgent until each urgent flag was acknowledged."""
    open_flags = [flag for flag in flags if (case.pk, flag.key) not in seen]
    is_returned = (
        handed is not None
        and handed.returned_by_id not in (None, handed.handed_over_by_id)  # its own sender took it back
        and case.state == TO_REVIEW
    )
    return {
        "case": case,
        "flags": flags,
        "is_urgent": bool(open_flags),
        "is_stat": case.priority == Case.Priority.STAT,
        "hand_over": handed,
        "is_returned": is_returned,
        "is_mine": is_returned and handed.handed_over_by_id == user.pk,
        "hours": (timezone.now() - case.received_at).total_seconds() / 3600,
    }


def _sections(user):
    """Titles and what belongs there: one order for those who sign, one for those who prepare."""

    def in_state(*states):
        return lambda row: row["case"].state in states and not row["is_mine"]

    mine = ("Returned to you", lambda row: row["is_mine"])
    review = ("To review", in_state(TO_REVIEW))
    prepare = ("Needs a slide or another try", in_state(FAILED, REGISTERED, ORDERED))
    machine = ("With the detector", in_state(QUEUED, RUNNING))
    if user.can("sign_report"):
        return [("To sign", in_state(TO_SIGN, AMENDING)), mine, review, prepare, machine]
    return [mine, review, prepare, machine, ("With the pathologist", in_state(TO_SIGN, AMENDING))]
