"""What leaves the laboratory on request: everything about one patient, or one case without any name.

It writes folders for people who may hold them; it changes nothing but the audit.
"""

import json
import shutil
from pathlib import Path

from django.core.serializers.json import DjangoJSONEncoder
from django.forms.models import model_to_dict

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell, Run
from leukoweb.audit.models import Event
from leukoweb.audit.services import record
from leukoweb.cases.copies import local_original
from leukoweb.cases.models import Case, CbcResult, Patient, PatientMerge, SlideImage
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.criticals.models import Critical, CriticalEntry, CriticalException
from leukoweb.review.history.models import DeltaAlarm, DeltaEntry
from leukoweb.review.models import Decision, Finding, Report
from leukoweb.review.services import age_of, count_case
from leukoweb.review.studies.training_set import make_empty, write_pixels


def export_patient(patient: Patient, folder: Path, *, by: User | None = None) -> int:
    """Write all that is stored about a patient: `patient.json` and the originals; returns the number of cases."""
    make_empty(folder)
    (folder / "originals").mkdir()
    records = list(Patient.objects.same_person(patient).order_by("id"))
    cases = list(Case.objects.filter(patient__in=records).order_by("id"))
    images = list(SlideImage.objects.filter(slide__case__in=cases).select_related("slide"))
    for image in images:
        if image.expired_at is None:
            shutil.copyfile(local_original(image.sha256), folder / "originals" / f"image-{image.pk}.{image.ending}")
    of_cases = {"run__slide__case__in": cases}
    everything = {
        "patient": model_to_dict(patient),
        "records": [model_to_dict(one) for one in records],
        "merges": list(PatientMerge.objects.filter(ended__in=records).values()),
        "cases": [model_to_dict(case) for case in cases],
        "blood_counts": list(CbcResult.objects.filter(case__in=cases).values()),
        "images": [model_to_dict(image) for image in images],
        "runs": list(Run.objects.filter(slide__case__in=cases).values()),
        "cells": list(Cell.objects.filter(**of_cases).values()),
        "decisions": list(Decision.objects.filter(cell__in=Cell.objects.filter(**of_cases)).values()),
        "criticals": list(Critical.objects.filter(case__in=cases).values()),
        "critical_log": list(CriticalEntry.objects.filter(critical__case__in=cases).values()),
        "critical_exceptions": list(CriticalException.objects.filter(patient__in=records).values()),
        "delta_alarms": list(DeltaAlarm.objects.filter(case__in=cases).values()),
        "delta_log": list(DeltaEntry.objects.filter(alarm__case__in=cases).values()),
        "findings": list(Finding.objects.filter(case__in=cases).values()),
        "reports": list(Report.objects.filter(case__in=cases).values()),
        "events": list(
            Event.objects.filter(case_id__in=[case.pk for case in cases])
            .order_by("id")
            .values("at", "actor__username", "action", "object_type", "object_id", "text")
        ),
    }
    _write(folder / "patient.json", everything)
    record("patient.export", actor=by, obj=patient, laboratory=patient.laboratory, changes={"cases": len(cases)})
    return len(cases)


def export_case(case: Case, folder: Path, *, by: User | None = None) -> int:
    """Write a case without names: pixels as PNG, `case.json` with cells and differential; returns the number of images.

    Left out because they name a person or may: patient, accession number, dates, file names,
    comments, reasons, readers.
    Ages of 90 and more become 90.
    """
    make_empty(folder)
    numbers: dict[int, int] = {}
    for image in SlideImage.objects.filter(slide__case=case, expired_at=None):
        if write_pixels(image, folder / f"image-{len(numbers) + 1}.png"):
            numbers[image.pk] = len(numbers) + 1
    count, age = count_case(case), age_of(case)
    cells = [
        {
            "image": numbers.get(cell.image_id),
            "code": cell.code,
            "detector_code": cell.detector_code,
            "score": cell.score,
            "box_xyxy": cell.xyxy,
            "reviewed": bool(cell.decided_code),
        }
        for cell in current_cells(case)
    ]
    without_names = {
        "notice": "research use, not a medical device; nothing here names a person",
        "sex": case.patient.sex,
        "age_years": None if age is None else min(age.years, 90),
        "stain": case.stain,
        "cells": cells,
        "differential": count.differential.as_dict(),
        "flags": [flag.key for flag in count.flags],
    }
    _write(folder / "case.json", without_names)
    record("case.export", actor=by, obj=case, case=case, changes={"images": len(numbers)})
    return len(numbers)


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, cls=DjangoJSONEncoder, indent=1, ensure_ascii=False))
