"""Pages of reports: write, sign, read, print, export, amend, verify; what a report says comes from content.py alone."""

import csv
import io
import json

from django.contrib import messages
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.answers import back_with
from leukoweb.audit.models import Event
from leukoweb.audit.services import record, record_read
from leukoweb.refusals import Refused
from leukoweb.review.counting.phrases import filled
from leukoweb.review.counting.table import figures_of, lines_of
from leukoweb.review.models import Phrase, Policy, Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.printing import cell_pictures, pdf_of
from leukoweb.review.reports.seal import bundle_of, differences, problems_of
from leukoweb.review.services import rederived
from leukoweb.review.views.cases import visible_case

HAS_SIGNED = "has_signed"
MOST_BUNDLE_BYTES = 50 * 2**20


def visible_report(user, pk):
    """The report, or 404."""
    reports = Report.objects.visible_to(user).select_related("case__patient", "case__laboratory", "amends", "signed_by")
    return get_object_or_404(reports, pk=pk)


def shown_content(report) -> dict:
    """What the report says: frozen when it is signed, else as the case is now."""
    return report.content if report.state == Report.State.SIGNED else content_of(report)


def page_of(report, content) -> dict:
    """What every form of a report shows."""
    lines = lines_of(content["differential"], content["policies"]["rules"], content["loinc"], content.get("previous"))
    return {
        "report": report,
        "content": content,
        "lines": lines,
        "previous": content.get("previous"),
        "clipboard": figures_of(lines),
        "newer": Report.objects.filter(case_id=report.case_id, version__gt=report.version).defer("content").first(),
    }


@requires("sign_report")
@require_http_methods(["GET", "POST"])
def case_sign(request, pk):
    """The one page on which a pathologist signs: the whole report, what stands in the way, and the signature (S10)."""
    case = visible_case(request.user, pk)
    try:
        report = signing.draft_of(case, by=request.user)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("case_detail", case.pk)
    problem = ""
    if request.method == "POST":
        report = _edit(request, report)
        if request.POST.get("act") == "sign":
            try:
                report = _sign(request, report)
            except Refused as refused:
                if refused.code == "locked_out":
                    logout(request)
                    return back_with(request, refused, "sign_in")
                problem = str(refused)
            else:
                messages.success(request, f"Version {report.version} is signed and sealed.")
                return redirect("report_detail", report.pk)
        else:
            messages.success(request, "The draft is kept.")
            return redirect("case_sign", case.pk)
    report.case = case
    content = content_of(report)
    gates = signing.gates_of(report, content)
    record_read(request, report, case)
    return render(
        request,
        "review/sign.html",
        {
            **page_of(report, content),
            "case": case,
            "gates": gates,
            "is_ready": all(gate.is_met for gate in gates),
            "meanings": signing.MEANINGS,
            "phrases": _phrases(case.laboratory, content),
            "asks_name": not request.session.get(HAS_SIGNED),
            "asks_code": not request.session.get(HAS_SIGNED) and has_second_factor(request.user),
            "seen": signing.fingerprint(content),
            "choices": _picture_choices(content),
            "problem": problem,
        },
    )


def _phrases(laboratory, content):
    """The laboratory's phrases with this case's figures in their places."""
    decimals = content["policies"]["rules"]["decimals"]
    return [
        {"name": phrase.name, "text": filled(phrase.text, content["differential"], decimals)}
        for phrase in Phrase.objects.filter(laboratory=laboratory)
    ]


def _edit(request, report):
    """Keep what was written on the page, whatever else was asked."""
    pictures = [int(pk) for pk in request.POST.getlist("pictures") if pk.isdigit()]
    meaning = request.POST.get("lya_meaning", "")
    before = report.pk and content_of(report)["pictures"]
    return signing.edit_draft(
        report,
        by=request.user,
        comment=request.POST.get("comment", "").replace("\x00", "").replace("\r\n", "\n"),
        lya_meaning=meaning if meaning in ("", "variant", "abnormal") else None,
        pictures=pictures if pictures != before else None,
    )


def _sign(request, report):
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


def _picture_choices(content):
    """The cells a signer may print, a few of each type: (code, cell id, chosen?)."""
    chosen, shown, per_type = set(content["pictures"]), [], {}
    for cell in sorted(content["cells"], key=lambda c: (c["id"] not in chosen, -(c["score"] or 2.0), c["id"])):
        if cell["code"] and cell["code"] != "NOT" and per_type.get(cell["code"], 0) < 6:
            per_type[cell["code"]] = per_type.get(cell["code"], 0) + 1
            shown.append((cell["code"], cell["id"], cell["id"] in chosen))
    return sorted(shown)


@requires("read_cases")
@require_GET
def report_detail(request, pk):
    """One version of a report, to read and to print; each look is recorded."""
    report = visible_report(request.user, pk)
    record_read(request, report, report.case)
    content = shown_content(report)
    context = page_of(report, content)
    if report.amends:
        context["differences"] = _amended(report.amends.content, content)
        context["received_by"] = _received_by(report.amends)
    others = Policy.objects.filter(laboratory=report.case.laboratory)
    context |= {
        "versions": Report.objects.filter(case=report.case).defer("content").order_by("version"),
        "pictures": cell_pictures(content),
        "policies": others if report.state == Report.State.SIGNED else [],
    }
    return render(request, "review/report_detail.html", context)


def _amended(before, now) -> list[str]:
    """What an amendment changed of the words and figures, without the single cells (S9)."""
    words = ("comment", "lya_meaning")
    return [
        *(line for name in ("patient", "specimen") for line in differences(before[name], now[name], name)),
        *(line for name in words for line in differences(before["report"][name], now["report"][name], name)),
        *differences(before["counts"], now["counts"]),
    ]


def _received_by(report):
    """Who had read, printed or exported a version before it was amended (S9)."""
    events = Event.objects.filter(
        object_type="review.report", object_id=str(report.pk), action__in=("report.read", "report.export")
    ).order_by("id")
    names = {}
    for event in events:
        names.setdefault(event.actor_name, event.at)
    return list(names.items())


@requires("read_cases")
@require_GET
def report_pdf(request, pk):
    """The report as PDF; where the PDF library cannot load, the printable page says so."""
    report = visible_report(request.user, pk)
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
def report_export(request, pk, form):
    """The report as CSV, as JSON, or as the sealed bundle that can be verified offline."""
    report = visible_report(request.user, pk)
    content = shown_content(report)
    name = f"report-{report.pk}-v{report.version}"
    if form == "bundle":
        if report.state != Report.State.SIGNED:
            messages.error(request, "Only a signed report has a seal: sign it, then export the bundle.")
            return redirect("report_detail", report.pk)
        body, kind = json.dumps(sealed_bundle(report), ensure_ascii=False, indent=1), "application/json"
        name += "-sealed.json"
    elif form == "json":
        body, kind, name = (
            json.dumps(_plain_json(report, content), ensure_ascii=False, indent=1),
            "application/json",
            f"{name}.json",
        )
    else:
        body, kind, name = _csv(report, content), "text/csv; charset=utf-8", f"{name}.csv"
    record("report.export", actor=request.user, obj=report, case=report.case, changes={"format": form})
    response = HttpResponse(body, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def sealed_bundle(report) -> dict:
    """The bundle of a signed report."""
    return bundle_of(report.content, sequence=report.sequence, previous_seal=report.previous_seal, seal=report.seal)


def status_of(report) -> str:
    """What must stand beside every figure of the report (C10)."""
    return "signed" if report.state == Report.State.SIGNED else "preliminary, not reviewed"


def _plain_json(report, content):
    """The report without the single cells, for other systems."""
    kept = {name: section for name, section in content.items() if name != "cells"}
    return {"status": status_of(report), **kept, "seal": report.seal}


def _csv(report, content):
    """The differential, one line a type, with the report's identity in every line."""
    out = io.StringIO()
    writer = csv.writer(out)
    signature = content.get("signature") or {}
    head = ["accession_number", "version", "status", "signed_by", "signed_at", "meaning"]
    writer.writerow([*head, "code", "name", "count", "percent", "low", "high", "per_100_wbc", "absolute_10*9/L",
                     "reference", "call", "loinc_percent", "loinc_absolute"])  # fmt: skip
    same = [content["specimen"]["accession_number"], report.version, status_of(report), signature.get("name", ""),
            signature.get("signed_at", ""), signature.get("meaning", "")]  # fmt: skip
    for x in lines_of(content["differential"], content["policies"]["rules"], content["loinc"]):
        low, high = ("" if x[n] is None else round(x[n], 2) for n in ("low", "high"))
        writer.writerow(
            [_safe(value) for value in [*same, x["key"], x["name"], x["count"], x["percent"], low, high, x["per_100"],
             x["absolute"], x["range"], x["call"], x["loinc_percent"], x["loinc_absolute"]]]
        )  # fmt: skip
    return out.getvalue()


def _safe(value):
    """A text that a spreadsheet does not run as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


@requires("sign_report")
@require_POST
def report_amend(request, pk):
    """Open the next version of a signed report."""
    report = visible_report(request.user, pk)
    try:
        signing.amend_report(report, by=request.user, reason=request.POST.get("reason", ""))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("report_detail", report.pk)
    messages.success(request, "An amendment is open: correct the cells or the comment, then sign it.")
    return redirect("case_sign", report.case_id)


@requires("read_cases")
@require_GET
def report_policies(request, pk):
    """A signed report beside what the same cells say under another policy; nothing is changed."""
    report = visible_report(request.user, pk)
    if report.state != Report.State.SIGNED:
        raise PermissionDenied
    version = request.GET.get("policy", "")
    policy = get_object_or_404(
        Policy, laboratory=report.case.laboratory, version=int(version) if version.isdigit() else 0
    )
    record_read(request, report, report.case)
    other = rederived(report.content, policy)
    return render(
        request,
        "review/report_policies.html",
        {
            **page_of(report, report.content),
            "policy": policy,
            "other": other,
            "other_lines": lines_of(other["differential"], other["rules"], previous=report.content.get("previous")),
            "versions": Policy.objects.filter(laboratory=report.case.laboratory),
        },
    )


@requires("read_cases")
@require_http_methods(["GET", "POST"])
def report_verify(request):
    """Verify an exported bundle: its own seal, its decisions counted again, and what is stored here."""
    context = {}
    if request.method == "POST":
        file = request.FILES.get("bundle")
        if file is None:
            context["problems"] = ["Choose a bundle: the file that “Sealed bundle” on a signed report saved."]
        elif file.size > MOST_BUNDLE_BYTES:
            context["problems"] = ["The file is larger than any bundle."]
        else:
            raw = file.read()
            context["problems"] = problems_of(raw, expected_seal=request.POST.get("seal", ""))
            context |= _stored_counterpart(request.user, raw, context["problems"])
        context["is_checked"] = True
    return render(request, "review/report_verify.html", context)


def _stored_counterpart(user, raw, problems):
    """Compare a bundle with the report that this laboratory keeps, if it keeps it."""
    try:
        bundle = json.loads(raw)
        seal, stored_pk = str(bundle["seal"]), bundle["content"]["report"]["id"]
        reports = Report.objects.visible_to(user).filter(state=Report.State.SIGNED)
        report = reports.filter(seal=seal).first() or reports.filter(pk=int(stored_pk)).first()
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return {}
    if report is None:
        return {"is_unknown": True}
    if seal != report.seal:
        problems.append(f"This laboratory keeps report {report.pk} under another seal: {report.seal}.")
    problems += differences(sealed_bundle(report), bundle)[:50]
    return {"stored": report}
