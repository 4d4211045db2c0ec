"""Pages of the reference differential: start, read blind, compare and settle; what is read blind shows no label."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.answers import refusal_shown
from leukoweb.audit.services import record_read
from leukoweb.cases.models import Case
from leukoweb.given import whole_number
from leukoweb.refusals import Refused
from leukoweb.review.cells.lists import types_for
from leukoweb.review.counting.table import Line, lines_of
from leukoweb.review.models import Reading, ReferenceCount
from leukoweb.review.studies import reference
from leukoweb.review.views.cases import visible_case


def _count(case: Case) -> ReferenceCount:
    """The case's reference count; a sentence when none was started."""
    counts = ReferenceCount.objects.select_related("case__laboratory", "case__patient", "first_reader", "second_reader")
    count = counts.filter(case=case).first()
    if count is None:
        raise Refused(gettext("No reference count of this case was started."))
    return count


@requires("read_cases")
@require_GET
def reference_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """How far the reference count of a case is; its figures only when both readers have finished."""
    case = visible_case(request.user, pk)
    record_read(request, case, case)
    count = ReferenceCount.objects.filter(case=case).select_related("first_reader", "second_reader").first()
    context = {"case": case, "count": count, "each": reference.EACH, "second_looks": reference.SECOND_LOOKS}
    if count:
        count.case = case
        context["progress"] = [
            (reader, *reference.next_reading(count, place)[1:])
            for place, reader in ((1, count.first_reader), (2, count.second_reader))
        ]
        place = reference.place_of(count, request.user)
        context["is_reader"] = place is not None
        context["has_free_place"] = None in (count.first_reader_id, count.second_reader_id)
        context["may_leave"] = place is not None and context["progress"][place - 1][1] == 0
        context["is_finished"] = reference.is_finished(count)
    if context.get("is_finished"):
        result = reference.result_of(count)
        context |= vars(result) | {"types": types_for(request.user), "rows": _rows(result)}
    return render(request, "review/reference_detail.html", context)


def _rows(result: reference.Result) -> list[tuple[Line, Line | None, Line | None]]:
    """The three counts side by side: (line of the merged count, percent of the first, percent of the second)."""
    tables = [lines_of(one.as_dict(), one.rules.as_dict()) for one in (result.merged, result.first, result.second)]
    by_key = [{line["key"]: line for line in table} for table in tables]
    return [(line, by_key[1].get(line["key"]), by_key[2].get(line["key"])) for line in tables[0]]


@requires("relabel_cell")
@require_POST
def reference_start(request: HttpRequest, pk: int) -> HttpResponse:
    """Deal the cells to two readers."""
    case = visible_case(request.user, pk)
    with refusal_shown(request):
        reference.start_reference(case, by=request.user)
        messages.success(request, gettext("Reference count started. Two readers now read their cells independently."))
    return redirect("reference_detail", case.pk)


@requires("relabel_cell")
@require_http_methods(["GET", "POST"])
def reference_read(request: HttpRequest, pk: int) -> HttpResponse:
    """One cell after the other, without any label, score or order that could tell what others think of it.

    POST without a reading takes a free place; only looking at the page takes none.
    """
    case = visible_case(request.user, pk)
    try:
        count = _count(case)
        place = reference.place_of(count, request.user)
        if place is None:
            if request.method == "GET":
                raise Refused(gettext("Take an open place of this reference count first."))
            place = reference.take_place(count, by=request.user)
        if request.method == "POST" and "reading" in request.POST:
            given = request.POST.get("reading", "")
            readings = Reading.objects.select_related("count__case").filter(count=count, place=place)
            reading = get_object_or_404(readings, pk=whole_number(given))
            reference.read_cell(reading, request.POST.get("code", ""), by=request.user)
        if request.method == "POST":
            return redirect("reference_read", case.pk)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("reference_detail", case.pk)
    reading, done, total = reference.next_reading(count, place)
    if reading is None:
        messages.success(request, gettext("You have read all your cells."))
        return redirect("reference_detail", case.pk)
    return render(
        request,
        "review/reference_read.html",
        {"case": case, "reading": reading, "done": done, "total": total, "types": types_for(request.user)},
    )


@requires("relabel_cell")
@require_POST
def reference_leave(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a place back of which no cell was read."""
    case = visible_case(request.user, pk)
    with refusal_shown(request):
        reference.give_place_back(_count(case), by=request.user)
        messages.success(request, gettext("Your place is open for another reader."))
    return redirect("reference_detail", case.pk)


@requires("sign_report")
@require_POST
def reference_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """End a reference count that will not be finished, with a reason."""
    case = visible_case(request.user, pk)
    with refusal_shown(request):
        reference.cancel_reference(_count(case), by=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, gettext("The reference count is cancelled; its readings are in the audit."))
    return redirect("reference_detail", case.pk)


@requires("sign_report")
@require_POST
def reference_settle(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what a disagreed cell is."""
    case = visible_case(request.user, pk)
    cell = request.POST.get("cell", "")
    with refusal_shown(request):
        reference.settle(_count(case), whole_number(cell) or 0, request.POST.get("code", ""), by=request.user)
    return redirect("reference_detail", case.pk)
