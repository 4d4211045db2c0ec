"""What a case's cells add up to under the laboratory's policy; doors that change a report stand in signing.py."""

from collections import Counter

from django.db.models import Count

from leukoweb.analysis.models import Cell
from leukoweb.review.differential import Differential, Wbc, count_differential
from leukoweb.review.models import Policy, with_labels
from leukoweb.review.policies import Rules, rules_from


def current_policy(laboratory) -> Policy | None:
    """The laboratory's newest policy, or None while it uses the defaults."""
    return Policy.objects.filter(laboratory=laboratory).order_by("-version").first()


def rules_of(policy: Policy | None) -> Rules:
    """The rules of a stored policy; the defaults when there is none."""
    return rules_from(policy.rules) if policy else Rules()


def current_cells(case):
    """The counted cells of a case with their labels (see with_labels)."""
    return with_labels(Cell.objects.counted().filter(image__slide__case=case))


def label_counts(case) -> Counter:
    """How many cells of a case carry each label, UNI and NOT among them; cells that no longer have one are left out."""
    rows = current_cells(case).order_by().values("code").annotate(cells=Count("pk"))
    return Counter({row["code"]: row["cells"] for row in rows if row["code"]})


def differential_of(case, policy: Policy | None = None, counts=None) -> Differential:
    """The differential of a case under the laboratory's newest policy, or under another one."""
    rules = rules_of(policy or current_policy(case.laboratory))
    counts = label_counts(case) if counts is None else counts
    return count_differential(counts, rules, wbc=wbc_of(case), age_years=age_years(case), sex=case.patient.sex)


def wbc_of(case) -> Wbc | None:
    """The analyser's white cell count as it was registered, or None."""
    if case.wbc is None:
        return None
    return Wbc(float(case.wbc), case.wbc_unit, case.wbc_source, case.wbc_at.isoformat() if case.wbc_at else "")


def age_years(case) -> float | None:
    """The patient's age at collection, else at receipt; None without a birth date."""
    if case.patient.birth_date is None:
        return None
    at = (case.collected_at or case.received_at).date()
    return (at - case.patient.birth_date).days / 365.25
