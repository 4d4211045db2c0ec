"""The content of a report, part by part, as it is sealed: JSON values that page, PDF, CSV, API and messages read.

The keys of these types are what a signature covers, so none is renamed or taken away; what a report of an earlier
version does not have is NotRequired. How a part is read from the case is left to content.py.
"""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from django.utils import timezone

from leukoweb.analysis.detectors import ComputedOn
from leukoweb.cases.cbc import CbcValuePart
from leukoweb.review.counting.parts import CodesPart, DifferentialPart, PreviousPart
from leukoweb.review.findings.parts import GroupPart


def sealed_time(at: datetime) -> str:
    """Return a time as contents hold it: to the second, in the active zone (of a report: that of its laboratory)."""
    return timezone.localtime(at).isoformat(timespec="seconds")


def is_same(one: object, other: object) -> bool:
    """Say whether two values of contents say the same; a moment may be written in two zones, or to the microsecond."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    return one == other or (isinstance(one, str) and isinstance(other, str) and _is_same_moment(one, other))


def _is_same_moment(one: str, other: str) -> bool:
    try:
        moments = [datetime.fromisoformat(text).replace(microsecond=0) for text in (one, other)]
    except ValueError:
        return False
    return all(moment.tzinfo for moment in moments) and moments[0] == moments[1]


class Product(TypedDict):
    """What made the report."""

    name: str
    version: str
    is_research_use: bool


class LaboratoryPart(TypedDict):
    """Who answers for the report."""

    name: str
    address: str
    telephone: NotRequired[str]  # since version 1.4
    director: NotRequired[str]
    logo: NotRequired[dict[str, str]]  # hash and words, where there is one (accounts/logos.py)


class AgePart(TypedDict):
    """The age at collection, in numbers and as it is printed."""

    days: int
    months: int
    years: int
    text: str


class PatientPart(TypedDict):
    """The person."""

    name: str
    mrn: str
    sex: str
    birth_date: str | None
    age: NotRequired[AgePart | None]  # since version 1.3
    age_years: NotRequired[float | None]  # before
    other_mrns: NotRequired[list[str]]  # of records that were merged into this one


class WbcPart(TypedDict):
    """The analyser's white cell count."""

    value: float
    unit: str
    source: str
    at: str


class SpecimenPart(TypedDict):
    """The specimen and who registered it (S8)."""

    accession_number: str
    priority: str
    stain: str
    collected_at: str | None
    received_at: str | None
    registered_at: str | None
    registered_by: str
    clinical_note: str
    requester: NotRequired[str]
    ward: NotRequired[str]
    copy_to: NotRequired[str]
    specimen_type: NotRequired[str]
    collector: NotRequired[str]
    is_demonstration: NotRequired[bool]  # since version 1.3
    wbc: WbcPart | None


class CbcPart(TypedDict):
    """The blood count of an analyser; each value with its name."""

    run: str
    analyser: str
    measured_at: str | None
    received_at: str | None
    is_final: bool
    values: list[CbcValuePart]
    remarks: list[str]
    warnings: list[str]
    runs: NotRequired[int]  # how many came, where it stands in a report


class ReportPart(TypedDict):
    """The signer's own words and choices."""

    id: int
    version: int
    interpretation: NotRequired[str]  # since version 1.4
    comment: str
    lya_meaning: str
    smudge_as_lymphocytes: NotRequired[bool]
    smudge_reason: NotRequired[str]
    amends_version: int | None
    amends_seal: str
    amendment_reason: str
    left_shift_comment: str


class ReceiptPart(TypedDict):
    """Who saw a flag, and when; nobody: "" and None."""

    by: str
    at: str | None


def receipt_part(entry: Any) -> ReceiptPart:
    """Return who made an entry of a log (of a critical result, of an alarm) and when; empty where there is none."""
    return {"by": entry.by.printed_name if entry and entry.by else "", "at": sealed_time(entry.at) if entry else None}


class FlagPart(TypedDict):
    """A flag with its receipts."""

    key: str
    title: str
    sentence: str
    urgency: str
    codes: list[str]
    is_machine_only: NotRequired[bool]
    bench_receipt: NotRequired[ReceiptPart]
    acknowledged_by: str
    acknowledged_at: str | None


class CallPart(TypedDict):
    """One attempt to tell somebody a critical result."""

    to: str
    role: str
    how: str
    reached: bool
    read_back: bool
    at: str | None
    minutes: int
    by: str


class ExceptionPart(TypedDict):
    """The exception of a patient that covers a critical result: nobody had to be told until that day."""

    number: int
    until: str
    reason: str
    by: str


class CriticalPart(TypedDict):
    """A critical result with the value as it was detected, who saw it, who was told, and how it ended.

    `code` is the one of HL7 table 0078; `figure` is the key of the figure that carries it in a message, "" for none.
    """

    title: str
    sentence: str
    limit: str
    source: str
    code: str
    figure: str
    codes: list[str]
    policy_version: int
    detected_at: str | None
    bench_receipt: ReceiptPart
    pathologist_receipt: ReceiptPart
    calls: list[CallPart]
    closed: ReceiptPart
    reason: str
    no_longer: str
    exception: NotRequired[ExceptionPart]


class DeltaFact(TypedDict):
    """A change as it was when it was found; `change` is in the unit and has its sign."""

    name: str
    unit: str
    now: str
    before: str
    change: float
    before_accession: str
    before_at: str
    limit: float
    measure: str
    span: str
    source: str


class DeltaPart(TypedDict):
    """A change against an earlier result that raised an alarm, and the answer."""

    title: str
    is_mix_up: bool
    fact: DeltaFact
    policy_version: int
    raised_at: str | None
    escalated: ReceiptPart
    escalation: str
    dismissed: ReceiptPart
    reason: str


class SuggestionPart(TypedDict):
    """A phrase that a rule proposed, and the answer: "accepted", "edited", "refused", "" for none.

    `proposed` is the phrase that was answered, `now` the one that is proposed at present, `text` what was taken up.
    """

    key: str
    title: str
    proposed: str
    now: str
    because: str
    source: str
    policy_version: int
    answer: str
    text: str
    by: str
    at: str | None


class PoliciesPart(TypedDict):
    """The laboratory's rules that shaped the figures."""

    version: int
    rules: dict[str, Any]  # of the version that signed: `rules_from` reads them
    sentences: list[str]


class DetectorPart(TypedDict):
    """What read a slide."""

    slide: int
    name: str
    version: str
    sha256: str
    computed_on: ComputedOn
    finished_at: str | None


class ImagePart(TypedDict):
    """An image that was counted."""

    id: int
    slide: int
    slide_label: str
    is_drawn: bool
    uploaded_by: str
    uploaded_at: str | None
    name: str
    sha256: str
    width_px: int
    height_px: int
    um_per_px: float | None
    scale_method: str
    warning: str


class SetAsidePart(TypedDict):
    """A slide that was left out of the count."""

    slide_label: str
    reason: str
    by: str
    at: str | None


# "from" is no name of a class body.
DecisionPart = TypedDict(
    "DecisionPart", {"id": int, "from": str, "to": str, "reason": str, "by": str, "at": str | None}
)


class CellPart(TypedDict):
    """A counted cell with every decision on it, first to last."""

    id: int
    image: int
    box_xyxy_px: list[float]
    detector_code: str
    score: float | None
    code: str
    decisions: list[DecisionPart]


class Verification(TypedDict):
    """Counted cells, those that a person verified, how many the laboratory's policy asks for, and who verified."""

    counted: int
    verified: int
    needed: int
    by: list[str]


class HandOverPart(TypedDict):
    """Who gave the case to the pathologists, and when."""

    by: str
    at: str | None


class ReadingPart(TypedDict):
    """One blinded reading of a reference count."""

    cell: int
    by: str
    is_second_look: bool
    code: str
    at: str
    settled_code: str
    settled_by: str


class ReferencePart(TypedDict):
    """A finished reference count of two readers (C1)."""

    readers: list[str]
    differential: DifferentialPart
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    read_twice: int
    disagreements: int
    open: int
    readings: list[ReadingPart]


class Change(TypedDict):
    """One thing that differs, with the value of the signed version and the new one."""

    what: str
    before: str
    now: str


class AmendmentPart(TypedDict):
    """What the version before said, who signed it, and what changed (S9, S13)."""

    version: int
    signed_by: str
    signed_at: str
    meaning: str
    seal: str
    reason: str
    changes: list[Change]


class SignaturePart(TypedDict):
    """The signature as it is printed (S1)."""

    name: str
    username: str
    role: str
    meaning: str
    signed_at: str
    reset: NotRequired[str]


class Content(TypedDict):
    """Everything that a signature covers."""

    product: Product
    laboratory: LaboratoryPart
    patient: PatientPart
    specimen: SpecimenPart
    report: ReportPart
    counts: dict[str, int]
    differential: DifferentialPart
    loinc: dict[str, CodesPart]
    flags: list[FlagPart]
    previous: NotRequired[PreviousPart | None]
    limits: list[str]
    policies: PoliciesPart
    detectors: list[DetectorPart]
    images: list[ImagePart]
    set_aside: NotRequired[list[SetAsidePart]]
    cells: list[CellPart]
    verification: NotRequired[Verification]
    pictures: list[int]
    hand_over: HandOverPart | None
    reference: ReferencePart | None
    amendment: NotRequired[AmendmentPart | None]
    language: NotRequired[str]  # what the report is printed in, where that is not English
    attributions: NotRequired[list[str]]  # where pictures are not the laboratory's own
    criticals: NotRequired[list[CriticalPart]]  # where a value was critical
    deltas: NotRequired[list[DeltaPart]]  # where a change against an earlier result raised an alarm
    suggestions: NotRequired[list[SuggestionPart]]  # where a rule proposed a phrase
    cbc: NotRequired[CbcPart]  # where an analyser sent one
    findings: NotRequired[list[GroupPart]]  # since version 1.4
    signature: NotRequired[SignaturePart]  # once it is signed
