"""Why a case's blood count needs a film, by the laboratory's review rules, and how often each rule was met."""

from collections import Counter
from datetime import timedelta
from typing import Any

from django.utils import timezone

from leukoweb.accounts.models import Laboratory
from leukoweb.cases.models import Case, CbcResult, Patient
from leukoweb.review.counting.review_rules import Facts, Reason, reasons_for
from leukoweb.review.models import Report
from leukoweb.review.services import age_of

LOOK_BACK = timedelta(days=30)
MOST_COUNTS = 2_000  # that the page looks at; the newest


def reasons_of(case: Case, figures: dict[str, Any], rules: list[dict[str, Any]]) -> list[Reason]:
    """Return the rules that the newest final blood count of a case meets, with its film as far as it is counted."""
    if not rules:
        return []
    run = CbcResult.objects.filter(case=case, is_final=True).first()
    film = {f"film:{row['key']}": row["percent"] for row in figures["rows"] if row["percent"] is not None}
    of_person = Report.objects.in_force().filter(case__patient__in=Patient.objects.same_person(case.patient))
    signed = of_person.exclude(case=case)
    return _reasons(case, run, film, rules, is_first=not signed.exists())


def _reasons(
    case: Case, run: CbcResult | None, film: dict[str, float], rules: list[dict[str, Any]], *, is_first: bool
) -> list[Reason]:
    if run is None:
        return []
    values = {value["key"]: value["amount"] for value in run.values if value["amount"] is not None}
    marks = {value["key"]: value["note"] for value in run.values if value["note"]}
    facts = Facts({**values, **film}, marks, tuple(run.remarks), is_first)
    return reasons_for(rules, facts, age=age_of(case), sex=case.patient.person.sex)


def met_lately(laboratory: Laboratory, rules: list[dict[str, Any]]) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """Return each rule with the number of cases whose newest final count of late meets it, and how many were looked at.

    The film's part is left out: it says what a count alone asks for.
    """
    if not rules:
        return [], 0
    since = timezone.now() - LOOK_BACK
    own = CbcResult.objects.filter(case__laboratory=laboratory, is_final=True, received_at__gte=since)
    runs = own.select_related("case__patient").order_by("-received_at")[:MOST_COUNTS]
    newest: dict[int, CbcResult] = {}
    for run in runs:
        newest.setdefault(run.case_id, run)
    patients = {run.case.patient_id for run in newest.values()}
    signed = Report.objects.in_force().filter(case__patient__in=patients)
    by_patient: dict[int, set[int]] = {patient: set() for patient in patients}
    for patient, case in signed.values_list("case__patient", "case"):
        by_patient[patient].add(case)
    met: Counter[str] = Counter()
    for run in newest.values():
        is_first = not by_patient[run.case.patient_id] - {run.case_id}
        met.update(
            rule["key"] for rule in rules if _reasons(run.case, run, {}, [rule], is_first=is_first)
        )  # fmt: skip
    return [(rule, met[rule["key"]]) for rule in rules], len(newest)
