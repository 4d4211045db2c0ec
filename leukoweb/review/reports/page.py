"""What every medium shows of one report: its content, its lines, its status and what an amendment changed.

Page, PDF, API and files read it from here; how each of them is laid out is left to them.
"""

from collections import Counter
from datetime import datetime

from django.utils.translation import override

from leukoweb.accounts.logos import logo_address
from leukoweb.accounts.models import Laboratory
from leukoweb.audit.models import Event
from leukoweb.review.counting.phrases import filled
from leukoweb.review.counting.table import figures_of, lines_of, result_of, unseen_of
from leukoweb.review.models import Phrase, Report, Withdrawal
from leukoweb.review.reports.content import cbc_after, content_of
from leukoweb.review.reports.parts import Content, Verification
from leukoweb.review.reports.verification import sentence_of, status_of, verification_of

CHOICES_OF_A_TYPE = 6


def shown_content(report: Report) -> Content:
    """Return what the report says: frozen when it is signed, else as the case is now."""
    return report.content if report.state == Report.State.SIGNED else content_of(report)


def page_of(report: Report, content: Content) -> dict:
    """Return what every form of a report shows, as values for a template."""
    lines = lines_of(content["differential"], content["policies"]["rules"], content["loinc"], content.get("previous"))
    newer = Report.objects.filter(case_id=report.case_id, version__gt=report.version).defer("content").first()
    return {
        "report": report,
        "content": content,
        "logo_src": logo_address(content["laboratory"]),
        "lines": lines,
        "unseen": unseen_of(lines),
        "result": result_of(lines, content["differential"]),
        "previous": content.get("previous"),
        "clipboard": figures_of(lines),
        "newer": newer,
        "newer_cbc": newer is None and report.signed_at is not None and cbc_after(report.case_id, report.signed_at),
        "withdrawal": withdrawal_of(report),
        "status": report_status(report, content, newer),
        "verification": sentence_of(verified(content)),
    }


def verified(content: Content) -> Verification:
    """Return the verification of a report; one that was signed before it was stored is counted from its cells."""
    return content.get("verification") or verification_of(content["cells"], 100.0)


def withdrawal_of(report: Report) -> Withdrawal | None:
    """Return the withdrawal of a report, with who did it."""
    return Withdrawal.objects.filter(report_id=report.pk).select_related("withdrawn_by").first()


def report_status(report: Report, content: Content, newer: Report | None = None) -> str:
    """Return the words that are shown beside every figure of the report (C10, S12)."""
    if withdrawal_of(report):
        return "withdrawn"
    is_amending = newer is not None and newer.state == Report.State.DRAFT
    return status_of(verified(content), is_signed=report.state == Report.State.SIGNED, is_amending=is_amending)


def phrases_for(laboratory: Laboratory, content: Content) -> list[dict]:
    """Return the laboratory's phrases with this report's figures in their places."""
    decimals = content["policies"]["rules"]["decimals"]
    cbc = content["cbc"]["values"] if "cbc" in content else []
    with override(content.get("language", "en")):
        return [
            {"name": phrase.name, "text": filled(phrase.text, content["differential"], decimals, cbc)}
            for phrase in Phrase.objects.filter(laboratory=laboratory)
        ]


def picture_choices(content: Content) -> list[tuple[str, int, bool]]:
    """Return the cells that a signer may print, a few of each type: (code, cell id, chosen?)."""
    chosen, shown = set(content["pictures"]), []
    per_type: Counter[str] = Counter()
    for cell in sorted(content["cells"], key=lambda c: (c["id"] not in chosen, -(c["score"] or 2.0), c["id"])):
        if cell["code"] and cell["code"] != "NOT" and per_type[cell["code"]] < CHOICES_OF_A_TYPE:
            per_type[cell["code"]] += 1
            shown.append((cell["code"], cell["id"], cell["id"] in chosen))
    return sorted(shown)


def received_by(report: Report) -> list[tuple[str, datetime]]:
    """Return who had read, printed or exported a version, with the first time: they must hear of its amendment (S9)."""
    events = Event.objects.filter(
        object_type="review.report", object_id=str(report.pk), action__in=("report.read", "report.export")
    ).order_by("id")
    names: dict[str, datetime] = {}
    for event in events:
        names.setdefault(event.actor_name, event.at)
    return list(names.items())
