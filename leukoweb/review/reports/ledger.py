"""Hold the rows of signed reports against the audit chain and against their own sealed content; it changes nothing.

The seal of one report is verified in seal.py; here is found what a single bundle cannot show: a report that is gone,
moved or renamed, columns and decisions changed beside the sealed content, and a guard that was dropped.
"""

from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from leukoweb.audit.chain import first_broken
from leukoweb.audit.models import Event
from leukoweb.review.models import Decision, Report, Withdrawal
from leukoweb.review.reports import guard

SAME = ("interpretation", "comment", "lya_meaning", "amendment_reason", "version")


def general_problems() -> list[str]:
    """Return what is wrong with the audit, the guard and the reports that are gone, in sentences."""
    problems = []
    if not guard.guard_is_set():
        problems.append(
            "The database's guard of signed reports and critical results is not there: somebody dropped its triggers."
        )
    if broken := first_broken(Event.objects.order_by("id").iterator(chunk_size=500)):
        problems.append(f"The audit is broken at event {broken[0]}: {broken[1]}.")
    there = set(Report.objects.values_list("pk", flat=True))
    for event in _signatures():
        if int(event.object_id) not in there:
            problems.append(
                f"Report {event.object_id}, version {event.changes['version']} of case {event.case_id}, was signed on "
                f"{event.at:%Y-%m-%d %H:%M} UTC with the seal {event.changes['seal']}: it is no longer there."
            )
    return problems + _withdrawals()


def problems_of_report(report: Report) -> list[str]:
    """Return where a signed report's row differs from the audit, its sealed content and the decisions it covers."""
    problems = []
    event = _signatures().filter(object_id=str(report.pk)).first()
    if event is None:
        problems.append("No event of the audit says that it was signed.")
    else:
        problems += _against_event(report, event)
    return problems + _against_content(report) + _against_decisions(report, event)


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
    named = [(name, getattr(report, name), sealed.get(name, "")) for name in SAME]
    named += [
        ("signature_meaning", report.signature_meaning, signature["meaning"]),
        ("signed_at", _second(report.signed_at), _second(datetime.fromisoformat(signature["signed_at"]))),
    ]
    return [
        f"Its column {column} is not what was sealed: {str(stored)[:80]} against {str(was)[:80]}."
        for column, stored, was in named
        if stored != was
    ]


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
    if event and not Event.objects.filter(action="report.amend", case_id=report.case_id, id__gt=event.id).exists():
        covered = {cell["id"] for cell in report.content["cells"]}
        problems += [
            f"Decision {key} on cell {decision.cell_id} came after the signature, without an amendment."
            for key, decision in stored.items()
            if key not in sealed and decision.cell_id in covered
        ]
    return problems


def _withdrawals() -> list[str]:
    """Compare the withdrawals with the audit, in both directions."""
    said = {int(e.object_id): e.changes["reason"] for e in Event.objects.filter(action="report.withdraw")}
    stored = dict(Withdrawal.objects.values_list("report_id", "reason"))
    return [
        f"Report {key}: its withdrawal is not what the audit says."
        for key in sorted(set(said) | set(stored))
        if said.get(key) != stored.get(key)
    ]


def _second(at: datetime | None) -> datetime | None:
    """A time without parts of a second: the sealed content has none."""
    return at and at.astimezone(timezone.get_default_timezone()).replace(microsecond=0)
