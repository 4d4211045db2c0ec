"""The JSON doors of slide page and workbench: lists of cells, decisions, undo, and who else reads.

Thin over review.cells, which decides what may be done.
"""

from datetime import timedelta

from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.analysis.models import Cell
from leukoweb.answers import json_answer
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.given import json_of
from leukoweb.refusals import Refused
from leukoweb.review.cells import decisions as doors
from leukoweb.review.cells.lists import after_change, cells_for_json, images_of, summary_of, whole_case
from leukoweb.review.models import AtlasPicture, Decision, Presence, Report

PRESENT_FOR = timedelta(seconds=25)
REFERENCES = 8


@requires("read_cases")
@require_GET
def case_cells(request, pk):
    """All cells of a case with their labels, and the summary."""
    return JsonResponse(whole_case(_case(request, pk)))


@requires("read_cases")
@require_GET
def slide_cells(request, pk):
    """The cells of one slide with their labels, and the summary of this slide alone."""
    slide = get_object_or_404(
        Slide.objects.visible_to(request.user).select_related("case__patient", "case__laboratory"), pk=pk
    )
    evidence = doors.evidence_of(slide.case)
    cells = list(doors.current_cells(slide.case).filter(image__slide=slide))
    return JsonResponse(
        {
            "images": images_of([slide]),
            "cells": cells_for_json(cells, evidence),
            "summary": summary_of(slide.case, cells, evidence),
        }
    )


@requires("relabel_cell")
@require_POST
def cell_decide(request, pk):
    """Label one cell: {"code": code or null to confirm, "seen": last decision shown, "reason": optional}."""
    asked = asked_of(request)
    return _decide(request, {str(pk): asked.get("seen")}, asked)


@requires("relabel_cell")
@require_POST
def cells_decide(request):
    """Label several cells of a case at once: {"cells": {key: last decision shown}, "code": code or null to confirm}."""
    asked = asked_of(request)
    return _decide(request, asked.get("cells"), asked)


@requires("relabel_cell")
@require_POST
def cell_add(request, pk):
    """Add a cell that a reader drew: {"box": [x1, y1, x2, y2], "code": code}."""
    image = get_object_or_404(SlideImage.objects.visible_to(request.user).select_related("slide"), pk=pk)
    asked = asked_of(request)
    box = asked.get("box")
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        return _refused("The box of the new cell is not four numbers. Draw it again.")
    try:
        cell = doors.add_cell(image, xyxy=box, code=str(asked.get("code", "")), by=request.user)
    except Refused as refused:
        return json_answer(refused)
    return JsonResponse(after_change(_case(request, image.slide.case_id), [cell.pk]), status=201)


@requires("relabel_cell")
@require_POST
def cell_undo(request, pk):
    """Take back the reader's last step on a case."""
    return _turn_back(request, pk, doors.undo_last, "There is nothing of yours to undo.")


@requires("relabel_cell")
@require_POST
def cell_redo(request, pk):
    """Make the reader's last undone step again."""
    return _turn_back(request, pk, doors.redo, "There is nothing to redo.")


@requires("read_cases")
@require_POST
def case_presence(request, pk):
    """Say that this reader is here; answer who else is, and what others changed since {"since": decision}."""
    case = _case(request, pk)
    now = timezone.now()
    Presence.objects.update_or_create(case=case, reader=request.user, defaults={"seen_at": now})
    others = Presence.objects.filter(case=case, seen_at__gte=now - PRESENT_FOR).exclude(reader=request.user)
    since = asked_of(request).get("since")
    changed = (
        set(
            Decision.objects.filter(cell__run__slide__case=case, pk__gt=since)
            .exclude(decided_by=request.user)
            .values_list("cell_id", flat=True)
        )
        if isinstance(since, int)
        else set()
    )
    is_signed = _is_closed(case)
    answer = {"readers": [str(p.reader) for p in others.select_related("reader")], "is_signed": is_signed}
    return JsonResponse(answer | (after_change(case, changed) if changed else {}))


@requires("read_cases")
@require_GET
def reference_cells(request, code):
    """Pictures of a type: the laboratory's atlas, and cells of its signed reports, the last ones first."""
    signed = Decision.objects.filter(
        to_code=code,
        cell__in=Cell.objects.visible_to(request.user).counted(),
        cell__run__slide__case__reports__state=Report.State.SIGNED,
    ).order_by("-id")
    keys = list(dict.fromkeys(signed.values_list("cell_id", flat=True)[: 5 * REFERENCES]))
    still = doors.with_labels(Cell.objects.filter(pk__in=keys)).filter(code=code).values_list("pk", flat=True)
    chosen = AtlasPicture.objects.filter(laboratory_id=request.user.laboratory_id, code=code)
    atlas = [reverse("atlas_picture", args=[key]) for key in chosen.values_list("pk", flat=True)[:REFERENCES]]
    return JsonResponse({"cells": sorted(still, key=keys.index)[:REFERENCES], "atlas": atlas})


def _decide(request, seen, asked):
    if not isinstance(seen, dict) or not seen:
        return _refused("No cell was chosen.")
    try:
        seen = {int(key): None if value is None else int(value) for key, value in seen.items()}
    except (TypeError, ValueError):
        return _refused("The choice of cells could not be read. Load the page again.")
    cells = list(Cell.objects.visible_to(request.user).counted().filter(pk__in=seen).select_related("run__slide"))
    if len(cells) != len(seen):
        return json_answer(Refused("A chosen cell does not exist.", code="not_found"))
    code = asked.get("code")
    try:
        doors.relabel_cells(
            cells,
            to=None if code is None else str(code),
            by=request.user,
            reason=str(asked.get("reason") or "")[:500],
            seen={key: value for key, value in seen.items() if value is not None},
        )
    except doors.Collision as collision:
        return _collided(collision)
    except Refused as refused:
        return json_answer(refused)
    return JsonResponse(after_change(_case(request, cells[0].run.slide.case_id), seen))


def _turn_back(request, pk, door, nothing):
    case = _case(request, pk)
    try:
        decisions = door(case, by=request.user)
    except doors.Collision as collision:
        return _collided(collision)
    except Refused as refused:
        return json_answer(refused)
    if not decisions:
        return JsonResponse({"changed": [], "sentence": nothing})
    return JsonResponse(after_change(case, [d.cell_id for d in decisions]))


def _case(request, pk):
    return get_object_or_404(Case.objects.visible_to(request.user).select_related("patient", "laboratory"), pk=pk)


def _is_closed(case):
    state = Case.objects.with_state().values_list("state", flat=True).get(pk=case.pk)
    return state in doors.CLOSED


def asked_of(request) -> dict:
    """The JSON object of a request; another value counts as empty, and what is no JSON is refused."""
    asked = json_of(request.body or b"{}")
    return asked if isinstance(asked, dict) else {}


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _refused(sentence):
    return json_answer(Refused(sentence))


def _collided(collision):
    """Nothing was written: show the reader the cells as the other reader left them."""
    evidence = doors.evidence_of(collision.cells[0].run.slide.case)
    return json_answer(collision, cells=cells_for_json(collision.cells, evidence))
