"""The page of one case, and what is done there: edit the words, hand over, return, acknowledge; it counts nothing."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from detection.cell_types import BY_CODE
from leukoweb.accounts.access import requires
from leukoweb.accounts.models import User
from leukoweb.analysis.models import ImageResult, Run
from leukoweb.answers import refusal_shown
from leukoweb.audit.services import history_of, record_read
from leukoweb.cases.models import ORDERED, QUEUED, REGISTERED, REJECTED, RUNNING, SIGNED, Case, Slide
from leukoweb.review.cells.lists import analysing
from leukoweb.review.counting.loinc import codes_of
from leukoweb.review.counting.table import Line, figures_of, lines_of
from leukoweb.review.criticals.models import Critical
from leukoweb.review.film_reasons import reasons_of
from leukoweb.review.history.models import DeltaAlarm
from leukoweb.review.models import Acknowledgement, HandOver, Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.content import cbc_after, cbc_runs
from leukoweb.review.reports.release import may_release
from leukoweb.review.reports.verification import is_reviewed, status_of
from leukoweb.review.services import (
    age_of,
    count_case,
    current_policy,
    last_signed,
    previous_result,
    rules_of,
    verification_of_count,
)
from leukoweb.review.views.findings import film_context
from leukoweb.sentences import translated

Acted = TypeVar("Acted", Case, Critical, DeltaAlarm)


def visible_case(user: User, pk: int) -> Case:
    """The case with its state, or 404."""
    cases = Case.objects.visible_to(user).with_state()
    return get_object_or_404(cases.select_related("patient", "laboratory", "registered_by", "rejected_by"), pk=pk)


def act_and_return(request: HttpRequest, found: Acted, act: Callable[[Acted], object], done: str = "") -> HttpResponse:
    """Act on a case or on what belongs to it, say what was done or refused, and go back to the page that asked.

    Without `done` the act returns what is said.
    """
    with refusal_shown(request):
        said = act(found)
        messages.success(request, done or said)
    case_id = found.pk if isinstance(found, Case) else found.case_id
    return redirect("case_sign" if request.POST.get("back") == "sign" else "case_detail", case_id)


@requires("read_cases")
@require_GET
def case_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Everything about one case; each look is recorded."""
    case = visible_case(request.user, pk)
    record_read(request, case, case)
    reports = Report.objects.filter(case=case).defer("content").select_related("signed_by", "created_by")
    return render(
        request,
        "review/case_detail.html",
        {
            **_live(case),
            "age": age_of(case),
            "person": case.patient.person,
            "other_mrns": case.patient.person.other_mrns,
            "may_release": may_release(request.user, rules_of(current_policy(case.laboratory_id))),
            "reports": reports,
            "signed": next((report for report in reports if report.state == Report.State.SIGNED), None),
            "history": history_of(case, last=300),
        },
    )


@requires("read_cases")
@require_GET
def case_live(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of the case page that changes while the detector works; it stops asking when all is done."""
    return render(request, "review/_case_live.html", _live(visible_case(request.user, pk)))


def _live(case: Case) -> dict[str, Any]:
    """What slides, differential, flags and chart of a case show now."""
    count = count_case(case)
    differential = count.differential
    figures = differential.as_dict()
    rules = differential.rules.as_dict()
    codes = codes_of(row.key for row in differential.rows)
    previous = previous_result(case)
    lines = lines_of(figures, rules, codes, previous)
    receipts = receipts_of(case)
    runs = Run.objects.filter(is_shadow=False).select_related("detector")
    slides = Slide.objects.filter(case=case).prefetch_related("images").select_related("uploaded_by").order_by("pk")
    run_of = {run.slide_id: run for run in runs.filter(slide__case=case)}
    verification = verification_of_count(count)
    detector = next((run.detector for run in run_of.values() if run.detector), None)
    waiting = analysing(case)
    has_slides, is_rejected = case.state not in (ORDERED, REGISTERED), case.state == REJECTED
    return {
        "case": case,
        "slides": [(slide, run_of.get(slide.pk)) for slide in slides],
        "is_live": case.state in (QUEUED, RUNNING),
        "has_slides": has_slides,
        "is_open": case.state not in signing.CLOSED,
        "differential": figures,
        "lines": lines,
        "previous": previous,
        "clipboard": "" if is_rejected else figures_of(lines),
        "rules": differential.rules,
        "unproven": {code: detector.evidence(code) for code in codes if detector.evidence(code) in ("none", "weak")}
        if detector
        else {},
        "chart": [] if is_rejected else chart_of(lines),
        "criticals": Critical.objects.filter(case=case).with_log(),
        "alarms": DeltaAlarm.objects.filter(case=case).with_log(),
        "flags": [] if is_rejected else [(flag, receipts.get(flag.key, {})) for flag in count.flags],
        # While the detector works on the first slide there is nothing to count: no table of zeros, no advice.
        "is_waiting": bool(waiting) and differential.is_empty,
        "analysing": waiting,
        "limits": [] if is_rejected else [said.bench for said in count.sentences if said.bench],
        "cbc_runs": cbc_runs(case),
        **film_context(case, differential.rules),
        "reasons": [] if is_rejected else reasons_of(case, figures, differential.rules.review_rules),
        "newer_cbc": newer_cbc(case),
        "warnings": [] if is_rejected else [warning.bench for warning in count.warnings if warning.bench],
        "verification": verification,
        "status": status_of(verification, is_signed=case.state == SIGNED),
        "is_reviewed": is_reviewed(verification),
        "uncovered": _uncovered(case),
        "hand_over": HandOver.objects.filter(case=case).select_related("handed_over_by", "returned_by").first(),
    }


def newer_cbc(case: Case) -> bool:
    """Whether a blood count came after the signature in force, and no amendment was opened yet."""
    signed = last_signed(case) if case.state == SIGNED else None
    return signed is not None and cbc_after(case.pk, signed.signed_at)


def receipts_of(case: Case) -> dict[str, dict[str, Acknowledgement]]:
    """Flag key to its receipts: {"bench": ..., "pathologist": ...}, each absent while nobody has given it."""
    found: dict[str, dict[str, Acknowledgement]] = {}
    for receipt in Acknowledgement.objects.filter(case=case).select_related("acknowledged_by"):
        found.setdefault(receipt.flag, {})[receipt.receipt] = receipt
    return found


def chart_of(lines: Iterable[Line]) -> list[dict]:
    """The bars of the chart: types of the differential with at least one cell."""
    return [
        {
            "code": x["code"] or x["key"],
            "name": translated(x["name"]),
            "color": BY_CODE[x["code"]].color if x["code"] else "#888888",
            "percent": x["value"],
            "low": x["low"],
            "high": x["high"],
        }
        for x in lines
        if x["kind"] in ("type", "within") and x["count"] and x["value"] is not None
    ]


def _uncovered(case: Case) -> int:
    """How many stained nuclei no box covers, over the case's images."""
    results = ImageResult.objects.filter(run__slide__case=case, run__slide__set_aside_at=None, run__is_shadow=False)
    return sum(len(nuclei) for nuclei in results.values_list("uncovered_nuclei", flat=True))


@requires("hand_over")
@require_POST
def case_hand_over(request: HttpRequest, pk: int) -> HttpResponse:
    """Give the case to the pathologists, and say how many cells were verified."""

    def act(case: Case) -> str:
        cells = signing.hand_over(case, by=request.user, is_confirmed=request.POST.get("confirmed") == "yes")
        return gettext("Handed over with %(verified)s of %(counted)s cells verified.") % {
            "verified": cells["verified"],
            "counted": cells["counted"],
        }

    return _do(request, pk, act)


@requires("hand_over")
@require_POST
def case_take_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Take back a case that this person handed over."""
    return _do(request, pk, lambda case: signing.take_back(case, by=request.user), gettext("The case is yours again."))


@requires("sign_report")
@require_POST
def case_return(request: HttpRequest, pk: int) -> HttpResponse:
    """Give the case back with a reason."""
    reason = request.POST.get("reason", "")
    return _do(
        request,
        pk,
        lambda case: signing.return_case(case, by=request.user, reason=reason),
        gettext("Returned with your reason."),
    )


@requires("relabel_cell")
@require_POST
def flag_acknowledge(request: HttpRequest, pk: int) -> HttpResponse:
    """Write that this reader saw an urgent flag."""
    flag = request.POST.get("flag", "")
    return _do(
        request, pk, lambda case: signing.acknowledge_flag(case, flag, by=request.user), gettext("Acknowledged.")
    )


def _do(request: HttpRequest, pk: int, act: Callable[[Case], object], done: str = "") -> HttpResponse:
    return act_and_return(request, visible_case(request.user, pk), act, done)
