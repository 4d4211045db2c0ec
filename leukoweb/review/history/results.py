"""Every signed result of a person in the order of time: one list for the chart and for its table; it draws nothing.

Figures are those that were sealed, with the reference range of that time; nothing is counted again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_noop

from leukoweb.accounts.models import User
from leukoweb.cases.models import Case, Patient
from leukoweb.review.counting.differential import wbc_from
from leukoweb.review.counting.values import GIGA, Value, values_of
from leukoweb.review.models import Report

# The parts of a report's content that its figures are in.
STORED = ("content__differential", "content__policies__rules", "content__specimen", "content__cbc")
AMENDED, WITHDRAWN, REJECTED = "amended", "withdrawn", "rejected"
FIRST_SHOWN = "film.neutrophils.%"
MOST = 500  # results of one person; the newest
PERCENT, ABSOLUTE = gettext_noop("Percentages"), gettext_noop("Absolute counts")
BLOOD_COUNT = gettext_noop("Blood count")


@dataclass(frozen=True)
class Result:
    """The latest signed version of a case, or that its specimen was rejected.

    `state` is "" or one of amended, withdrawn and rejected; the last two have no values, for nothing of them holds.
    """

    case: Case
    taken_at: datetime
    is_collected: bool
    report: int | None = None
    version: int = 0
    state: str = ""
    values: dict[str, Value] = field(default_factory=dict)


def results_of(patient: Patient, user: User) -> list[Result]:
    """Return the signed results and rejections of a person that the user may see, oldest first."""
    of_person = Case.objects.filter(patient__in=Patient.objects.same_person(patient))
    cases = Case.objects.visible_to(user).filter(pk__in=of_person).select_related("patient")
    newest = list(cases.filter(reports__state=Report.State.SIGNED).distinct()[:MOST])
    newest += cases.filter(rejected_at__isnull=False)[:MOST]
    signed = Report.objects.filter(case__in=newest, state=Report.State.SIGNED)
    rows = signed.exclude(amended_by__state=Report.State.SIGNED).values(
        "pk", "case_id", "version", "withdrawal", *STORED
    )
    of_case = {row["case_id"]: row for row in rows}
    found = [_result_of(case, of_case.get(case.pk)) for case in newest]
    return sorted(found, key=lambda result: (result.taken_at, result.case.pk))


def stored_values(row: Mapping[str, Any]) -> dict[str, Value]:
    """Return every figure of a signed report of which the STORED parts were read."""
    cbc, wbc = row["content__cbc"] or {}, wbc_from(row["content__specimen"]["wbc"])
    return values_of(row["content__differential"], row["content__policies__rules"], wbc, cbc.get("values", []))


def _result_of(case: Case, row: Mapping[str, Any] | None) -> Result:
    if row is None:
        return Result(case, case.collected_at or case.received_at, case.collected_at is not None, state=REJECTED)
    specimen = row["content__specimen"]
    collected = specimen["collected_at"]
    taken_at = parse_datetime(collected or specimen["received_at"])
    assert taken_at is not None
    state = WITHDRAWN if row["withdrawal"] else AMENDED if row["version"] > 1 else ""
    values = {} if row["withdrawal"] else stored_values(row)
    return Result(case, taken_at, bool(collected), row["pk"], row["version"], state, values)


def parameters_of(results: Iterable[Result]) -> dict[str, list[tuple[str, Value]]]:
    """Return what can be shown of some results, in groups: key, and one value that has its name and unit.

    A type that was never seen is left out.
    """
    groups: dict[str, dict[str, Value]] = {name: {} for name in (PERCENT, ABSOLUTE, BLOOD_COUNT)}
    for result in results:
        for key, value in result.values.items():
            name = BLOOD_COUNT if key.startswith("cbc.") else ABSOLUTE if value.unit == GIGA else PERCENT
            if value.number or key in groups[name] or key == FIRST_SHOWN:
                groups[name][key] = value
    return {name: list(values.items()) for name, values in groups.items() if values}
