"""Read the records of an analyser's message (LIS2-A2: H, P, O, R, C, L) as results; frames are left to `astm_link`.

Notes
-----
The standard counts R-13 as the time of a result and H-12 as the processing id; the public messages of
DIGI-UW/OpenELIS-Global-2 put the time into R-10 and a version into H-12. The time is taken from the first of R-13, R-12
and R-10 that holds one, else from H-14 or H-13; a processing id of T, D or Q is refused, any other text is not read.

Analysers of Sysmex (XP, XS, XN) leave O-3 empty and put rack^position^number^attribute into O-4, padded with blanks, or
the same into O-3 when they answer an inquiry; the attribute is M, A, B or C. Their R-3 is ^^^^parameter^dilution, a
suspicion has no value and the call A, and older ones leave the status R-9 to O-26: as in the messages of
DIGI-UW/openelisglobal-plugins (SysmexXNLAnalyzer). A value that its screen marks with * has the call W, and the status
N is final there. Statuses that LIS2-A2 has otherwise than HL7 are V, verified by the operator, W, of questionable
validity, and Q, an answer to an inquiry. A record Q below results names the control that they are of, so in OpenELIS.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from leukoweb.delivery.hl7 import Coding, MessageRefused, moment, refuse_controls, unescape
from leukoweb.delivery.results_in import Observation, ResultGiven, one_for_each_specimen

KINDS = "HPOCRLQMS"
TEST_MESSAGES = {"T", "D", "Q"}
CONTROL = "Q"  # action code O-12: "treat specimen as a Q/C test specimen"
UNRELIABLE = "W"
STATUSES = {"N": "F", "V": "F", "W": "F", "Q": "P"}  # in those of HL7
ATTRIBUTES = {"M", "A", "B", "C"}  # how the number was read: by hand, counted on, barcode, host


@dataclass(frozen=True)
class Record:
    """One record; fields are counted as the standard counts them, so that field 1 is the record's letter."""

    fields: tuple[str, ...]
    separators: str  # field, repetition, component, escape

    @property
    def kind(self) -> str:
        """The record's letter."""
        return self.fields[0].upper()

    def whole(self, field: int) -> str:
        """Return a field as it stands, components and all: a unit such as 10^3/uL is no composite."""
        raw = self.fields[field - 1] if field <= len(self.fields) else ""
        field_sign, repeat, component, escape = tuple(self.separators)
        return unescape(raw, f"{field_sign}{component}{repeat}{escape}\x00").strip()

    def get(self, field: int, component: int = 1) -> str:
        """Return one component of the first repetition; "" where there is none."""
        raw = self.fields[field - 1] if field <= len(self.fields) else ""
        field_sign, repeat, sign, escape = tuple(self.separators)
        parts = raw.split(repeat)[0].split(sign)
        text = parts[component - 1] if component <= len(parts) else ""
        return unescape(text, f"{field_sign}{sign}{repeat}{escape}\x00").strip()


def read_records(raw: bytes, *, charset: str) -> list[Record]:
    """Read a message from H to L.

    Raises
    ------
    MessageRefused
        When it does not begin with H or has two, its separators are not four, a record is unknown, or L is missing.
    """
    text = _decoded(raw, charset)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    if not lines or not lines[0].startswith("H") or len(lines[0]) < 5:
        raise MessageRefused("The message does not begin with a header record (H).", code="100", location="H")
    separators = lines[0][1:5]
    if len(set(separators)) != 4 or any(c.isalnum() or c.isspace() for c in separators):
        raise MessageRefused("The header must name four different separators.", code="102", location="H-2")
    records = [Record(tuple(line.split(separators[0])), separators) for line in lines]
    for record in records:
        if len(record.kind) != 1 or record.kind not in KINDS:
            raise MessageRefused("A line of the message is no record of LIS2-A2.", code="100")
    if sum(record.kind == "H" for record in records) > 1:
        raise MessageRefused("One message has one header record (H): this holds more.", code="100", location="H")
    if records[-1].kind != "L":
        raise MessageRefused("The message has no terminator record (L): it was cut.", code="100", location="L")
    return records


def _decoded(raw: bytes, charset: str) -> str:
    try:
        text = raw.decode(charset)
    except UnicodeDecodeError:
        raise MessageRefused(
            f"The bytes are not of the character set {charset}: correct the interface.", code="102"
        ) from None
    refuse_controls(text, "message")
    return text


def read_astm_results(raw: bytes, *, charset: str, zone: ZoneInfo) -> list[ResultGiven]:
    """Read a message's results: one entry for each order record (O) that has any; control material is left out.

    Raises
    ------
    MessageRefused
        When the records are no message, a result stands before an order, or no patient has a result.
    """
    records = read_records(raw, charset=charset)
    header = records[0]
    if header.get(12).upper() in TEST_MESSAGES:
        raise MessageRefused("Only messages of production (H-12) are taken.", code="202", location="H-12")
    found: list[ResultGiven] = []
    patient: Record | None = None
    waiting = list(records)
    while waiting:
        record = waiting.pop(0)
        if record.kind == "P":
            patient = record
        elif record.kind == "R":
            raise MessageRefused("A result (R) stands before any order record (O).", code="100", location="R")
        elif record.kind == "O":
            below: list[Record] = []
            while waiting and waiting[0].kind in "RCMQS":
                below.append(waiting.pop(0))
            kinds = {one.kind for one in below}
            if "R" in kinds and CONTROL not in kinds and CONTROL not in record.whole(12).upper():
                found.append(_result(header, patient, record, below, zone))
    if not found:
        raise MessageRefused("The message holds no result of a patient's specimen.", code="100", location="R")
    return one_for_each_specimen(found)


def _result(
    header: Record, patient: Record | None, order: Record, below: Sequence[Record], zone: ZoneInfo
) -> ResultGiven:
    number = _number_of(order)
    if not number:
        raise MessageRefused("The order record names no specimen.", code="101", location="O-3")
    results = [record for record in below if record.kind == "R"]
    observations = tuple(_observation(record, order.get(26).upper()) for record in results)
    times = [record.get(place) for record in results for place in (13, 12, 10)] + [header.get(14), header.get(13)]
    born = _time(patient.get(8), zone) if patient else None
    return ResultGiven(
        numbers=(number,),
        analyser=" ".join(part for part in (header.get(5), header.get(5, 2)) if part)[:100] or "analyser",
        measured_at=next((at for text in times if (at := _time(text, zone))), None),
        observations=observations,
        family_name=patient.get(6) if patient else "",
        birth_date=born.date() if born else None,
        remarks=tuple(text for record in below if record.kind == "C" and (text := _words(record.whole(4)))),
    )


def _number_of(order: Record) -> str:
    """The number of the specimen: a rack's number, which may come before it, is another specimen's."""
    for field in (3, 4):
        if order.get(field, 4) in ATTRIBUTES and (number := order.get(field, 3)):
            return number
    return order.get(3) or order.get(4)


def _observation(record: Record, status: str) -> Observation:
    said = record.get(9).upper() or status
    code, name = record.get(3, 4) or record.get(3), record.get(3, 5)
    if not code:  # the manufacturer's own code comes fifth, before its dilution
        code, name = name, ""
    if not code:
        raise MessageRefused("A result has no code.", code="101", location="R-3")
    return Observation(
        (Coding(code, name),), record.whole(4), record.whole(5), record.get(6), record.get(7),
        STATUSES.get(said, said), ("R-4", "R-5", "R-9"), is_doubtful=UNRELIABLE in (said, *record.whole(7).upper()),
    )  # fmt: skip


def _time(text: str, zone: ZoneInfo) -> datetime | None:
    """A time, or None: a field that holds something else is passed over (see the notes)."""
    try:
        return moment(text, zone=zone, location="R-13") if len(text) >= 8 else None
    except MessageRefused:
        return None


def _words(text: str) -> str:
    return " ".join(text.replace("^", " ").split())
