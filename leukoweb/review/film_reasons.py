"""Why a case's blood count needs a film, by the laboratory's review rules, and how often each rule was met."""

from collections import Counter
from datetime import timedelta

from django.db.models.functions import Coalesce
from django.utils import timezone

from leukoweb.accounts.models import Laboratory
from leukoweb.cases.models import Case, CbcResult, Patient
from leukoweb.review.counting.conditions import Facts, cbc_facts, film_facts
from leukoweb.review.counting.parts import DifferentialPart
from leukoweb.review.counting.review_rules import Reason, ReviewRule, reasons_for
from leukoweb.review.models import Report
from leukoweb.review.services import age_of

LOOK_BACK = timedelta(days=30)
MOST_COUNTS = 2_000  # that the page looks at; the newest


def reasons_of(case: Case, figures: DifferentialPart, rules: list[ReviewRule]) -> list[Reason]:
    """Return the rules that the newest final blood count of a case meets, with its film as far as it is counted."""
    if not rules:
        return []
    run = CbcResult.objects.filter(case=case, is_final=True).first()
    return _reasons(case, run, film_facts(figures), rules, is_first=is_first_report(case))


def is_first_report(case: Case) -> bool:
    """Say whether no other case of the person has a signed report."""
    of_person = Report.objects.in_force().filter(case__patient__in=Patient.objects.same_person(case.patient))
    return not of_person.exclude(case=case).exists()


def _reasons(
    case: Case,
    run: CbcResult | None,
    film: tuple[dict[str, float], dict[str, str]],
    rules: list[ReviewRule],
    *,
    is_first: bool,
) -> list[Reason]:
    if run is None:
        return []
    (values, marks), (counted, calls) = cbc_facts(run.values), film
    facts = Facts(values | counted, marks | calls, tuple(run.remarks), is_first=is_first)
    return reasons_for(rules, facts, age=age_of(case), sex=case.patient.person.sex)


def met_lately(laboratory: Laboratory, rules: list[ReviewRule]) -> tuple[list[tuple[ReviewRule, int]], int]:
    """Return each rule with the number of cases whose newest final count of late meets it, and how many were looked at.

    The film's part is left out: it says what a count alone asks for.
    """
    if not rules:
        return [], 0
    since = timezone.now() - LOOK_BACK
    own = CbcResult.objects.filter(case__laboratory=laboratory, is_final=True, received_at__gte=since)
    runs = own.select_related("case__patient__survivor", "case__laboratory").order_by("-received_at")[:MOST_COUNTS]
    newest: dict[int, CbcResult] = {}
    for run in runs:
        newest.setdefault(run.case_id, run)
    persons = {run.case.patient.person.pk for run in newest.values()}
    person = Coalesce("case__patient__survivor", "case__patient")
    signed = Report.objects.in_force().annotate(person=person).filter(person__in=persons)
    by_person: dict[int, set[int]] = {pk: set() for pk in persons}
    for pk, case in signed.values_list("person", "case"):
        by_person[pk].add(case)
    met: Counter[str] = Counter()
    for run in newest.values():
        is_first = not by_person[run.case.patient.person.pk] - {run.case_id}
        met.update(
            rule["key"] for rule in rules if _reasons(run.case, run, ({}, {}), [rule], is_first=is_first)
        )  # fmt: skip
    return [(rule, met[rule["key"]]) for rule in rules], len(newest)
