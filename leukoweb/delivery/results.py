"""Write the result message of a signed, amended or rejected case from what was signed; it computes no figure.

References
----------
IHE Laboratory Testing Workflow, LAB-3: OBR-3, OBR-4, OBR-25 and OBX-1, OBX-3, OBX-11 are required; OBX-9, 10 and 12 are
never sent. LOINC: `review.counting.loinc`; the panel 24318-8 and the interpretation 33255-1 as in docs/domain.md.
The embedded PDF is of type ED as in https://wiki.hl7.de/index.php?title=V25dt:ED (type and subtype of MIME, Base64).
HL7 tables 0004, 0078, 0085, 0119, 0123 and 0203: https://terminology.hl7.org.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from leukoweb.cases.models import Case
from leukoweb.delivery.hl7 import escape, field, segment, stamp
from leukoweb.review.criticals.part import critical_codes
from leukoweb.review.models import Report, Withdrawal
from leukoweb.review.reports.figures import (
    PANEL,
    Figure,
    Sent,
    earlier_versions,
    figures_of,
    sent_figures,
    sent_findings,
)
from leukoweb.review.reports.notes import notes_of
from leukoweb.review.reports.parts import Content, PatientPart, SignaturePart, SpecimenPart

PDF = ("PDF", "Report as PDF", "99LW")
LINK = ("LINK", "Report on its page", "99LW")
COMMENT = ("33255-1", "Interpretation", "LN")
FINAL, CORRECTED, CANCELLED = "F", "C", "X"
CALLS = {"high": "H", "low": "L", "": "N"}  # table 0078


@dataclass(frozen=True)
class Observation:
    """A line of a message: OBX-2, OBX-3, our key (OBX-4 where several lines have one code), and its own fields."""

    kind: str
    code: tuple[str, ...]
    key: str
    fields: Mapping[int, str]


def result_message(
    report: Report,
    *,
    control_id: str,
    zone_time: datetime,
    authority: str = "",
    address: str = "",
    pdf: bytes | None = None,
) -> bytes:
    """Write ORU^R01 of a signed report: F at first, and every line again as C once it amends another version.

    What an earlier version had and this one has not is sent as 0, or as X without a value where it has no figure now.

    Parameters
    ----------
    report : Report
        Signed; only its frozen content is read.
    control_id : str
        MSH-10.
    zone_time : datetime
        Aware time of the message.
    authority : str
        Assigning authority of the medical record number.
    address : str
        Of the report's page, to be sent as a pointer; "" sends none.
    pdf : bytes, optional
        The report on paper, to be embedded as the last line.
    """
    content: Content = report.content
    case = report.case
    status = CORRECTED if report.version > 1 else FINAL
    lines = [
        *_head(case, content["patient"], control_id, zone_time, authority, status, content["signature"]),
        *(segment("NTE", {1: str(n), 3: field(text)}) for n, text in enumerate(notes_of(content), 1)),
    ]
    observations = _observations(content, figures_of(report))
    gone = _gone(report, observations)
    if address:
        observations.append(Observation("RP", LINK, "", {5: field(address, "LeukoWeb")}))
    if pdf is not None:
        data = field("LeukoWeb", "application", "pdf", "Base64", base64.b64encode(pdf).decode())
        observations.append(Observation("ED", PDF, "", {5: data}))
    shared, common = _shared(content), _signed(content, status)
    lines += [_obx(number, seen, common, shared) for number, seen in enumerate(observations, 1)]
    lines += [_taken_back(number, seen, shared) for number, seen in enumerate(gone, len(observations) + 1)]
    lines += _specimen(case, content["specimen"])
    return ("\r".join(lines) + "\r").encode()


def rejection_message(case: Case, *, control_id: str, zone_time: datetime, authority: str = "") -> bytes:
    """Write ORU^R01 that says that the specimen was rejected and why; it carries no figure."""
    person = case.patient.person
    born = person.birth_date
    patient: PatientPart = {
        "name": person.name, "mrn": person.mrn, "sex": person.sex,
        "birth_date": born.isoformat() if born else None, "other_mrns": person.other_mrns,
    }  # fmt: skip
    lines = [
        *_head(case, patient, control_id, zone_time, authority, CANCELLED, None),
        segment("NTE", {1: "1", 3: field(f"Specimen rejected: {case.rejection_reason}")}),
        segment("OBX", {1: "1", 2: "TX", 3: field(*PANEL), 5: field("Specimen rejected"), 11: CANCELLED}),
    ]
    return ("\r".join(lines) + "\r").encode()


def withdrawal_message(withdrawal: Withdrawal, *, control_id: str, zone_time: datetime, authority: str = "") -> bytes:
    """Write ORU^R01 that takes every line of a report back, without its value, and says why (S12)."""
    report = withdrawal.report
    content, case = report.content, report.case
    lines = [
        *_head(case, content["patient"], control_id, zone_time, authority, CANCELLED, content["signature"]),
        segment("NTE", {1: "1", 3: field(f"Report version {report.version} withdrawn: {withdrawal.reason}")}),
    ]
    observations, shared = _observations(content, figures_of(report)), _shared(content)
    lines += [_taken_back(number, seen, shared) for number, seen in enumerate(observations, 1)]
    return ("\r".join(lines) + "\r").encode()


def _gone(report: Report, now: list[Observation]) -> list[Observation]:
    """Return the lines of earlier versions that this one does not have: else the receiver would keep them."""
    shared = _shared(report.content)
    here = {_identity(seen, shared) for seen in now}
    found: dict[tuple[str, str], Observation] = {}
    for content in earlier_versions(report):
        for seen in _observations(content, sent_figures(content)):
            if (identity := _identity(seen, shared)) not in here:
                found.setdefault(identity, seen)
    return list(found.values())


def _shared(content: Content) -> set[str]:
    """Return the codes that more than one line may carry: those lines need a sub-id (OBX-4)."""
    codes = Counter(code for both in content["loinc"].values() for code in (both["percent"], both["absolute"]) if code)
    return {COMMENT[0], *(code for code, times in codes.items() if times > 1)}


def _identity(seen: Observation, shared: set[str]) -> tuple[str, str]:
    """Return what a receiver knows a line by: the first code of OBX-3, and OBX-4 where others have the same code."""
    return seen.code[0], seen.key if seen.code[0] in shared else ""


def _obx(number: int, seen: Observation, common: Mapping[int, str], shared: set[str]) -> str:
    sub_id = escape(_identity(seen, shared)[1])
    return segment("OBX", {1: str(number), 2: seen.kind, 3: field(*seen.code), 4: sub_id, **common, **seen.fields})


def _taken_back(number: int, seen: Observation, shared: set[str]) -> str:
    """Write a line without its value, which takes back what was sent under its code."""
    return _obx(number, replace(seen, fields={}), {11: CANCELLED}, shared)


def _specimen(case: Case, specimen: SpecimenPart) -> list[str]:
    """Say what was examined, in words: the codes of table 0487 are the sender's of the order."""
    kind = specimen.get("specimen_type")
    times = {17: case.collected_at, 18: case.received_at}
    stamps = {n: stamp(at) for n, at in times.items() if at}
    return [segment("SPM", {1: "1", 2: field("", case.accession_number), 4: field("", kind), **stamps})] if kind else []


def _head(
    case: Case,
    patient: PatientPart,
    control_id: str,
    at: datetime,
    authority: str,
    status: str,
    signature: SignaturePart | None,
) -> list[str]:
    family, _, given = patient["name"].partition(", ")
    numbers = [patient["mrn"], *patient.get("other_mrns", [])]
    filler = case.filler_number or case.accession_number
    obr = {
        1: "1", 2: field(case.placer_number), 3: field(filler), 4: field(*PANEL),
        7: stamp(case.collected_at) if case.collected_at else "", 14: stamp(case.received_at),
        16: field("", case.requester), 22: stamp(datetime.fromisoformat(signature["signed_at"]) if signature else at),
        25: status, 28: field("", case.copy_to),
        32: field(signature["username"], signature["name"]) if signature else "",
    }  # fmt: skip
    return [
        segment("MSH", {
            1: "^~\\&", 2: "LEUKOWEB", 3: field(case.laboratory.name), 6: stamp(at), 8: "ORU^R01^ORU_R01",
            9: escape(control_id), 10: "P", 11: "2.5.1", 17: "UNICODE UTF-8",
        }),
        segment("PID", {
            1: "1", 3: "~".join(field(mrn, "", "", authority, "MR") for mrn in numbers), 5: field(family, given),
            7: (patient["birth_date"] or "").replace("-", ""), 8: patient["sex"],
        }),
        segment("PV1", {1: "1", 2: "U", 3: field(case.ward)}),
        segment("ORC", {1: "RE", 2: field(case.placer_number), 3: field(filler)}),
        segment("OBR", obr),
    ]  # fmt: skip


def _observations(content: Content, figures: Iterable[Figure]) -> list[Observation]:
    """Return what a version says, line by line: its figures, its findings, and the signer's words."""
    report, codes = content["report"], critical_codes(content.get("criticals", []))
    texts = {"interpretation": report.get("interpretation", "").strip(), "comment": report["comment"].strip()}
    return [
        *(_of_figure(figure, codes.get(figure.key, "")) for figure in figures),
        *(Observation("ST", _code(one), one.key, {5: field(one.text)}) for one in sent_findings(content)),
        *(Observation("TX", COMMENT, key, {5: field(text)}) for key, text in texts.items() if text),
    ]


def _of_figure(figure: Figure, critical: str) -> Observation:
    low, high = (figure.range["low"], figure.range["high"]) if figure.range else (None, None)
    limits = f"{_number(low)}-{_number(high)}" if low is not None and high is not None else ""
    if not limits and (low is not None or high is not None):
        limits = f">={_number(low)}" if low is not None else f"<={_number(high)}"
    return Observation("NM", _code(figure), figure.key, {
        5: _number(figure.value), 6: field(*figure.unit, "UCUM"), 7: escape(limits),
        8: critical or (CALLS.get(figure.call, "") if figure.range else ""),
    })  # fmt: skip


def _signed(content: Content, status: str) -> dict[int, str]:
    """Return the fields that every line of a report has: when, by whom and how."""
    collected, signature = content["specimen"]["collected_at"], content["signature"]
    return {
        11: status, 14: stamp(datetime.fromisoformat(collected)) if collected else "",
        16: field(signature["username"], signature["name"]), 17: field("", content["specimen"]["stain"]),
        18: field(content["detectors"][0]["name"]) if content["detectors"] else "",
        19: stamp(datetime.fromisoformat(signature["signed_at"])),
    }  # fmt: skip


def _code(seen: Sent) -> tuple[str, ...]:
    """LOINC first where there is one, our own code beside it."""
    local = (seen.key, seen.name, "99LW")
    return (seen.loinc, seen.name, "LN", *local) if seen.loinc else local


def _number(value: float | None) -> str:
    """At most three decimals: a percentage keeps its rounding, an absolute count a thousandth of 10*3/uL."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
