"""The JSON that slide page and workbench ask for: lists of cells, batches of decisions, and who else reads.

Thin over review.cells, which decides what may be done.
"""

from datetime import timedelta

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import Case, Slide
from leukoweb.refusals import Refused
from leukoweb.review.cells import decisions
from leukoweb.review.cells.asked import AskedBatch, PresenceRequest, ScannedRequest, read_asked
from leukoweb.review.cells.batches import make_decisions
from leukoweb.review.cells.lists import (
    after_change,
    cells_for_json,
    evidence_cards,
    images_of,
    read_cells,
    summary_of,
    whole_case,
)
from leukoweb.review.models import AtlasPicture, Decision, Presence, Report
from leukoweb.review.services import count_case

PRESENT_FOR = timedelta(seconds=25)
REFERENCES = 8


@requires("read_cases")
@require_GET
def case_cells(request: HttpRequest, pk: int) -> HttpResponse:
    """All cells of a case with their labels, and the summary."""
    return JsonResponse(whole_case(_case(request, pk)))


@requires("read_cases")
@require_GET
def slide_cells(request: HttpRequest, pk: int) -> HttpResponse:
    """The cells of one slide with their labels, and the summary of this slide alone."""
    slide = get_object_or_404(
        Slide.objects.visible_to(request.user).select_related("case__patient", "case__laboratory"), pk=pk
    )
    evidence = decisions.evidence_of(slide.case)
    cells = read_cells(decisions.current_cells(slide.case).filter(image__slide=slide))
    return JsonResponse(
        {
            "images": images_of([slide]),
            "evidence": evidence_cards(slide.case),
            "cells": cells_for_json(cells, evidence),
            "summary": summary_of(slide.case, cells, evidence, count_case(slide.case)),
        }
    )


@requires("relabel_cell")
@require_POST
def case_decisions(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a batch of decisions on a case: {"decisions": [{"key", "act", ...}]}; what each came to is in `outcomes`."""
    case = _case(request, pk)
    # A page outlives its session: what waits there is not stored in the name of who signed in since.
    if request.headers.get("X-LeukoWeb-Reader", str(request.user.pk)) != str(request.user.pk):
        raise Refused(
            gettext("Somebody else has signed in since: sign in as yourself in another tab."), code="not_signed_in"
        )
    asked = read_asked(
        request, AskedBatch, "The decisions could not be read, and none was stored. Load the page again."
    )
    outcomes = make_decisions(case, asked["decisions"], by=request.user)
    changed = {key for outcome in outcomes for key in outcome.changed}
    collided = {cell.pk for outcome in outcomes for cell in outcome.labelled}
    answer = after_change(case, changed | collided)
    return JsonResponse(
        {
            "outcomes": [
                {
                    "key": str(outcome.key),
                    "state": outcome.state,
                    "sentence": outcome.sentence,
                    "cells": outcome.changed or [cell.pk for cell in outcome.labelled],
                }
                for outcome in outcomes
            ]
        }
        | answer
    )


@requires("read_cases")
@require_POST
def case_scanned(request: HttpRequest) -> HttpResponse:
    """Find the case of a scanned barcode: {"text": accession number}; the address of its cells, or a sentence."""
    text = read_asked(request, ScannedRequest, "This is no accession number. No cell was changed.")["text"]
    found = Case.objects.visible_to(request.user).filter(accession_number__iexact=text)[:2]
    if len(found) != 1:
        return JsonResponse(
            {"sentence": gettext("Scanned %(text)s: no such case. No cell was changed.") % {"text": text[:40]}}
        )
    return JsonResponse(
        {"accession_number": found[0].accession_number, "url": reverse("workbench", args=[found[0].pk])}
    )


@requires("read_cases")
@require_POST
def case_presence(request: HttpRequest, pk: int) -> HttpResponse:
    """Say that this reader is here; answer who else is, and what others changed since {"since": decision}."""
    case = _case(request, pk)
    now = timezone.now()
    Presence.objects.update_or_create(case=case, reader=request.user, defaults={"seen_at": now})
    others = Presence.objects.filter(case=case, seen_at__gte=now - PRESENT_FOR).exclude(reader=request.user)
    since = read_asked(request, PresenceRequest, "“since” is the number of a decision.").get("since")
    changed = (
        set(
            Decision.objects.filter(cell__run__slide__case=case, pk__gt=since)
            .exclude(decided_by=request.user)
            .values_list("cell_id", flat=True)
        )
        if since is not None
        else set()
    )
    is_signed = _is_closed(case)
    answer = {"readers": [str(p.reader) for p in others.select_related("reader")], "is_signed": is_signed}
    return JsonResponse(answer | (after_change(case, changed) if changed else {}))


@requires("read_cases")
@require_GET
def reference_cells(request: HttpRequest, code: str) -> HttpResponse:
    """Pictures of a type: the laboratory's atlas, and cells of its reports in force, the last first."""
    signed = Decision.objects.filter(
        to_code=code,
        cell__in=Cell.objects.visible_to(request.user).counted(),
        cell__run__slide__case__is_demonstration=False,
        cell__run__slide__case__in=Report.objects.in_force().values("case"),
    ).order_by("-id")
    keys = list(dict.fromkeys(signed.values_list("cell_id", flat=True)[: 5 * REFERENCES]))
    still = decisions.with_labels(Cell.objects.filter(pk__in=keys)).filter(code=code).values_list("pk", flat=True)
    chosen = AtlasPicture.objects.filter(laboratory_id=request.user.laboratory_id, code=code)
    atlas = [reverse("atlas_picture", args=[key]) for key in chosen.values_list("pk", flat=True)[:REFERENCES]]
    return JsonResponse({"cells": sorted(still, key=keys.index)[:REFERENCES], "atlas": atlas})


def _case(request: HttpRequest, pk: int) -> Case:
    return get_object_or_404(Case.objects.visible_to(request.user).select_related("patient", "laboratory"), pk=pk)


def _is_closed(case: Case) -> bool:
    state = Case.objects.with_state().values_list("state", flat=True).get(pk=case.pk)
    return state in decisions.CLOSED
