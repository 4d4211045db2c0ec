"""Raise an alarm of every change that the laboratory's delta rules ask for, end those that no longer hold, and answer.

It runs where the flags of a case are stored (urgency.py), with the case locked: running twice changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import REJECTED, SIGNED, WITHDRAWN, Case, CbcResult, Patient
from leukoweb.refusals import Refused
from leukoweb.review.counting.delta_rules import MIX_UP, DeltaRule, change_by, span_of
from leukoweb.review.counting.values import Value, values_of
from leukoweb.review.history.models import DeltaAlarm, DeltaEntry
from leukoweb.review.history.results import STORED, stored_values
from leukoweb.review.models import Report
from leukoweb.review.reports.parts import DeltaFact, DeltaPart, receipt_part, sealed_time
from leukoweb.review.services import CaseCount, current_policy
from leukoweb.texts import checked_reason

Kind = DeltaEntry.Kind
LOOK_BACK = 10  # earlier results, the newest


@dataclass(frozen=True)
class Earlier:
    """A signed result of the same person before this specimen."""

    taken_at: datetime
    accession: str
    values: dict[str, Value]


def keep_alarms(cases: Iterable[Case], counts: Mapping[int, CaseCount]) -> None:
    """Store what became an alarm, and what no longer is. Before: the cases are open and locked."""
    cases = list(cases)
    last: dict[tuple[int, str], DeltaAlarm] = {}
    for alarm in DeltaAlarm.objects.filter(case__in=[case.pk for case in cases]).with_log().order_by("number"):
        last[alarm.case_id, alarm.key] = alarm
    for case in cases:
        rules = counts[case.pk].differential.rules.delta_rules
        facts = facts_of(case, counts[case.pk], rules) if rules else {}
        _settle(case, facts, rules, {key: alarm for (pk, key), alarm in last.items() if pk == case.pk})


def facts_of(case: Case, count: CaseCount, rules: list[DeltaRule]) -> dict[str, DeltaFact]:
    """Return the changes that meet a rule, key of the rule to fact, each against the newest earlier signed result."""
    taken_at = case.collected_at or case.received_at
    earlier = _earlier(case, taken_at)
    if not earlier:
        return {}
    now, found = _values_now(case, count), {}
    for rule in rules:
        value = now.get(rule["subject"])
        if value is None:
            continue
        within = (row for row in earlier if taken_at - row.taken_at <= span_of(rule["span"]))
        row = next((row for row in within if rule["subject"] in row.values), None)
        if row is None:
            continue
        before = row.values[rule["subject"]]
        change = change_by(rule, value, before)
        if change is not None:
            found[rule["key"]] = DeltaFact(
                name=value.name, unit=value.unit, now=value.text, before=before.text, change=round(change, 3),
                before_accession=row.accession, before_at=sealed_time(row.taken_at),
                limit=rule["limit"], measure=rule["measure"], span=rule["span"], source=rule["source"],
            )  # fmt: skip
    return found


def _values_now(case: Case, count: CaseCount) -> dict[str, Value]:
    run = CbcResult.objects.filter(case=case).first()  # the one that is reported
    differential = count.differential
    return values_of(
        differential.as_dict(), differential.rules.as_dict(), differential.wbc, run.values if run else []
    )  # fmt: skip


def _earlier(case: Case, taken_at: datetime) -> list[Earlier]:
    """The signed results in force of the same person before this specimen, newest first."""
    reports = Report.objects.in_force().filter(
        case__patient__in=Patient.objects.same_person(case.patient), case__is_demonstration=case.is_demonstration
    ).exclude(case=case)  # fmt: skip
    rows = reports.annotate(taken_at=Coalesce("case__collected_at", "case__received_at")).filter(taken_at__lt=taken_at)
    return [
        Earlier(row["taken_at"], row["content__specimen"]["accession_number"], stored_values(row))
        for row in rows.order_by("-taken_at").values("taken_at", *STORED)[:LOOK_BACK]
    ]


def _settle(case: Case, facts: Mapping[str, DeltaFact], rules: list[DeltaRule], last: Mapping[str, DeltaAlarm]) -> None:
    by_key = {rule["key"]: rule for rule in rules}
    for key, fact in facts.items():
        known, rule = last.get(key), by_key[key]
        if known and known.no_longer is None:
            continue
        policy = current_policy(case.laboratory_id)
        alarm = DeltaAlarm.objects.create(
            case=case, key=key, number=known.number + 1 if known else 1, title=rule["title"], fact=fact,
            is_mix_up=rule["action"] == MIX_UP, policy_version=policy.version if policy else 0,
        )  # fmt: skip
        record("delta.raise", obj=alarm, case=case, changes={"title": alarm.title, "mix_up": alarm.is_mix_up, **fact})
    for key, alarm in last.items():
        if key not in facts and alarm.no_longer is None:
            DeltaEntry.objects.create(alarm=alarm, kind=Kind.NO_LONGER)
            record("delta.no_longer", obj=alarm, case=case, changes={"title": alarm.title})


def dismiss_alarm(alarm: DeltaAlarm, *, by: User, reason: str) -> DeltaEntry:
    """Answer an alarm with a reason; one that was escalated only a pathologist answers. Before: not signed."""
    reason = checked_reason(reason, _("Enter why the alarm is dismissed: the answer is printed on the report."))
    with transaction.atomic():
        alarm = _locked(alarm, by)
        if not alarm.is_active:
            raise Refused(_("This alarm is answered already. Load the page again."), code="wrong_state")
        if alarm.escalated and not by.can("sign_report"):
            raise Refused(_("This alarm was escalated: a pathologist answers it."), code="not_allowed")
        entry = DeltaEntry.objects.create(alarm=alarm, kind=Kind.DISMISSED, by=by, reason=reason)
        record("delta.dismiss", actor=by, obj=alarm, case=alarm.case, changes={"title": alarm.title, "reason": reason})
    return entry


def escalate_alarm(alarm: DeltaAlarm, *, by: User, reason: str = "") -> DeltaEntry:
    """Leave an alarm to the pathologist; the first time counts. Before: active, not signed."""
    reason = checked_reason(reason)
    with transaction.atomic():
        alarm = _locked(alarm, by)
        if alarm.escalated:
            return alarm.escalated
        if not alarm.is_active:
            raise Refused(_("This alarm is answered already. Load the page again."), code="wrong_state")
        entry = DeltaEntry.objects.create(alarm=alarm, kind=Kind.ESCALATED, by=by, reason=reason)
        record("delta.escalate", actor=by, obj=alarm, case=alarm.case, changes={"title": alarm.title, "reason": reason})
    return entry


def _locked(alarm: DeltaAlarm, by: User) -> DeltaAlarm:
    """Lock the case and return the alarm with its log; what is signed or rejected keeps its answers."""
    if not by.can("relabel_cell"):
        raise Refused(_("Your role cannot answer alarms."), code="not_allowed")
    case = Case.objects.locked(alarm.case_id)
    if case.laboratory_id != by.laboratory_id:
        raise Refused(_("This case belongs to another laboratory."), code="not_allowed")
    if case.state in (SIGNED, WITHDRAWN, REJECTED):
        raise Refused(_("This case is closed: its alarms keep the answers that they have."), code="case_closed")
    Case.objects.filter(pk=case.pk).forget_flags()
    alarm = DeltaAlarm.objects.with_log().get(pk=alarm.pk)
    alarm.case = case
    return alarm


def alarms_part(case: Case) -> list[DeltaPart]:
    """Return the alarms of a case with their answers as they are now, without those that no longer hold."""
    alarms = DeltaAlarm.objects.filter(case=case).with_log()
    return [_part(alarm) for alarm in alarms if alarm.no_longer is None]


def _part(alarm: DeltaAlarm) -> DeltaPart:
    return {
        "title": alarm.title,
        "is_mix_up": alarm.is_mix_up,
        "fact": alarm.fact,
        "policy_version": alarm.policy_version,
        "raised_at": sealed_time(alarm.raised_at),
        "escalated": receipt_part(alarm.escalated),
        "escalation": alarm.escalated.reason if alarm.escalated else "",
        "dismissed": receipt_part(alarm.dismissed),
        "reason": alarm.dismissed.reason if alarm.dismissed else "",
    }
