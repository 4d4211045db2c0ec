"""The page of critical results, what is done with one, and the laboratory's rules of what is critical."""

import csv
import io
from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.answers import refusal_shown
from leukoweb.audit.services import record
from leukoweb.cases.models import Patient
from leukoweb.cases.services import patient_with_mrn
from leukoweb.given import whole_number
from leukoweb.refusals import Refused
from leukoweb.review import services
from leukoweb.review.criticals.calls import close_critical, give_receipt, record_call
from leukoweb.review.criticals.detection import current_critical_policy
from leukoweb.review.criticals.exceptions import rows_with_exceptions, set_exception, withdraw_exception
from leukoweb.review.criticals.figures import CSV_HEAD, WITHIN_MIN, criticals_between, csv_row, told_of
from leukoweb.review.criticals.models import Critical, CriticalException, CriticalPolicy
from leukoweb.review.criticals.policies import save_critical_policy, values_of
from leukoweb.review.forms import lines_of
from leukoweb.review.forms_criticals import (
    CallForm,
    CriticalPolicyForm,
    CriticalRuleFormSet,
    ExceptionForm,
    PeriodForm,
)
from leukoweb.review.views.cases import act_and_return
from leukoweb.review.views.policies import seen_version
from leukoweb.spreadsheets import BYTE_ORDER_MARK, safe

MOST = 500


@requires("read_cases")
@require_GET
def critical_list(request: HttpRequest) -> HttpResponse:
    """The open critical results, and how fast those of a period were told."""
    form = PeriodForm(request.GET)
    found = []
    if form.is_valid():
        found = criticals_between(request.user, form.cleaned_data["first"], form.cleaned_data["last"])
    waiting = Critical.objects.visible_to(request.user).open().select_related("case__patient").with_log()
    shown = {
        "form": form,
        "open": waiting.order_by("detected_at", "pk")[:MOST],
        "told": told_of(found),
        "found": found[:MOST],
        "within_min": WITHIN_MIN,
        "query": request.GET.urlencode(),
        "address": request.path,
    }
    return render(request, "review/critical_list.html", shown)


@requires("read_cases")
@require_GET
def critical_csv(request: HttpRequest) -> HttpResponse:
    """The results of a period as a file, one line each, without names of patients."""
    form = PeriodForm(request.GET)
    if not form.is_valid():
        return redirect("critical_list")
    found = criticals_between(request.user, form.cleaned_data["first"], form.cleaned_data["last"])
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_HEAD)
    for critical in found:
        writer.writerow([safe(value) for value in csv_row(critical)])
    record("critical.export", actor=request.user, changes={"lines": len(found)})
    answer = HttpResponse(BYTE_ORDER_MARK + out.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="critical-results.csv"'
    return answer


@requires("relabel_cell")
@require_POST
def critical_receipt(request: HttpRequest, pk: int) -> HttpResponse:
    """Write that this reader saw a critical result."""
    return _do(request, pk, lambda critical: give_receipt(critical, by=request.user), _("Acknowledged."))


@requires("tell_critical")
@require_POST
def critical_call(request: HttpRequest, pk: int) -> HttpResponse:
    """Write down a call."""

    def act(critical: Critical) -> object:
        form = CallForm(request.POST)
        if not form.is_valid():
            raise Refused(" ".join(f"{form.fields[name].label}: {' '.join(e)}" for name, e in form.errors.items()))
        return record_call(critical, by=request.user, **form.call())

    return _do(request, pk, act, _("The call is recorded."))


@requires("tell_critical")
@require_POST
def critical_close(request: HttpRequest, pk: int) -> HttpResponse:
    """Close a critical result."""
    reason = request.POST.get("reason", "")
    return _do(request, pk, lambda critical: close_critical(critical, by=request.user, reason=reason), _("Closed."))


def _do(request: HttpRequest, pk: int, act: Callable[[Critical], object], done: str) -> HttpResponse:
    """Do something to a critical result, say what was done, and go back to the page that asked."""
    critical = get_object_or_404(Critical.objects.visible_to(request.user), pk=pk)
    return act_and_return(request, critical, act, done)


@requires("except_critical")
@require_http_methods(["GET", "POST"])
def critical_exceptions(request: HttpRequest) -> HttpResponse:
    """The patients who are excepted from critical limits, newest first, and a form for one more."""
    named = whole_number(request.GET.get("patient"))
    patient = Patient.objects.visible_to(request.user).filter(pk=named).first()
    rows = rows_with_exceptions(request.user.laboratory)
    form = ExceptionForm(request.POST or None, rows=rows, initial={"mrn": patient.mrn if patient else ""})
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            found = patient_with_mrn(given.pop("mrn"), by=request.user, field="mrn")
            set_exception(found, by=request.user, **given)
        except Refused as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        else:
            messages.success(request, _("The exception applies from now on."))
            return redirect("critical_exceptions")
    known = CriticalException.objects.visible_to(request.user).select_related(
        "patient__laboratory", "set_by", "ended_by"
    )
    shown = list(known[:MOST])
    record("critical.read", actor=request.user, laboratory=request.user.laboratory,
           changes={"exceptions": [exception.pk for exception in shown]})  # fmt: skip
    return render(request, "review/critical_exceptions.html", {"exceptions": shown, "form": form, "rows": rows})


@requires("except_critical")
@require_POST
def exception_withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """End an exception before its day."""
    exception = get_object_or_404(CriticalException.objects.visible_to(request.user), pk=pk)
    with refusal_shown(request):
        withdraw_exception(exception, by=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, _("The exception is withdrawn."))
    return redirect("critical_exceptions")


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def critical_policy_edit(request: HttpRequest) -> HttpResponse:
    """The rules of critical results in force, to be followed by the next version."""
    laboratory = request.user.laboratory
    policy = current_critical_policy(laboratory)
    seen, now = seen_version(request, policy), values_of(policy)
    form = CriticalPolicyForm(request.POST or None, initial={**now, "people": "\n".join(now["people"])})
    flag_rules = services.rules_of(services.current_policy(laboratory)).flag_rules
    limits = CriticalRuleFormSet(
        request.POST or None, initial=now["rules"], prefix="limits", form_kwargs={"flag_rules": flag_rules}
    )
    if request.method == "POST" and form.is_valid() and limits.is_valid():
        try:
            new = save_critical_policy(
                laboratory, rules=lines_of(limits), by=request.user, seen=seen, **form.cleaned_data
            )
        except Refused as refused:
            for name, sentence in (refused.fields or {"": str(refused)}).items():
                form.add_error(name if name in form.fields else None, sentence)
        else:
            messages.success(request, _("Version %(version)d is active.") % {"version": new.version})
            return redirect("critical_policy_edit")
    versions = CriticalPolicy.objects.filter(laboratory=laboratory).select_related("created_by")
    shown = {"form": form, "limits": limits, "policy": policy, "versions": versions, "seen": seen}
    return render(request, "review/critical_policy_edit.html", shown)
