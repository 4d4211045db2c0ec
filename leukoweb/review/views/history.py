"""The page of one person with every signed result over time, and the answers to alarms of a change."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.audit.services import record
from leukoweb.cases.models import Patient
from leukoweb.review.criticals.models import CriticalException
from leukoweb.review.history import chart
from leukoweb.review.history.alarms import dismiss_alarm, escalate_alarm
from leukoweb.review.history.models import DeltaAlarm
from leukoweb.review.history.results import FIRST_SHOWN, Result, parameters_of, results_of
from leukoweb.review.views.cases import act_and_return


@requires("read_cases")
@require_GET
def patient_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Every signed result of a person; each look is recorded."""
    patient = get_object_or_404(Patient.objects.visible_to(request.user).select_related("laboratory"), pk=pk)
    record("patient.read", actor=request.user, obj=patient, laboratory=patient.laboratory)
    results = results_of(patient, request.user)
    patient = patient.person
    groups = parameters_of(results)
    known = {key: value for values in groups.values() for key, value in values}
    chosen = request.GET.get("show", "")
    if chosen not in known:
        chosen = FIRST_SHOWN if FIRST_SHOWN in known else next(iter(known), "")
    shown = {
        "patient": patient,
        "other_mrns": patient.other_mrns,
        "exceptions": CriticalException.objects.visible_to(request.user)
        .of_person(patient)
        .select_related("patient__laboratory", "set_by", "ended_by"),
        "groups": groups,
        "chosen": chosen,
        "parameter": known.get(chosen),
        "rows": [(result, result.values.get(chosen)) for result in reversed(results)],
        "drawing": _drawing(results, chosen),
    }
    return render(request, "review/patient_detail.html", shown)


def _drawing(results: list[Result], chosen: str) -> dict[str, Any]:
    """The chart of the values that the table has; {} where there are none."""
    plotted = [(result, result.values[chosen]) for result in results if chosen in result.values]
    if not plotted:
        return {}
    points = [
        chart.Point(
            timezone.localtime(result.taken_at), value.number, value.low, value.high, value.range_low, value.range_high
        )
        for result, value in plotted
    ]
    drawn = chart.chart_of(points, from_zero=chosen.startswith("film."))
    return {
        "marks": [(mark, result, value) for mark, (result, value) in zip(drawn.marks, plotted, strict=True)],
        "line": " ".join(f"{mark.x},{mark.y}" for mark in drawn.marks),
        "bands": drawn.bands,
        "times": drawn.times,
        "is_hours": points[-1].at - points[0].at < timedelta(days=4),
        "numbers": drawn.numbers,
        "first": points[0].at,
        "last": points[-1].at,
        "least": min((value for _, value in plotted), key=lambda value: value.number),
        "most": max((value for _, value in plotted), key=lambda value: value.number),
        "width": chart.WIDTH,
        "height": chart.HEIGHT,
        "left": chart.LEFT,
        "right": chart.RIGHT,
        "bottom": chart.BOTTOM,
    }


@requires("relabel_cell")
@require_POST
def alarm_dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer an alarm with a reason."""
    reason = request.POST.get("reason", "")
    return _answer(request, pk, lambda alarm: dismiss_alarm(alarm, by=request.user, reason=reason), _("Dismissed."))


@requires("relabel_cell")
@require_POST
def alarm_escalate(request: HttpRequest, pk: int) -> HttpResponse:
    """Leave an alarm to the pathologist."""
    reason = request.POST.get("reason", "")
    return _answer(request, pk, lambda alarm: escalate_alarm(alarm, by=request.user, reason=reason), _("Escalated."))


def _answer(request: HttpRequest, pk: int, act: Callable[[DeltaAlarm], object], done: str) -> HttpResponse:
    """Answer an alarm, say what was done, and go back to the page that asked."""
    alarm = get_object_or_404(DeltaAlarm.objects.visible_to(request.user), pk=pk)
    return act_and_return(request, alarm, act, done)
