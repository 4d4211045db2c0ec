"""The admin page that compares two detector versions on signed cases; it shows counts, never a patient."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.analysis.models import DetectorVersion, Run
from leukoweb.analysis.services import ask_shadow_runs
from leukoweb.review.studies import shadow

MOST_CASES = 50


@requires("manage_detectors")
@require_http_methods(["GET", "POST"])
def detector_compare(request: HttpRequest, pk: int, other_pk: int) -> HttpResponse:
    """Show what two versions said about the slides signed last; POST queues the runs that are missing."""
    first, second = get_object_or_404(DetectorVersion, pk=pk), get_object_or_404(DetectorVersion, pk=other_pk)
    slides = shadow.signed_slides(MOST_CASES)
    if request.method == "POST":
        queued = ask_shadow_runs(slides, (first, second), by=request.user)
        messages.info(
            request,
            gettext("%(queued)s comparison runs were queued; signed reports stay as they are.") % {"queued": queued},
        )
        return redirect("detector_compare", pk=pk, other_pk=other_pk)
    first_tally, second_tally, changes = shadow.compare_on(slides, first, second)
    waiting = Run.objects.filter(
        slide__in=slides, detector__in=(first, second), state__in=(Run.State.QUEUED, Run.State.RUNNING)
    ).count()
    return render(
        request,
        "review/detector_compare.html",
        {
            "detectors": (first, second),
            "rows": shadow.rows_by_type(first_tally, second_tally),
            "changes": changes,
            "slides": slides,
            "missing": len(slides) - len(changes),
            "waiting": waiting,
            "right": [sum(t.right.values()) for t in (first_tally, second_tally)],
            "signed": sum(first_tally.signed.values()),
        },
    )
