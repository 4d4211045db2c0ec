"""Hold the rows of signed reports against the audit chain and against their own sealed content; it changes nothing.

The seal of one report is verified in seal.py; here is found what a single bundle cannot show: a report that is gone,
moved or renamed, columns and decisions changed beside the sealed content, and a guard that was dropped.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from leukoweb.audit.chain import first_broken
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.review.criticals.models import Critical
from leukoweb.review.findings.state import last_findings
from leukoweb.review.models import Decision, Finding, ReferenceCount, Report, Withdrawal
from leukoweb.review.reports import guard
from leukoweb.review.suggestions.models import SuggestionAnswer

SAME = (
    "interpretation", "comment", "lya_meaning", "smudge_as_lymphocytes", "smudge_reason", "amendment_reason", "version",
)  # fmt: skip
MERGES = ("merge.approve", "merge.undo")
PERSON = ("mrn", "name", "sex", "birth_date")


def general_problems() -> list[str]:
    """Return what is wrong with the audit, the guard and the reports that are gone, in sentences."""
    problems = []
    if not guard.guard_is_set():
        problems.append(
            "The database's guard of signed reports and critical results is not there: somebody dropped its triggers."
        )
    if broken := first_broken(Event.objects.order_by("id").iterator(chunk_size=500)):
        problems.append(f"The audit is broken at event {broken[0]}: {broken[1]}.")
    there = set(Report.objects.filter(state=Report.State.SIGNED).values_list("pk", flat=True))
    for event in _signatures():
        if int(event.object_id) not in there:
            problems.append(
                f"Report {event.object_id}, version {event.changes['version']} of case {event.case_id}, was signed on "
                f"{event.at:%Y-%m-%d %H:%M} UTC with the seal {event.changes['seal']}: it is no longer there."
            )
    return problems + _withdrawals() + _rejections()


def problems_of_report(report: Report) -> list[str]:
    """Return where a signed report's row differs from the audit, its sealed content and the decisions it covers."""
    problems = []
    event = _signatures().filter(object_id=str(report.pk)).first()
    if event is None:
        problems.append("No event of the audit says that it was signed.")
    else:
        problems += _against_event(report, event)
        problems += _against_case(report, event)
    problems += _against_content(report) + _against_decisions(report, event)
    problems += _against_findings(report, event) + _against_readings(report, event)
    return problems + _against_criticals(report) + _against_suggestions(report)


def _signatures() -> QuerySet[Event]:
    return Event.objects.filter(action="report.sign").order_by("id")


def _against_event(report: Report, event: Event) -> list[str]:
    problems = []
    if report.case_id != event.case_id:
        problems.append(f"It was signed for case {event.case_id} and now belongs to case {report.case_id}.")
    if report.signed_by_id != event.actor_id:
        problems.append(f"It was signed by {event.actor_name} and now names another signer.")
    if report.seal != event.changes["seal"]:
        problems.append(f"It was signed with the seal {event.changes['seal']} and now has another one.")
    return problems


def _against_content(report: Report) -> list[str]:
    """Compare the columns of the row with what is sealed in its content."""
    sealed, signature = report.content["report"], report.content["signature"]
    columns = {name: getattr(report, name) for name in SAME}
    named = [
        (name, value, sealed.get(name, type(value)())) for name, value in columns.items()
    ]  # earlier ones have fewer
    named += [
        ("signature_meaning", report.signature_meaning, signature["meaning"]),
        ("signed_at", _second(report.signed_at), _second(datetime.fromisoformat(signature["signed_at"]))),
    ]
    return [
        f"Its column {column} is not what was sealed: {str(stored)[:80]} against {str(was)[:80]}."
        for column, stored, was in named
        if stored != was
    ]


def _against_case(report: Report, event: Event) -> list[str]:
    """Compare patient and number of its case with what was sealed, unless a later event says that they changed."""
    patient = report.case.patient.person
    later = Event.objects.filter(id__gt=event.id)
    if later.filter(action="case.edit", case_id=report.case_id).exists():
        return []
    named = [("accession number", report.case.accession_number, report.content["specimen"]["accession_number"])]
    is_edited = later.filter(
        action="patient.edit", object_id__in=[str(patient.pk), str(report.case.patient_id)]
    ).exists()
    if not is_edited and not later.filter(action__in=MERGES, case_id=report.case_id).exists():
        born = patient.birth_date and patient.birth_date.isoformat()
        now = {"mrn": patient.mrn, "name": patient.name, "sex": patient.sex, "birth_date": born}
        named += [(f"patient's {name}", now[name], report.content["patient"][name]) for name in PERSON]
    return [
        f"The {what} of its case is not what was sealed, and no event of the audit says that it was changed."
        for what, stored, was in named
        if stored != was
    ]


def _against_findings(report: Report, event: Event | None) -> list[str]:
    """Compare the stored findings with those that were sealed; a report of before version 1.4 has none."""
    if "findings" not in report.content:
        return []
    groups = report.content["findings"]
    sealed = {part["key"]: part for group in groups for part in ([group] if group["at"] else []) + group["items"]}
    sealed = {key: part for key, part in sealed.items() if part["value"]}
    stored = {key: row for key, row in last_findings(report.case, until=report.signed_at).items() if row.value}
    problems = [
        f"Finding {key} is not what was sealed."
        for key in sorted(set(sealed) | set(stored))
        if key not in sealed or key not in stored or not _is_same_finding(stored[key], sealed[key])
    ]
    if event and not _is_amended_since(report, event):
        after = Finding.objects.filter(case=report.case_id, marked_at__gt=report.signed_at)
        problems += [f"Finding {row.key} came after the signature, without an amendment." for row in after]
    return problems


def _is_same_finding(row: Finding, part: Mapping[str, Any]) -> bool:
    counted = f"{row.counted:,} of {row.examined:,} " if row.examined else ""
    said = (row.value, row.note, bool(row.examined)) == (part["value"], part["note"], "count" in part)
    said = said and row.pictures == part.get("pictures", [])
    return said and part.get("count", "").startswith(counted)


def _against_readings(report: Report, event: Event | None) -> list[str]:
    """Compare the readings of a reference count with those that were sealed, unless it went on in an amendment."""
    reference, count = report.content.get("reference"), ReferenceCount.objects.filter(case=report.case_id).first()
    later = Event.objects.filter(action__startswith="reference.", case_id=report.case_id)
    later = later.filter(id__gt=event.id if event else 0)
    if not reference or count is None or later.exists():
        return []
    readers = {1: count.first_reader, 2: count.second_reader}
    stored = {
        (r.cell_id, reader.username if (reader := readers[r.place]) else ""): (r.code, r.settled_code)
        for r in count.readings.all()
    }
    sealed = {(r["cell"], r["by"]): (r["code"], r["settled_code"]) for r in reference["readings"]}
    return [
        f"The reading of cell {cell} by {by} is not what was sealed."
        for cell, by in sorted(set(stored) | set(sealed))
        if stored.get((cell, by)) != sealed.get((cell, by))
    ]


def _against_criticals(report: Report) -> list[str]:
    """Compare the critical results and calls with those that were sealed; later ones may have followed."""
    stored = {
        (critical.title, _second(critical.detected_at)): [(c.told_to, bool(c.is_read_back)) for c in critical.calls]
        for critical in Critical.objects.filter(case=report.case_id).with_log()
    }
    problems = []
    for part in report.content.get("criticals", []):
        calls = [(call["to"], call["read_back"]) for call in part["calls"]]
        found = stored.get((part["title"], _moment(part["detected_at"])))
        if found is None or found[: len(calls)] != calls:
            problems.append(f"The critical result “{part['title']}” or its calls are not what was sealed.")
    return problems


def _against_suggestions(report: Report) -> list[str]:
    """Compare the answers to proposed phrases with those that were sealed."""
    stored = {(a.key, a.answer, a.proposed, a.text, _second(a.answered_at)) for a in
              SuggestionAnswer.objects.filter(case=report.case_id)}  # fmt: skip
    sealed = [part for part in report.content.get("suggestions", []) if part["at"]]
    return [
        f"The answer to the proposed phrase “{part['title']}” is not what was sealed."
        for part in sealed
        if (part["key"], part["answer"], part["proposed"], part["text"], _moment(part["at"])) not in stored
    ]


def _is_amended_since(report: Report, event: Event) -> bool:
    return Event.objects.filter(action="report.amend", case_id=report.case_id, id__gt=event.id).exists()


def _against_decisions(report: Report, event: Event | None) -> list[str]:
    """Compare the stored decisions on its cells with those that were sealed; none may be gone, changed or added."""
    sealed = {d["id"]: (cell["id"], d) for cell in report.content["cells"] for d in cell["decisions"]}
    of_case = Decision.objects.filter(cell__run__slide__case=report.case_id).select_related("decided_by")
    stored = {decision.pk: decision for decision in of_case}
    problems = []
    for key, (cell, decision) in sealed.items():
        now = stored.get(key)
        if now is None:
            problems.append(f"Decision {key} on cell {cell} is gone.")
        elif (now.cell_id, now.from_code, now.to_code, now.reason, now.decided_by.username) != (
            cell, decision["from"], decision["to"], decision["reason"], decision["by"],
        ) or _second(now.decided_at) != _second(datetime.fromisoformat(decision["at"])):  # fmt: skip
            problems.append(f"Decision {key} on cell {cell} is not what was sealed.")
    if event and not _is_amended_since(report, event):
        covered = {cell["id"] for cell in report.content["cells"]}
        problems += [
            f"Decision {key} on cell {decision.cell_id} came after the signature, without an amendment."
            for key, decision in stored.items()
            if key not in sealed and decision.cell_id in covered
        ]
    return problems


def _withdrawals() -> list[str]:
    """Compare the withdrawals with the audit, in both directions."""
    events = Event.objects.filter(action="report.withdraw")
    said = {int(event.object_id): (event.changes["reason"], event.actor_id) for event in events}
    rows = Withdrawal.objects.values_list("report_id", "reason", "withdrawn_by")
    stored = {report: (reason, by) for report, reason, by in rows}
    return [
        f"Report {key}: its withdrawal is not what the audit says."
        for key in sorted(set(said) | set(stored))
        if said.get(key) != stored.get(key)
    ]


def _rejections() -> list[str]:
    """Compare the rejected specimens with the audit, in both directions."""
    events = Event.objects.filter(action="case.reject")
    said = {event.case_id: (event.changes["reason"], event.actor_id) for event in events}
    rows = Case.objects.filter(rejected_at__isnull=False).values_list("pk", "rejection_reason", "rejected_by")
    stored = {case: (reason, by) for case, reason, by in rows}
    return [
        f"Case {key}: its rejection is not what the audit says."
        for key in sorted(set(said) | set(stored), key=lambda key: key or 0)
        if said.get(key) != stored.get(key)
    ]


def _moment(sealed: str | None) -> datetime | None:
    """A time of sealed content, whatever the zone that it was written in."""
    return _second(datetime.fromisoformat(sealed)) if sealed else None


def _second(at: datetime | None) -> datetime | None:
    """A time without parts of a second: the sealed content has none."""
    return at and at.astimezone(timezone.get_default_timezone()).replace(microsecond=0)
