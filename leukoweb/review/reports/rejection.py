"""What the report of a rejected specimen says: who, which specimen, why; it holds no figure (S8, S12).

The rejecting itself is done in cases/services.py.
"""

from typing import NotRequired, TypedDict

from django.utils import timezone

from leukoweb.accounts.time_zone import zone_of
from leukoweb.cases.models import REJECTION_SYSTEM, REJECTIONS, Case
from leukoweb.review.reports.content import laboratory_of, language_of, patient_of, product_now, specimen_of
from leukoweb.review.reports.parts import LaboratoryPart, PatientPart, Product, SpecimenPart, sealed_time


class RejectionPart(TypedDict):
    """Why a specimen was refused; `code` is one of `system`, "" where it is none of the list."""

    code: str
    system: str
    name: str
    reason: str
    by: str
    at: str


class RejectionContent(TypedDict):
    """What the report of a rejected specimen says."""

    status: str
    state: str
    product: Product
    laboratory: LaboratoryPart
    patient: PatientPart
    specimen: SpecimenPart
    rejection: RejectionPart
    language: NotRequired[str]


def rejection_of(case: Case) -> RejectionContent:
    """Return the content of the one-page report of a rejected case. Before: REJECTED."""
    with timezone.override(zone_of(case.laboratory)):
        return _content_of(case)


def _content_of(case: Case) -> RejectionContent:
    content: RejectionContent = {
        "status": "rejected",
        "state": "rejected",
        "product": product_now(),
        "laboratory": laboratory_of(case),
        "patient": patient_of(case),
        "specimen": specimen_of(case),
        "rejection": {
            "code": case.rejection_code,
            "system": REJECTION_SYSTEM if case.rejection_code else "",
            "name": REJECTIONS.get(case.rejection_code, ""),
            "reason": case.rejection_reason,
            "by": case.rejected_by.printed_name if case.rejected_by else "",
            "at": sealed_time(case.rejected_at),
        },
    }
    if language := language_of(case):
        content["language"] = language
    return content
