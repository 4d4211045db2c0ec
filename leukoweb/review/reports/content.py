"""What a report says, as JSON values: the one form that draft and signed report, page, PDF and export are made from.

It reads the case as it is now; a signed report is never rebuilt here, its stored content is.
"""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.utils import timezone
from django.utils.translation import override

from leukoweb.accounts.logos import logo_of
from leukoweb.accounts.models import User
from leukoweb.accounts.resets import note_of_reset
from leukoweb.accounts.time_zone import zone_of
from leukoweb.analysis.models import ImageResult, Run
from leukoweb.cases.cbc import PARAMETERS, CbcValuePart
from leukoweb.cases.models import Case, CbcResult, Slide, SlideImage
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.differential import Differential
from leukoweb.review.counting.flags import Flag
from leukoweb.review.counting.loinc import codes_of
from leukoweb.review.criticals.part import criticals_part
from leukoweb.review.findings.state import findings_part
from leukoweb.review.history.alarms import alarms_part
from leukoweb.review.models import Acknowledgement, Decision, HandOver, Report
from leukoweb.review.reports.changes import changes_between
from leukoweb.review.reports.parts import (
    AgePart,
    AmendmentPart,
    CbcPart,
    CellPart,
    Content,
    DecisionPart,
    DetectorPart,
    FlagPart,
    HandOverPart,
    ImagePart,
    LaboratoryPart,
    PatientPart,
    Product,
    ReceiptPart,
    SetAsidePart,
    SignaturePart,
    SpecimenPart,
    sealed_time,
)
from leukoweb.review.reports.verification import verification_of
from leukoweb.review.services import age_of, count_case, current_policy, previous_result, wbc_of
from leukoweb.review.studies.reference import reference_section
from leukoweb.review.suggestions.part import suggestions_part

PICTURES = 12


def content_of(report: Report) -> Content:
    """Everything that a signature on this report would cover, without the signature; times in its laboratory's zone."""
    with timezone.override(zone_of(report.case.laboratory)):
        return _content_of(report)


def _content_of(report: Report) -> Content:
    case, policy = report.case, current_policy(report.case.laboratory)
    count = count_case(case, policy)
    counts, differential, flags = count.counts, count.differential, count.flags
    cells, readers = _cells(case)
    content: Content = {
        "product": product_now(),
        "laboratory": laboratory_of(case),
        "patient": patient_of(case),
        "specimen": specimen_of(case),
        "report": {
            "id": report.pk,
            "version": report.version,
            "interpretation": report.interpretation,
            "comment": report.comment,
            "lya_meaning": report.lya_meaning,
            "smudge_as_lymphocytes": report.smudge_as_lymphocytes,
            "smudge_reason": report.smudge_reason,
            "amends_version": report.amends.version if report.amends else None,
            "amends_seal": report.amends.seal if report.amends else "",
            "amendment_reason": report.amendment_reason,
            "left_shift_comment": _left_shift_comment(differential, flags),
        },
        "counts": {code: counts[code] for code in sorted(counts)},
        "differential": differential.as_dict(),
        "loinc": codes_of(
            [*(row.key for row in differential.rows), "UNI", *differential.groups], lya_meaning=report.lya_meaning
        ),
        "flags": _flags(case, flags),
        "previous": previous_result(case),
        "limits": [said.report for said in (*count.sentences, *count.warnings) if said.report],
        "policies": {
            "version": policy.version if policy else 0,
            "rules": differential.rules.as_dict(),
            "sentences": differential.rules.sentences(),
        },
        "detectors": _detectors(case),
        "images": _images(case),
        "set_aside": _set_aside(case),
        "cells": cells,
        "verification": verification_of(cells, differential.rules.least_verified, readers),
        "pictures": chosen_pictures(report, cells, flags),
        "hand_over": _hand_over(case),
        "reference": reference_section(case),
        "findings": findings_part(case, differential.rules),
    }
    if language := language_of(case):
        content["language"] = language
    if runs := cbc_runs(case):
        content["cbc"] = {**runs[0], "runs": len(runs)}
    if criticals := criticals_part(case):
        content["criticals"] = criticals
    if deltas := alarms_part(case):
        content["deltas"] = deltas
    if attributions := _attributions(case):
        content["attributions"] = attributions
    if suggestions := suggestions_part(report, content):
        content["suggestions"] = suggestions
    content["amendment"] = _amendment(report, content)
    return content


def _amendment(report: Report, content: Content) -> AmendmentPart | None:
    """What the version before said, when and by whom it was signed, and what changed (S9, S13)."""
    before = report.amends
    if before is None:
        return None
    return {
        "version": before.version,
        "signed_by": before.content["signature"]["name"],
        "signed_at": before.content["signature"]["signed_at"],
        "meaning": before.content["signature"]["meaning"],
        "seal": before.seal,
        "reason": report.amendment_reason,
        "changes": changes_between(before.content, content),
    }


def signature_of(by: User, meaning: str, at: datetime) -> SignaturePart:
    """The signature as it is printed: who, when and what it means (S1)."""
    with override("en"):  # what is sealed is English; it is translated when it is printed
        role = str(by.get_role_display())
    signature: SignaturePart = {
        "name": by.printed_name,
        "username": by.username,
        "role": role,
        "meaning": meaning,
        "signed_at": at.isoformat(timespec="seconds"),
    }
    if note := note_of_reset(by, at):
        signature["reset"] = note
    return signature


def language_of(case: Case) -> str:
    """Return the language that the laboratory's reports are printed in; "" for English, which is not stored."""
    language = case.laboratory.language or settings.LANGUAGE_CODE
    return "" if language == "en" else language


def chosen_pictures(report: Report, cells: list[CellPart], flags: Iterable[Flag]) -> list[int]:
    """The cells whose pictures are printed: the reader's choice, else a few of each type that caused a flag."""
    here = {cell["id"]: cell for cell in cells}
    if report.pictures:
        return [pk for pk in report.pictures if pk in here and here[pk]["code"]][:PICTURES]
    chosen = []
    for code in dict.fromkeys(code for flag in flags for code in flag.codes):
        of_type = sorted((c for c in cells if c["code"] == code), key=lambda c: (-(c["score"] or 2.0), c["id"]))
        chosen += [cell["id"] for cell in of_type[:3]]
    return chosen[:PICTURES]


def product_now() -> Product:
    """Return what made the report."""
    return {"name": "LeukoWeb", "version": settings.VERSION, "is_research_use": settings.IS_RESEARCH_USE}


def laboratory_of(case: Case) -> LaboratoryPart:
    """Return the laboratory as it is printed."""
    own = case.laboratory
    found: LaboratoryPart = {
        "name": own.name, "address": own.address, "telephone": own.telephone, "director": own.director
    }  # fmt: skip
    if logo := logo_of(own):
        found["logo"] = logo
    return found


def patient_of(case: Case) -> PatientPart:
    """Return the person as printed."""
    patient = case.patient.person
    age, others = age_of(case), patient.other_mrns
    found: PatientPart = {
        "name": patient.name,
        "mrn": patient.mrn,
        "sex": patient.sex,
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
        "age": age_part(age),
    }
    if others:
        found["other_mrns"] = others
    return found


def age_part(age: Age | None) -> AgePart | None:
    """Return an age as it is printed."""
    if age is None:
        return None
    return {"days": age.days, "months": age.months, "years": age.years, "text": age.words()}


def specimen_of(case: Case) -> SpecimenPart:
    """Return the specimen as printed."""
    wbc = wbc_of(case)
    return {
        "accession_number": case.accession_number,
        "priority": case.priority,
        "stain": case.stain,
        "collected_at": _iso(case.collected_at),
        "received_at": _iso(case.received_at),
        "registered_at": _iso(case.registered_at),
        "registered_by": case.registered_by.printed_name,
        "clinical_note": case.clinical_note,
        "requester": case.requester,
        "ward": case.ward,
        "copy_to": case.copy_to,
        "specimen_type": case.specimen_type,
        "collector": case.collector,
        "is_demonstration": case.is_demonstration,
        "wbc": None
        if wbc is None
        else {"value": wbc.value, "unit": wbc.unit, "source": wbc.source, "at": _iso(case.wbc_at) or ""},
    }


def cbc_runs(case: Case) -> list[CbcPart]:
    """The blood counts of a case, the one that is reported first: the newest that is final, else the newest."""
    return [
        {
            "run": result.run,
            "analyser": result.analyser,
            "measured_at": _iso(result.measured_at),
            "received_at": _iso(result.received_at),
            "is_final": result.is_final,
            "values": [_named(value) for value in result.values],
            "remarks": result.remarks,
            "warnings": result.warnings,
        }
        for result in CbcResult.objects.filter(case=case)
    ]


def _named(value: CbcValuePart) -> CbcValuePart:
    return {**value, "name": PARAMETERS[value["key"]].name}


def cbc_after(case_id: int, signed_at: datetime) -> bool:
    """Say whether a blood count came after a signature: a person decides whether the report is amended."""
    return CbcResult.objects.filter(case=case_id, received_at__gt=signed_at).exists()


def _flags(case: Case, flags: Iterable[Flag]) -> list[FlagPart]:
    receipts: dict[tuple[str, str], ReceiptPart] = {}
    for receipt in Acknowledgement.objects.filter(case=case).select_related("acknowledged_by"):
        receipts[receipt.flag, receipt.receipt] = {
            "by": receipt.acknowledged_by.printed_name, "at": _iso(receipt.acknowledged_at)
        }  # fmt: skip
    nobody: ReceiptPart = {"by": "", "at": None}
    return [
        {
            "key": flag.key,
            "title": flag.title,
            "sentence": flag.report,
            "urgency": flag.urgency,
            "codes": list(flag.codes),
            "is_machine_only": flag.is_machine_only,
            "bench_receipt": receipts.get((flag.key, "bench"), nobody),
            "acknowledged_by": receipts.get((flag.key, "pathologist"), nobody)["by"],
            "acknowledged_at": receipts.get((flag.key, "pathologist"), nobody)["at"],
        }
        for flag in flags
    ]


def _left_shift_comment(differential: Differential, flags: Iterable[Flag]) -> str:
    """The sentence of the policy that asks for one."""
    if differential.rules.bands != "grouped_left_shift":
        return ""
    return next((f"{f.title}: {f.report}" for f in flags if f.key == "left_shift"), "No left shift.")


def _detectors(case: Case) -> list[DetectorPart]:
    runs = (
        Run.objects.filter(slide__case=case, slide__set_aside_at=None, is_shadow=False)
        .select_related("detector")
        .order_by("pk")
    )
    return [
        {
            "slide": run.slide_id,
            "name": run.detector.name if run.detector else "",
            "version": run.detector.version if run.detector else "",
            "sha256": run.detector.sha256 if run.detector else "",
            "computed_on": run.computed_on,
            "finished_at": _iso(run.finished_at),
        }
        for run in runs
    ]


def _images(case: Case) -> list[ImagePart]:
    scales = {
        result.image_id: result for result in ImageResult.objects.filter(image__slide__case=case, run__is_shadow=False)
    }
    images = (
        SlideImage.objects.filter(slide__case=case, slide__set_aside_at=None)
        .select_related("slide__uploaded_by")
        .order_by("pk")
    )
    return [
        {
            "id": image.pk,
            "slide": image.slide_id,
            "slide_label": str(image.slide),
            "is_drawn": image.slide.is_drawn,
            "uploaded_by": image.slide.uploaded_by.printed_name,
            "uploaded_at": _iso(image.slide.uploaded_at),
            "name": image.name,
            "sha256": image.sha256,
            "width_px": image.width_px,
            "height_px": image.height_px,
            "um_per_px": round(scales[image.pk].um_per_px, 6) if image.pk in scales else None,
            "scale_method": scales[image.pk].scale_method if image.pk in scales else "",
            "warning": image.warning,
        }
        for image in images
    ]


def _attributions(case: Case) -> list[str]:
    """Whose pictures are counted, where they are not the laboratory's own."""
    slides = Slide.objects.filter(case=case, set_aside_at=None).exclude(attribution="").order_by("pk")
    return list(dict.fromkeys(slides.values_list("attribution", flat=True)))


def _set_aside(case: Case) -> list[SetAsidePart]:
    slides = Slide.objects.filter(case=case, set_aside_at__isnull=False).select_related("set_aside_by").order_by("pk")
    return [
        {
            "slide_label": str(slide),
            "reason": slide.set_aside_reason,
            "by": slide.set_aside_by.printed_name,
            "at": _iso(slide.set_aside_at),
        }
        for slide in slides
    ]


def _cells(case: Case) -> tuple[list[CellPart], dict[str, str]]:
    """Every counted cell with its decisions, for counting again (S4, S5), and the printed names of the readers."""
    decisions: dict[int, list[DecisionPart]] = {}
    readers: dict[str, str] = {}
    for decision in Decision.objects.filter(cell__run__slide__case=case).select_related("decided_by").order_by("pk"):
        readers[decision.decided_by.username] = decision.decided_by.printed_name
        decisions.setdefault(decision.cell_id, []).append(
            {
                "id": decision.pk,
                "from": decision.from_code,
                "to": decision.to_code,
                "reason": decision.reason,
                "by": decision.decided_by.username,
                "at": _iso(decision.decided_at),
            }
        )
    columns = ("pk", "image_id", "x1", "y1", "x2", "y2", "detector_code", "score", "code")
    cells: list[CellPart] = [
        {
            "id": cell.pk,
            "image": cell.image_id,
            "box_xyxy_px": [round(value, 1) for value in (cell.x1, cell.y1, cell.x2, cell.y2)],
            "detector_code": cell.detector_code,
            "score": None if cell.score is None else round(cell.score, 4),
            "code": cell.code,
            "decisions": decisions.get(cell.pk, []),
        }
        for cell in current_cells(case).order_by("pk").values_list(*columns, named=True)
    ]
    return cells, readers


def _hand_over(case: Case) -> HandOverPart | None:
    last = HandOver.objects.filter(case=case, returned_at=None).select_related("handed_over_by").first()
    return None if last is None else {"by": last.handed_over_by.printed_name, "at": _iso(last.handed_over_at)}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else sealed_time(at)
