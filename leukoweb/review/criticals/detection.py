"""Make a critical result of every new critical fact of a case, and end those whose fact is gone; nobody is told here.

It runs where the flags of a case are stored (urgency.py), with the case locked: running twice changes nothing.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from leukoweb.accounts.models import Laboratory
from leukoweb.audit.models import Event
from leukoweb.audit.services import record
from leukoweb.cases.cbc import CbcValuePart, value_of
from leukoweb.cases.models import SIGNED, Case, CbcResult, Patient
from leukoweb.cases.wbc import refusal_of
from leukoweb.review.counting.flags import is_machine_only
from leukoweb.review.counting.review_rules import ReviewRule
from leukoweb.review.criticals.models import Critical, CriticalEntry, CriticalException, CriticalPolicy
from leukoweb.review.criticals.rules import FINDING, Fact, defaults, facts_of, facts_of_counts
from leukoweb.review.film_reasons import reasons_of
from leukoweb.review.models import Decision, Finding, Report
from leukoweb.review.services import CaseCount, age_of, count_case, current_policy, rules_of

# What else than a decision on a cell or a finding changes a figure, where the audit says so.
CHANGES = ("case.edit", "patient.edit", "slide.set_aside", "slide.include", "slide.reread", "cbc.receive", "run.done")

LATE_FOR = timedelta(days=7)  # how long a count that came after the signature is looked at again


def current_critical_policy(laboratory: Laboratory | int) -> CriticalPolicy | None:
    """Return the laboratory's newest rules of critical results, or None while it uses the defaults."""
    return CriticalPolicy.objects.filter(laboratory=laboratory).order_by("-version").first()


def facts_now(cases: Iterable[Case], counts: Mapping[int, CaseCount]) -> dict[int, tuple[int, list[Fact]]]:
    """Return of each case the version of the laboratory's rules and the facts that are critical now."""
    cases = list(cases)
    policies = {key: current_critical_policy(key) for key in {case.laboratory_id for case in cases}}
    cbc: dict[int, list[CbcValuePart]] = {}
    for result in CbcResult.objects.filter(case__in=cases):  # the one that is reported comes first
        cbc.setdefault(result.case_id, result.values)
    findings: dict[int, dict[str, str]] = {}
    subjects = [row["subject"] for policy in policies.values() if policy for row in policy.rules]
    asked = cases if any(subject.startswith(f"{FINDING}.") for subject in subjects) else []
    for finding in Finding.objects.filter(case__in=asked).order_by("pk"):
        findings.setdefault(finding.case_id, {})[finding.key] = finding.value
    found = {}
    for case in cases:
        policy, count = policies[case.laboratory_id], counts[case.pk]
        of_rules = _of_review_rules(case, count)
        found[case.pk] = (
            policy.version if policy else 0,
            of_rules
            + facts_of(
                policy.rules if policy else defaults(),
                count.differential,
                count.flags,
                confirmed=count.confirmed,
                lya_meaning=count.lya_meaning,
                cbc=[*cbc.get(case.pk, []), *_entered_wbc(case)],
                age=age_of(case),
                findings=findings.get(case.pk, {}),
            ),
        )
    return found


def _of_review_rules(case: Case, count: CaseCount) -> list[Fact]:
    """Return the review rules that call a value critical and are met by the newest final blood count and the film."""
    differential = count.differential
    found = []
    for rule in differential.rules.review_rules:
        if rule["action"] != "critical":
            continue
        codes = tuple(re.findall("film:([A-Z]{3})", rule["when"]))
        found += [
            Fact(
                key=_key_of(rule), title=rule["title"], sentence=f"{reason.title}: {reason.words}.", limit="",
                value=None, unit="", code="AA", source=rule["source"], first_only_days=0, figure="", codes=codes,
                is_machine_only=bool(codes) and is_machine_only(codes, differential, count.confirmed),
            )
            for reason in reasons_of(case, differential.as_dict(), [rule])
        ]  # fmt: skip
    return found


def _key_of(rule: ReviewRule) -> str:
    """Return the key of a review rule among critical results: short enough, and of no row of their own table."""
    return f"rule.{hashlib.sha256(rule['key'].encode()).hexdigest()[:20]}"


def _entered_wbc(case: Case) -> list[CbcValuePart]:
    """Return the WBC of a case as a value of a blood count: one that a person typed has no run of an analyser."""
    if case.wbc is None or not case.wbc_unit or refusal_of(case.wbc, case.wbc_unit):
        return []
    return [value_of("WBC", f"{case.wbc.normalize():f}", case.wbc_unit).as_dict()]


def keep_criticals(cases: Iterable[Case], counts: Mapping[int, CaseCount]) -> None:
    """Store what became critical, and what no longer is. Before: the cases are open and locked."""
    cases = list(cases)
    last: dict[tuple[int, str], Critical] = {}
    for critical in Critical.objects.filter(case__in=[case.pk for case in cases]).with_log().order_by("number"):
        last[critical.case_id, critical.key] = critical
    facts = facts_now(cases, counts)
    for case in cases:
        _settle(case, *facts[case.pk], {key: c for (pk, key), c in last.items() if pk == case.pk})


def _settle(case: Case, version: int, facts: list[Fact], last: Mapping[str, Critical]) -> None:
    _raise_new(case, version, facts, last)
    here = {fact.key for fact in facts}
    for key, critical in last.items():
        if key not in here and critical.no_longer is None:
            change = _change_since(critical, version)
            CriticalEntry.objects.create(critical=critical, kind=CriticalEntry.Kind.NO_LONGER, change=change)
            look_at_other_cases(critical)
            record("critical.no_longer", obj=critical, case=case, changes={"title": critical.title, **change})


def _raise_new(case: Case, version: int, facts: list[Fact], last: Mapping[str, Critical]) -> None:
    for fact in facts:
        known = last.get(fact.key)
        here = known if known and known.no_longer is None else None
        if here and _is_settled(here):
            continue
        exception = _exception_of(case, fact)
        if (here and exception) or (not exception and _was_told_before(case, fact)):
            continue
        critical = Critical.objects.create(
            case=case, key=fact.key, number=known.number + 1 if known else 1, title=fact.title, fact=fact.as_dict(),
            policy_version=version,
        )  # fmt: skip
        changes = {"title": fact.title, "value": fact.sentence}
        if exception:
            CriticalEntry.objects.create(critical=critical, kind=CriticalEntry.Kind.COVERED, exception=exception)
            changes["exception"] = exception.pk
        record("critical.detect", obj=critical, case=case, changes=changes)


def _exception_of(case: Case, fact: Fact) -> CriticalException | None:
    """Return the exception in force for the person that covers a fact; None where its row allows none."""
    if not fact.may_except:
        return None
    found = CriticalException.objects.of_person(case.patient).in_force(case.laboratory)
    return next((exception for exception in found if fact.key in exception.limits), None)


def _is_settled(critical: Critical) -> bool:
    """Say whether a result stays what it is: only a covered one is raised anew, while no report is signed with it."""
    covered = critical.covered
    signed = Report.objects.filter(case=critical.case_id, state=Report.State.SIGNED)
    return covered is None or signed.filter(signed_at__gte=covered.at).exists()


def look_at_late_counts() -> None:
    """Store what is critical in blood counts that came after the signature; the signed reports stay as they are.

    Somebody must be told; whether the report is amended is a person's decision.
    """
    signed = Report.objects.in_force().filter(case=OuterRef("case"), signed_at__lt=OuterRef("received_at"))
    late = CbcResult.objects.filter(received_at__gte=timezone.now() - LATE_FOR, is_final=True).filter(Exists(signed))
    for pk in sorted(set(late.values_list("case", flat=True))):
        with transaction.atomic():
            case = Case.objects.locked(pk)
            reported = CbcResult.objects.filter(case=case).first()
            if case.state != SIGNED or reported is None:  # an open amendment is looked at like every open case
                continue
            policy = current_critical_policy(case.laboratory_id)
            rows, version = (policy.rules, policy.version) if policy else (defaults(), 0)
            known = Critical.objects.filter(case=case).with_log().order_by("number")
            facts = facts_of_counts(rows, reported.values, age=age_of(case))
            review_rules = rules_of(current_policy(case.laboratory_id)).review_rules
            if any(rule["action"] == "critical" for rule in review_rules):  # to count the cells costs most
                facts += _of_review_rules(case, count_case(case))
            _raise_new(case, version, facts, {critical.key: critical for critical in known})


def _was_told_before(case: Case, fact: Fact) -> bool:
    """Say whether the same was told, or is still to be told, in another case of the person within the rule's days."""
    if not fact.first_only_days:
        return False
    since = timezone.now() - timedelta(days=fact.first_only_days)
    entries = CriticalEntry.objects.filter(critical=OuterRef("pk"))
    gone, ended = entries.filter(kind=CriticalEntry.Kind.NO_LONGER), entries.filter(kind__in=CriticalEntry.ENDS)
    earlier = Critical.objects.filter(
        key=fact.key, case__patient__in=Patient.objects.same_person(case.patient), detected_at__gte=since,
        case__rejected_at=None,
        case__is_demonstration=case.is_demonstration,
    ).exclude(case=case)  # fmt: skip
    return earlier.filter(~Exists(gone)).filter(Exists(entries.filter(is_reached=True)) | ~Exists(ended)).exists()


def look_at_other_cases(critical: Critical) -> None:
    """Let the open cases of the person be looked at again, after one ended that had kept theirs from being told."""
    records = Patient.objects.same_person(critical.case.patient)
    others = Case.objects.filter(patient__in=records).exclude(pk=critical.case_id)
    transaction.on_commit(lambda: others.forget_flags())  # after the commit: this one holds a case


def _change_since(critical: Critical, version: int) -> dict[str, str | int]:
    """Return what made a value no longer critical: the rules, else the newest decision, finding or event since."""
    if version != critical.policy_version:
        return {"what": "critical_policy", "version": version}
    event = Event.objects.filter(case_id=critical.case_id, action__in=CHANGES, at__gte=critical.detected_at).last()
    decision = (
        Decision.objects.filter(cell__run__slide__case=critical.case_id, decided_at__gte=critical.detected_at)
        .select_related("decided_by")
        .order_by("-pk")
        .first()
    )
    finding = (
        Finding.objects.filter(case=critical.case_id, marked_at__gte=critical.detected_at)
        .select_related("marked_by").order_by("-pk").first()
    )  # fmt: skip
    others = [*([decision.decided_at] if decision else []), *([event.at] if event else [])]
    if finding and all(at < finding.marked_at for at in others):
        return {"what": "finding", "finding": finding.key, "by": finding.marked_by.printed_name}
    if decision and (event is None or decision.decided_at > event.at):
        return {
            "what": "decision", "decision": decision.pk, "cell": decision.cell_id, "from": decision.from_code,
            "to": decision.to_code, "by": decision.decided_by.printed_name,
        }  # fmt: skip
    if event:
        return {"what": event.action, "event": event.pk, "by": event.actor_name}
    return {"what": "policy"}


def end_rejected() -> int:
    """End the open critical results of specimens that were rejected since; return how many."""
    ended = CriticalEntry.objects.filter(critical=OuterRef("pk"), kind__in=CriticalEntry.ENDS)
    found = Critical.objects.filter(~Exists(ended), case__rejected_at__isnull=False).select_related("case")
    for critical in found:
        change = {"what": "case.reject", "by": str(critical.case.rejected_by or "")}
        _entry, is_new = CriticalEntry.objects.get_or_create(
            critical=critical, kind=CriticalEntry.Kind.NO_LONGER, defaults={"change": change}
        )
        if is_new:
            look_at_other_cases(critical)
            record("critical.no_longer", obj=critical, case=critical.case, changes={"title": critical.title, **change})
    return len(found)
