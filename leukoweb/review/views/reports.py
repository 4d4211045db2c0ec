"""Pages of reports: write, sign, read, print, export, amend, verify; what a report says comes from content.py alone."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.accounts.logos import logo_address
from leukoweb.accounts.models import User
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.answers import back_with, json_answer
from leukoweb.audit.services import record, record_read
from leukoweb.cases.models import Case
from leukoweb.given import whole_number
from leukoweb.refusals import Refused
from leukoweb.review.counting.table import lines_of
from leukoweb.review.criticals.models import Critical
from leukoweb.review.history.models import DeltaAlarm
from leukoweb.review.models import Policy, Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.files import file_of, held_against_stored
from leukoweb.review.reports.gates import gates_of
from leukoweb.review.reports.page import page_of, phrases_for, picture_choices, received_by, shown_content
from leukoweb.review.reports.printing import cell_pictures, finding_pictures, pdf_of, rejection_pdf
from leukoweb.review.reports.rejection import rejection_of
from leukoweb.review.reports.release import may_release
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.withdrawing import cancel_amendment, withdraw_report
from leukoweb.review.services import current_policy, rederived, rules_of
from leukoweb.review.views.cases import visible_case
from leukoweb.review.views.worklist_rows import next_row

HAS_SIGNED = "has_signed"
MOST_BUNDLE_BYTES = 50 * 2**20


def visible_report(user: User, pk: int) -> Report:
    """The report, or 404."""
    reports = Report.objects.visible_to(user).select_related("case__patient", "case__laboratory", "amends", "signed_by")
    return get_object_or_404(reports, pk=pk)


@requires("release_report")
@require_http_methods(["GET", "POST"])
def case_sign(request: HttpRequest, pk: int) -> HttpResponse:
    """The one page on which a report is signed: all of it, what stands in the way, and the signature (S10)."""
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    if not may_release(request.user, rules_of(current_policy(case.laboratory_id))):
        raise PermissionDenied
    case = visible_case(request.user, pk)
    try:
        report = signing.draft_of(case, by=request.user, is_kept=request.method == "POST")
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("case_detail", case.pk)
    problem = ""
    if request.method == "POST":
        try:
            report = _edit(request, report)
            if request.POST.get("act") == "autosave":
                return JsonResponse({"saved_at": timezone.localtime().strftime("%H:%M")})
            if request.POST.get("act") != "sign":
                messages.success(request, gettext("Draft saved."))
                return redirect("case_sign", case.pk)
            report = _sign(request, report)
        except Refused as refused:
            if refused.code == "locked_out":
                logout(request)
                return back_with(request, refused, "sign_in")
            if request.POST.get("act") == "autosave":
                return json_answer(refused)
            problem = str(refused)
        else:
            messages.success(request, _signed_and_next(report, request.user))
            return redirect("report_detail", report.pk)
    report.case = case
    return _signing_page(request, report, problem)


def _signing_page(request: HttpRequest, report: Report, problem: str) -> HttpResponse:
    """Show the whole report beside what stands in its way, and the problem of the last try."""
    case = report.case
    content = content_of(report)
    gates = gates_of(report, content, by=request.user)
    if not request.htmx:  # the same look goes on when a saved draft is shown
        record_read(request, report if report.pk else case, case)
    return render(
        request,
        "review/_sign_live.html" if request.htmx else "review/sign.html",
        {
            **page_of(report, content),
            "case": case,
            "gates": gates,
            "criticals": Critical.objects.filter(case=case).with_log(),
            "alarms": DeltaAlarm.objects.filter(case=case).with_log(),
            "is_ready": all(gate.is_met for gate in gates),
            "meanings": signing.meanings_of(content),
            "phrases": phrases_for(case.laboratory, content),
            "asks_name": not request.session.get(HAS_SIGNED),
            "asks_code": not request.session.get(HAS_SIGNED) and has_second_factor(request.user),
            "seen": signing.fingerprint(content),
            "choices": picture_choices(content),
            "pictures": cell_pictures(content),
            "finding_pictures": finding_pictures(content),
            "problem": problem,
        },
    )


def _edit(request: HttpRequest, report: Report) -> Report:
    """Keep what was written on the page, whatever else was asked."""
    pictures = [pk for pk in map(whole_number, request.POST.getlist("pictures")) if pk is not None]
    meaning = request.POST.get("lya_meaning", "")
    before = report.pk and content_of(report)["pictures"]
    return signing.edit_draft(
        report,
        by=request.user,
        interpretation=" ".join(request.POST.get("interpretation", "").split()),
        comment=request.POST.get("comment", "").replace("\r\n", "\n"),
        lya_meaning=meaning if meaning in ("", "variant", "abnormal") else None,
        pictures=pictures if pictures != before else None,
        **_smudge_choice(request),
    )


def _smudge_choice(request: HttpRequest) -> dict[str, Any]:
    """What the form says of smudge cells; nothing where the page had none to show."""
    if "smudge_shown" not in request.POST:
        return {}
    return {
        "smudge_as_lymphocytes": request.POST.get("smudge_as_lymphocytes") == "yes",
        "smudge_reason": request.POST.get("smudge_reason", "").replace("\x00", "").strip()[:500],
    }


def _sign(request: HttpRequest, report: Report) -> Report:
    """Sign; the first signature of a session asks for the user name and second factor too (S2)."""
    is_first = not request.session.get(HAS_SIGNED)
    signed = signing.sign_report(
        report,
        by=request.user,
        password=request.POST.get("password", ""),
        meaning=request.POST.get("meaning", ""),
        username=request.POST.get("username", "") if is_first else None,
        code=request.POST.get("code", ""),
        seen=request.POST.get("seen", ""),
    )
    request.session[HAS_SIGNED] = True
    return signed


def _signed_and_next(report: Report, user: User) -> str:
    """Say that a report is signed, and lead to the case that the signer opens next."""
    said = gettext("Version %(version)s is signed and sealed.") % {"version": report.version}
    row = next_row(user)
    if row is None:
        return said
    stat = ", STAT" if row.line.is_stat else ""
    linked = '{} Next: <a href="{}" class="alert-link" autofocus>{}{}</a>'
    return format_html(linked, said, row.act_url, row.case.accession_number, stat)


@requires("read_cases")
@require_GET
def report_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One version of a report, to read and to print; each look is recorded."""
    report = visible_report(request.user, pk)
    if report.case.rejected_at:
        return redirect("case_rejection", report.case_id)
    record_read(request, report, report.case)
    content = shown_content(report)
    context = page_of(report, content)
    if report.amends:
        context["received_by"] = received_by(report.amends)
    others = Policy.objects.filter(laboratory=report.case.laboratory)
    context |= {
        "versions": Report.objects.filter(case=report.case).defer("content").order_by("version"),
        "pictures": cell_pictures(content),
        "finding_pictures": finding_pictures(content),
        "policies": others if report.state == Report.State.SIGNED else [],
    }
    return render(request, "review/report_detail.html", context)


@requires("read_cases")
@require_GET
def report_pdf(request: HttpRequest, pk: int) -> HttpResponse:
    """The report as PDF; where the PDF library cannot load, the printable page says so."""
    report = visible_report(request.user, pk)
    if report.case.rejected_at:
        return redirect("case_rejection_pdf", report.case_id)
    content = shown_content(report)
    try:
        pdf = pdf_of({**page_of(report, content), "address": request.build_absolute_uri(f"/reports/{report.pk}/")})
    except Refused as absent:
        messages.warning(request, str(absent))
        return redirect("report_detail", report.pk)
    record("report.export", actor=request.user, obj=report, case=report.case, changes={"format": "pdf"})
    response = HttpResponse(pdf, content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="report-{report.pk}-v{report.version}.pdf"'
    return response


@requires("read_cases")
@require_GET
def report_export(request: HttpRequest, pk: int, form: str) -> HttpResponse:
    """The report as CSV, as JSON, or as the sealed bundle that can be verified offline."""
    report = visible_report(request.user, pk)
    if form not in ("csv", "json", "bundle"):
        raise Http404
    if report.case.rejected_at:
        messages.error(request, gettext("This specimen was rejected: its only report is the rejection report."))
        return redirect("case_rejection", report.case_id)
    if form == "bundle" and report.state != Report.State.SIGNED:
        messages.error(request, gettext("Only a signed report has a seal: sign it, then export the bundle."))
        return redirect("report_detail", report.pk)
    body, kind, name = file_of(report, shown_content(report), form)
    record("report.export", actor=request.user, obj=report, case=report.case, changes={"format": form})
    response = HttpResponse(body, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@requires("sign_report")
@require_POST
def report_amend(request: HttpRequest, pk: int) -> HttpResponse:
    """Open the next version of a signed report."""
    report = visible_report(request.user, pk)
    try:
        signing.amend_report(report, by=request.user, reason=request.POST.get("reason", ""))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("report_detail", report.pk)
    messages.success(request, gettext("An amendment is open: correct the cells or the comment, then sign it."))
    return redirect("case_sign", report.case_id)


@requires("sign_report")
@require_POST
def report_withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Say of a signed report that it no longer holds, with the signer's password and a reason."""
    report = visible_report(request.user, pk)
    try:
        withdraw_report(
            report, by=request.user, password=request.POST.get("password", ""), reason=request.POST.get("reason", "")
        )
    except Refused as refused:
        if refused.code == "locked_out":
            logout(request)
            return back_with(request, refused, "sign_in")
        return back_with(request, refused, "report_detail", report.pk)
    messages.success(
        request,
        gettext("Version %(version)s is withdrawn; it remains available, marked as withdrawn.")
        % {"version": report.version},
    )
    return redirect("report_detail", report.pk)


@requires("sign_report")
@require_POST
def amendment_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Close an amendment that was opened by mistake, with a reason."""
    report = visible_report(request.user, pk)
    try:
        signed = cancel_amendment(report, by=request.user, reason=request.POST.get("reason", ""))
    except Refused as refused:
        return back_with(request, refused, "case_detail", report.case_id)
    messages.success(
        request,
        gettext("The amendment is withdrawn: version %(version)s is in force as it was signed.")
        % {"version": signed.version},
    )
    return redirect("report_detail", signed.pk)


@requires("read_cases")
@require_GET
def case_rejection(request: HttpRequest, pk: int) -> HttpResponse:
    """The one-page report of a rejected specimen."""
    case = _rejected_case(request.user, pk)
    record_read(request, case, case)
    content = rejection_of(case)
    shown = {"case": case, "content": content, "logo_src": logo_address(content["laboratory"])}
    return render(request, "review/rejection.html", shown)


@requires("read_cases")
@require_GET
def case_rejection_pdf(request: HttpRequest, pk: int) -> HttpResponse:
    """The report of a rejected specimen as PDF."""
    case = _rejected_case(request.user, pk)
    try:
        pdf = rejection_pdf(rejection_of(case), request.build_absolute_uri(f"/cases/{case.pk}/rejection/"))
    except Refused as absent:
        messages.warning(request, str(absent))
        return redirect("case_rejection", case.pk)
    record("report.export", actor=request.user, obj=case, case=case, changes={"format": "pdf"})
    response = HttpResponse(pdf, content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="rejection-case-{case.pk}.pdf"'
    return response


def _rejected_case(user: User, pk: int) -> Case:
    """The case, or 404 where its specimen was not rejected."""
    case = visible_case(user, pk)
    if case.rejected_at is None:
        raise Http404
    return case


@requires("read_cases")
@require_GET
def report_policies(request: HttpRequest, pk: int) -> HttpResponse:
    """A signed report beside what the same cells say under another policy; nothing is changed."""
    report = visible_report(request.user, pk)
    if report.state != Report.State.SIGNED:
        raise PermissionDenied
    version = request.GET.get("policy", "")
    policy = get_object_or_404(Policy, laboratory=report.case.laboratory, version=whole_number(version) or 0)
    record_read(request, report, report.case)
    other, flags = rederived(report.content, policy)
    figures, rules = other.as_dict(), other.rules
    return render(
        request,
        "review/report_policies.html",
        {
            **page_of(report, report.content),
            "policy": policy,
            "other": other,
            "other_figures": figures,
            "other_flags": flags,
            "other_rules": rules.sentences(),
            "other_lines": lines_of(figures, rules.as_dict(), previous=report.content.get("previous")),
            "versions": Policy.objects.filter(laboratory=report.case.laboratory),
        },
    )


@requires("read_cases")
@require_http_methods(["GET", "POST"])
def report_verify(request: HttpRequest) -> HttpResponse:
    """Verify an exported bundle: its own seal, its decisions counted again, and what is stored here."""
    context: dict[str, Any] = {}
    if request.method == "POST":
        file = request.FILES.get("bundle")
        if file is None:
            context["problems"] = [gettext("Choose a bundle: the file that “Sealed bundle” on a signed report saved.")]
        elif file.size > MOST_BUNDLE_BYTES:
            context["problems"] = [gettext("The file is larger than any bundle.")]
        else:
            raw = file.read()
            context["problems"] = problems_of(raw, expected_seal=request.POST.get("seal", ""))
            stored, differing = held_against_stored(request.user, raw)
            context |= stored
            context["problems"] += differing
        context["is_checked"] = True
    return render(request, "review/report_verify.html", context)
