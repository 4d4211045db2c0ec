"""Write cases and signed reports as FHIR R4 resources, as plain values; who may see them is decided by the views.

Nothing is computed here: figures come from what was signed, as for messages and paper.

References
----------
FHIR R4 (4.0.1): https://hl7.org/fhir/R4; links of records: its value sets link-type and identifier-use, kinds of
numbers: its value set identifier-type (HL7 table 0203).
LOINC as in docs/domain.md; units are UCUM.
"""

from datetime import datetime
from typing import Any

from leukoweb.cases.models import REJECTED, WITHDRAWN, Case, Patient
from leukoweb.review.counting.ages import is_bound
from leukoweb.review.counting.parts import ReferenceRange
from leukoweb.review.criticals.part import critical_codes
from leukoweb.review.models import Report
from leukoweb.review.reports.figures import (
    PANEL,
    AbsentFigure,
    Figure,
    Sent,
    SentFinding,
    absent_figures,
    earlier_versions,
    figures_of,
    sent_figures,
    sent_findings,
)
from leukoweb.review.reports.notes import notes_of
from leukoweb.review.reports.parts import Content

Resource = dict[str, Any]
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
PLACER, ACCESSION = "PLAC", "ACSN"
SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
CALLS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
AGES = {"d": ("days", "d"), "m": ("months", "mo"), "y": ("years", "a")}
GENDERS = {"F": "female", "M": "male"}
KINDS = ("Patient", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "Media")


def _filled(values: Resource) -> Resource:
    """Return the values that are there: FHIR allows no empty values."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _at(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _to(kind: str, key: object) -> Resource:
    return {"reference": f"{kind}/{key}"}


def _subject(case: Case) -> Resource:
    """The record that stands for the person."""
    return _to("Patient", case.patient.survivor_id or case.patient_id)


def _panel() -> Resource:
    return {"coding": [{"system": LOINC, "code": PANEL[0], "display": PANEL[1]}]}


def patient_of(patient: Patient) -> Resource:
    """Return the person; a record that was merged into another is not active and points to it (value set link-type)."""
    family, _, given = patient.name.partition(", ")
    links = [{"other": _to("Patient", patient.survivor_id), "type": "replaced-by"}] if patient.survivor_id else []
    merged = [] if links else list(patient.records.order_by("pk"))
    links += [{"other": _to("Patient", other.pk), "type": "replaces"} for other in merged]
    numbers: list[Resource] = [{"value": patient.mrn}, *({"use": "old", "value": other.mrn} for other in merged)]
    return _filled({
        "resourceType": "Patient", "id": str(patient.pk), "identifier": numbers, "link": links,
        "active": False if patient.survivor_id else None,
        "name": [_filled({"text": patient.name, "family": family, "given": given.split()})],
        "gender": GENDERS.get(patient.sex, "unknown"),
        "birthDate": patient.birth_date and patient.birth_date.isoformat(),
    })  # fmt: skip


def request_of(case: Case) -> Resource:
    """Return the order of a case."""
    numbers = [
        {"type": {"coding": [{"system": IDENTIFIER_TYPE, "code": kind}]}, "value": number}
        for kind, number in ((PLACER, case.placer_number), (ACCESSION, case.accession_number))
        if number
    ]
    is_done = case.state in ("signed", WITHDRAWN, "amending")
    return _filled({
        "resourceType": "ServiceRequest", "id": str(case.pk), "identifier": numbers,
        "status": "revoked" if case.state == REJECTED else "completed" if is_done else "active", "intent": "order",
        "priority": "stat" if case.priority == Case.Priority.STAT else "routine", "code": _panel(),
        "subject": _subject(case), "authoredOn": _at(case.ordered_at or case.registered_at),
        "requester": _filled({"display": case.requester}),
        "locationReference": [{"display": case.ward}] if case.ward else [], "specimen": [_to("Specimen", case.pk)],
        "note": [{"text": case.clinical_note}] if case.clinical_note else [],
    })  # fmt: skip


def specimen_of(case: Case) -> Resource:
    """Return the specimen of a case."""
    collected = {"collectedDateTime": _at(case.collected_at), "collector": _filled({"display": case.collector})}
    return _filled({
        "resourceType": "Specimen", "id": str(case.pk), "accessionIdentifier": {"value": case.accession_number},
        "status": "unsatisfactory" if case.state == REJECTED else "available",
        "type": _filled({"text": case.specimen_type}), "subject": _subject(case),
        "receivedTime": _at(case.received_at), "request": [_to("ServiceRequest", case.pk)],
        "collection": _filled(collected),
        "note": [{"text": case.rejection_reason}] if case.rejection_reason else [],
    })  # fmt: skip


def status_of(case: Case, report: Report | None) -> str:
    """Return the status of a case's report: nothing that the machine alone said is ever given out."""
    if case.state == REJECTED:
        return "cancelled"
    if report is None:
        return "registered"
    if hasattr(report, "withdrawal"):  # also while an amendment of it is open
        return "entered-in-error"
    return "corrected" if report.version > 1 else "final"


def report_of(case: Case, report: Report | None, *, pdf_url: str = "") -> Resource:
    """Return the report of a case: the signed version in force, or that there is none yet; `pdf_url` is its paper."""
    found = {
        "resourceType": "DiagnosticReport", "id": str(case.pk), "status": status_of(case, report),
        "basedOn": [_to("ServiceRequest", case.pk)], "category": [{"coding": [{"system": SECTION, "code": "HM"}]}],
        "code": _panel(), "subject": _subject(case), "effectiveDateTime": _at(case.collected_at),
        "specimen": [_to("Specimen", case.pk)],
    }  # fmt: skip
    if pdf_url and (report is not None or case.state == REJECTED):
        found["presentedForm"] = [{"contentType": "application/pdf", "url": pdf_url, "title": "Report"}]
    found["meta"] = _meta(case, report)
    if case.state == REJECTED:
        found["conclusion"] = f"Specimen rejected: {case.rejection_reason}"
    elif report is not None:
        signature = report.content["signature"]
        found |= {
            "identifier": [{"value": report.seal}], "issued": signature["signed_at"],
            "performer": [{"display": report.content["laboratory"]["name"]}],
            "resultsInterpreter": [{"display": signature["name"]}],
            "result": [_to("Observation", f"{case.pk}-panel")],
            "media": [{"link": _to("Media", key)} for key in report.content["pictures"]],
            "conclusion": "\n".join(
                text for text in map(report.content["report"].get, ("interpretation", "comment")) if text
            ),
        }  # fmt: skip
    return _filled(found)


def _meta(case: Case, report: Report | None) -> Resource:
    """Return the version of a report and when it became so, exactly: who asks for what is later finds it no more."""
    if case.state == REJECTED:
        return {"versionId": "rejected", "lastUpdated": case.rejected_at and case.rejected_at.isoformat()}
    if report is None or report.signed_at is None:
        return {}
    if (withdrawal := getattr(report, "withdrawal", None)) is not None:
        return {"versionId": f"{report.version}-withdrawn", "lastUpdated": withdrawal.withdrawn_at.isoformat()}
    return {"versionId": str(report.version), "lastUpdated": report.signed_at.isoformat()}


def observations_of(case: Case, report: Report) -> list[Resource]:
    """Return the panel and one observation for each figure of the signed version in force."""
    content, status = report.content, status_of(case, report)
    figures = _figures(case, figures_of(report), content, status)
    figures += [_absent(case, one, content, status) for one in absent_figures(report)]
    panel = _observation(case, "panel", content, status)
    panel |= {
        "code": _panel(), "hasMember": [_to("Observation", figure["id"]) for figure in figures],
        "note": [{"text": text} for text in notes_of(content)],
    }  # fmt: skip
    return [_filled(panel), *figures]


def observations_gone(case: Case, report: Report) -> list[Resource]:
    """Return the figures of earlier versions that this one does not have, as entered in error."""
    here = {one["id"] for one in observations_of(case, report)}
    found: dict[str, Resource] = {}
    for content in earlier_versions(report):
        for one in _figures(case, sent_figures(content), content, "entered-in-error"):
            if one["id"] not in here:
                found.setdefault(one["id"], one)
    return list(found.values())


def _figures(case: Case, figures: list[Figure], content: Content, status: str) -> list[Resource]:
    """Return one observation for each figure and finding of a version."""
    codes = critical_codes(content.get("criticals", []))
    found = [_figure(case, figure, content, status, codes.get(figure.key, "")) for figure in figures]
    return found + [_finding(case, finding, content, status) for finding in sent_findings(content)]


def _observation(case: Case, key: str, content: Content, status: str) -> Resource:
    return {
        "resourceType": "Observation", "id": f"{case.pk}-{key}", "status": status,
        "subject": _subject(case), "specimen": _to("Specimen", case.pk),
        "effectiveDateTime": _at(case.collected_at), "issued": content["signature"]["signed_at"],
        "performer": [{"display": content["signature"]["name"]}],
        "method": _filled({"text": content["specimen"]["stain"]}),
        "device": _filled({"display": _device(content)}),
    }  # fmt: skip


def _device(content: Content) -> str:
    """Name the detectors that read the slides."""
    return ", ".join(dict.fromkeys(f"{run['name']} {run['version']}".strip() for run in content["detectors"]))


def _figure(case: Case, figure: Figure, content: Content, status: str, critical: str) -> Resource:
    """A figure; `critical` is its code of HL7 table 0078 (the codes of ObservationInterpretation) or ""."""
    unit, words = figure.unit
    limits, call = figure.range, critical or {"high": "H", "low": "L"}.get(figure.call, "N")
    low, high = (limits["low"], limits["high"]) if limits else (None, None)
    return _filled(
        _observation(case, _key_of(figure), content, status)
        | {
            "code": _code_of(figure), "valueQuantity": _quantity(figure.value, unit, words),
            "interpretation": [{"coding": [{"system": CALLS, "code": call}]}] if limits or critical else [],
            "referenceRange": [_filled({"low": low is not None and _quantity(low, unit, words) or None,
                                        "high": high is not None and _quantity(high, unit, words) or None,
                                        "age": _ages(limits)})]
            if low is not None or high is not None else [],
            "component": [
                {"code": {"text": text}, "valueQuantity": _quantity(bound, unit, words)}
                for text, bound in _bounds(figure.interval)
            ],
        }
    )  # fmt: skip


def _key_of(figure: Sent) -> str:
    return figure.key.replace("#", "-absolute").replace("_", "-")


def _code_of(figure: Sent) -> Resource:
    """Return LOINC where there is a code, and the name."""
    coding = [{"system": LOINC, "code": figure.loinc}] if figure.loinc else []
    return _filled({"coding": coding, "text": figure.name})


def _absent(case: Case, figure: AbsentFigure, content: Content, status: str) -> Resource:
    """Return a figure that there is none of, and why."""
    why = {"coding": [{"system": ABSENT, "code": "not-performed"}], "text": figure.reason}
    own = _observation(case, _key_of(figure), content, status)
    return _filled(own | {"code": _code_of(figure), "dataAbsentReason": why})


def _bounds(interval: tuple[float | None, float] | None) -> list[tuple[str, float]]:
    """Name the bounds of an interval in words: no code that is at hand says what they are."""
    if interval is None:
        return []
    low, high = interval
    if low is None:
        return [("95% upper limit, none found", high)]
    return [("95% interval, lower bound", low), ("95% interval, upper bound", high)]


def _ages(limits: ReferenceRange | None) -> Resource:
    """Return the ages that a range is for: from its lower bound to under its upper one, such as 3d, 6m and 2y."""
    found = {}
    bounds = (("low", limits["age_from"]), ("high", limits["age_under"])) if limits else ()
    for end, bound in bounds:
        if isinstance(bound, str) and is_bound(bound):
            words, code = AGES[bound[-1]]
            found[end] = {"value": int(bound[:-1]), "unit": words, "system": UCUM, "code": code}
    return found


def _finding(case: Case, finding: SentFinding, content: Content, status: str) -> Resource:
    """A finding as text; a part of the film that nobody examined has no value and says why."""
    absent = {"coding": [{"system": ABSENT, "code": "not-performed"}], "text": finding.text}
    return _filled(
        _observation(case, f"film-{finding.key}".replace("_", "-"), content, status)
        | {
            "code": _code_of(finding),
            "valueString": finding.text if finding.is_examined else None,
            "dataAbsentReason": None if finding.is_examined else absent,
        }
    )


def _quantity(value: float, unit: str, words: str) -> Resource:
    return {"value": round(float(value), 3), "unit": words, "system": UCUM, "code": unit}


def media_of(case: Case, report: Report, key: int, jpeg: str) -> Resource:
    """Return the picture of a cell that the signer chose for the report; `jpeg` in Base64."""
    label = next((cell["code"] for cell in report.content["cells"] if cell["id"] == key), "")
    return _filled({
        "resourceType": "Media", "id": str(key), "status": "completed", "subject": _subject(case),
        "content": {"contentType": "image/jpeg", "data": jpeg, "title": f"Cell labelled {label}"},
    })  # fmt: skip


def bundle_of(resources: list[Resource], *, total: int, base: str, links: dict[str, str]) -> Resource:
    """Return one page of what a search found."""
    return _filled({
        "resourceType": "Bundle", "type": "searchset", "total": total,
        "link": [{"relation": relation, "url": url} for relation, url in links.items()],
        "entry": [{"fullUrl": f"{base}/{one['resourceType']}/{one['id']}", "resource": one,
                   "search": {"mode": "match"}} for one in resources],
    })  # fmt: skip
