"""The pages where people look at cells: the workbench of a case, the page of a slide, and a reader's own keys."""

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.analysis.detectors import is_outdated
from leukoweb.analysis.models import Cell
from leukoweb.analysis.regions import coverage_shown
from leukoweb.analysis.services import count_labelled
from leukoweb.analysis.views import progress_of
from leukoweb.audit.services import record_read
from leukoweb.cases.models import STATES, Case, Slide
from leukoweb.refusals import Refused
from leukoweb.review.cells.asked import KeysRequest, read_asked
from leukoweb.review.cells.decisions import CLOSED
from leukoweb.review.cells.lists import DEFAULT_KEYS, TAKEN_KEYS, types_for
from leukoweb.review.services import unlike_sentence


@requires("read_cases")
@require_GET
def workbench(request: HttpRequest, pk: int) -> HttpResponse:
    """Gallery, field and single cell of all slides of a case."""
    cases = Case.objects.visible_to(request.user).with_state().select_related("patient", "laboratory")
    case = get_object_or_404(cases, pk=pk)
    record_read(request, case, case)
    return render(
        request,
        "review/workbench.html",
        {
            "case": case,
            "state_name": STATES[case.state],
            "is_closed": case.state in CLOSED,
            "page": {
                "reader": request.user.pk,
                "types": types_for(request.user),
                "default_keys": DEFAULT_KEYS,
                "taken_keys": {key: gettext(use) for key, use in TAKEN_KEYS.items()},
                "urls": _urls(reverse("case_cells", args=[pk]), case),
            },
        },
    )


@requires("read_cases")
@require_GET
def slide_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One slide: how far its analysis is, its images with boxes, and its cells; to htmx the part that then changes."""
    slide = get_object_or_404(
        Slide.objects.visible_to(request.user).select_related("case__patient", "uploaded_by"), pk=pk
    )
    case = Case.objects.with_state().select_related("patient", "laboratory").get(pk=slide.case_id)
    record_read(request, slide, case)
    shown = progress_of(slide)
    results = {result.image_id: result for result in shown["run"].image_results.select_related("image")}
    return render(
        request,
        "review/_slide_live.html" if request.htmx else "review/slide_detail.html",
        shown
        | {
            "case": case,
            "images": [(image, results.get(image.pk)) for image in slide.images.all()],
            "coverages": [coverage_shown(result) for result in results.values() if result.coverage],
            "state_name": STATES[case.state],
            "is_closed": case.state in CLOSED,
            "labelled": count_labelled(shown["run"]),
            "unlike": unlike_sentence(shown["run"]) if shown["run"].unlike else None,
            "is_outdated": is_outdated(shown["run"], case.laboratory),
            "page": {
                "reader": request.user.pk,
                "types": types_for(request.user),
                "urls": _urls(reverse("slide_cells", args=[pk]), case)
                | {"elements": reverse("slide_elements", args=[pk])},
            },
        },
    )


def _urls(cells: Iterable[Cell], case: Case) -> dict:
    """The addresses that a page of cells calls; it puts a key in the place of 0."""
    return {
        "cells": cells,
        "decisions": reverse("case_decisions", args=[case.pk]),
        "findings": reverse("case_findings", args=[case.pk]),
        "place": reverse("case_place", args=[case.pk]),
        "worklist": reverse("worklist"),
        "presence": reverse("case_presence", args=[case.pk]),
        "crop": reverse("cell_crop", args=[0]),
        "around": reverse("cell_around", args=[0]),
        "references": reverse("reference_cells", args=["CODE"]),
        "keys": reverse("reader_keys"),
        "scanned": reverse("case_scanned"),
    }


@requires("relabel_cell")
@require_POST
def reader_keys(request: HttpRequest) -> HttpResponse:
    """Keep a reader's own keys: {"keys": {code: key}}; each key once, none that the workbench needs itself."""
    keys = read_asked(request, KeysRequest, "A key is one letter or digit.")["keys"]
    if set(keys) != set(DEFAULT_KEYS):
        raise Refused(gettext("Assign a key to every type."))
    keys = {code: key.lower() for code, key in keys.items()}
    if not all(map(str.isalnum, keys.values())):
        raise Refused(gettext("A key is one letter or digit."))
    if taken := sorted(set(keys.values()) & set(TAKEN_KEYS)):
        needed = ", ".join(f"{key.upper()} ({gettext(TAKEN_KEYS[key])})" for key in taken)
        raise Refused(gettext("These keys are reserved by the workbench: %(needed)s.") % {"needed": needed})
    if len(set(keys.values())) < len(keys):
        raise Refused(gettext("Two types share a key."))
    request.user.preferences = {**request.user.preferences, "cell_keys": keys}
    request.user.save(update_fields=["preferences"])
    return JsonResponse({"types": types_for(request.user)})
