"""Store a blood count of an analyser with its case; whose message it was is left to delivery.

A run is kept beside the earlier ones. While the case is open, the newest final run gives the case its WBC, unless a
person typed another one; a signed case keeps everything that was signed.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.cbc import CbcValue, contradictions_of
from leukoweb.cases.models import REJECTED, Case, CbcResult
from leukoweb.cases.services import CLOCKS_DIFFER, CLOSED, OLDEST_YEAR
from leukoweb.refusals import Refused


@dataclass(frozen=True)
class BloodCount:
    """One run as it came: an analyser, a time, values, and what the analyser suspects."""

    analyser: str
    measured_at: datetime | None
    is_final: bool
    values: tuple[CbcValue, ...]
    remarks: tuple[str, ...] = ()


def store_blood_count(case: Case, count: BloodCount, *, by: User) -> CbcResult:
    """Keep a run of an analyser; the same run twice is one. Before: the specimen was not rejected."""
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if case.state == REJECTED:
            raise Refused(CLOSED[REJECTED], code="case_closed")
        _refuse_times(case, count.measured_at)
        values = [value.as_dict() for value in count.values]
        earlier = list(CbcResult.objects.filter(case=case).order_by("run"))
        for known in earlier:
            given = (known.analyser, known.measured_at, known.is_final, known.values, known.remarks)
            if given == (count.analyser, count.measured_at, count.is_final, values, list(count.remarks)):
                return known
        result = CbcResult(
            case=case, run=len(earlier) + 1, analyser=count.analyser, measured_at=count.measured_at,
            is_final=count.is_final, values=values, remarks=list(count.remarks), received_by=by,
        )  # fmt: skip
        result.warnings = contradictions_of(result.amounts())
        changes = {"run": result.run, "analyser": result.analyser, "is_final": result.is_final}
        if case.state not in CLOSED and result.is_final:
            changes |= _take_wbc(case, result, count, earlier)
        result.save()
        if case.state not in CLOSED:
            Case.objects.filter(pk=case.pk).forget_flags()  # a value of the run may be critical
        record("cbc.receive", actor=by, obj=result, case=case, changes=changes)
    return result


def _refuse_times(case: Case, measured_at: datetime | None) -> None:
    if measured_at and measured_at.year < OLDEST_YEAR:
        raise Refused(
            gettext("This time lies before %(oldest_year)s: check the year.") % {"oldest_year": OLDEST_YEAR},
            "measured_at",
        )
    if measured_at and measured_at > timezone.now() + CLOCKS_DIFFER:
        raise Refused(gettext("The blood count was measured in the future: compare the clocks."), "measured_at")
    if measured_at and case.collected_at and measured_at < case.collected_at:
        raise Refused(gettext("The blood count was measured before the specimen was collected."), "measured_at")


def _take_wbc(case: Case, result: CbcResult, count: BloodCount, earlier: list[CbcResult]) -> dict[str, list]:
    """Give the case the WBC of this run, or say why it keeps the one it has."""
    wbc = next((value for value in count.values if value.key == "WBC"), None)
    if wbc is None or not wbc.value or wbc.note:
        return {}
    value, before = Decimal(str(wbc.value)).quantize(Decimal("0.001")), case.wbc
    is_analysers = any(
        (known.analyser, known.measured_at) == (case.wbc_source, case.wbc_at) for known in earlier if known.is_final
    )
    if before is not None and not is_analysers:
        if (before, case.wbc_unit) != (value, wbc.unit):
            result.warnings.append(
                f"The WBC of the case ({before.normalize():f} {case.wbc_unit}) was entered by a person and stays; this "
                f"run has {wbc.sent} {wbc.unit}."
            )
        return {}
    case.wbc, case.wbc_unit, case.wbc_at, case.wbc_source = value, wbc.unit, result.measured_at, result.analyser
    case.save(update_fields=["wbc", "wbc_unit", "wbc_at", "wbc_source"])
    return {"wbc": [str(before) if before is not None else None, f"{value} {wbc.unit}"]}
