"""Read an order, a change of a patient or a merge out of an HL7 message, as plain values.

It leaves to `services` whether the laboratory may act on them; nothing here touches the database.

References
----------
IHE Laboratory Testing Workflow, LAB-1: PV1-2, ORC-1, ORC-9, OBR-2, OBR-4 and OBR-16 are required of an order; what a
sender leaves out is taken from the order segments that it did fill where that is unambiguous.
HL7 tables 0001 (sex) and 0119 (order control): https://terminology.hl7.org, code systems v2-0001 and v2-0119.
"""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from leukoweb.cases.identity import clean_number
from leukoweb.delivery.hl7 import Coding, Hl7, MessageRefused, Segment, day_of_birth, moment

NEW, CANCEL, CHANGE, REPLACE = "NW", "CA", "XO", "RP"
CONTROLS = (NEW, CANCEL, CHANGE, REPLACE)
ORDER_MESSAGES = ("OML^O21", "ORM^O01")
SEXES = {"F": "F", "M": "M"}  # every other value of table 0001 is kept as "unknown", its original beside it
# Where a sender empties what an order said before.
EMPTIED = {
    "ward": ("PV1", 3), "requester": ("OBR", 16), "copy_to": ("OBR", 28), "specimen_type": ("SPM", 4),
    "collector": ("OBR", 10), "collected_at": ("OBR", 7), "clinical_note": ("NTE", 3),
}  # fmt: skip
STAT = {"S", "STAT", "A", "ASAP"}  # TQ1-9 and OBR-27.6: stat and as soon as possible overtake routine


@dataclass(frozen=True)
class PersonGiven:
    """What a message says of a patient; "" and None where it says nothing."""

    mrn: str
    name: str
    birth_date: date | None
    sex: str
    sex_sent: str


@dataclass(frozen=True)
class OrderGiven:
    """One order of a message; `is_stat` is None where it says nothing, `emptied` names what it deletes."""

    control: str
    placer_number: str
    filler_number: str
    specimen_number: str
    codings: tuple[Coding, ...]
    person: PersonGiven
    requester: str
    ward: str
    copy_to: str
    specimen_type: str
    collector: str
    collected_at: datetime | None
    ordered_at: datetime | None
    is_stat: bool | None
    note: str
    emptied: frozenset[str]


def read_person(message: Hl7, *, authority: str, zone: ZoneInfo) -> PersonGiven:
    """Read PID.

    Parameters
    ----------
    authority : str
        Assigning authority (PID-3.4) whose repetition is the medical record number; "" takes the first one.

    Raises
    ------
    MessageRefused
        When there is no PID or more than one, or no number of this authority.
    """
    if not message.all("PID"):
        raise MessageRefused("The message has no PID segment.", code="100", location="PID")
    if len(message.all("PID")) > 1:
        raise MessageRefused("The message names more than one patient: send one of each.", code="100", location="PID")
    pid = message.first("PID")
    mrn = number_of(pid, 3, authority)
    if not mrn:
        whose = f" of the assigning authority {authority}" if authority else ""
        raise MessageRefused(f"PID-3 has no patient number{whose}.", code="101", location="PID-3")
    sent = pid.get(8)
    born = day_of_birth(pid.get(7), zone=zone)
    return PersonGiven(mrn, name_of(pid, 5), born, SEXES.get(sent.upper(), "U"), sent)


def number_of(segment: Segment, field: int, authority: str) -> str:
    """Return the medical record number of a field: the first one, or the first of the assigning authority; else ""."""
    repetitions = range(1, segment.repetitions(field) + 1)
    if not authority:
        return clean_number(next((number for n in repetitions if (number := segment.get(field, 1, n))), ""))
    own = (segment.get(field, 1, n) for n in repetitions if segment.get(field, 4, n).casefold() == authority.casefold())
    return clean_number(next(own, ""))


def name_of(segment: Segment, field: int, *, first: int = 1, repetition: int = 1) -> str:
    """Return "Family, Given Middle" of a name field; `first` is the component of the family name."""
    family, given, middle = (segment.get(field, first + n, repetition) for n in range(3))
    return ", ".join(part for part in (family, " ".join(p for p in (given, middle) if p)) if part)


def read_orders(message: Hl7, *, authority: str, zone: ZoneInfo) -> list[OrderGiven]:
    """Read every order of a message: one for each OBR below an ORC, and one for an ORC without any.

    Raises
    ------
    MessageRefused
        When a segment or field that an order needs is missing, or a time is none.
    """
    person = read_person(message, authority=authority, zone=zone)
    groups = message.groups("ORC")
    if not groups:
        raise MessageRefused("The order has no ORC segment.", code="100", location="ORC")
    return [_order(one, person, zone) for group in groups for one in group.groups("OBR") or [group]]


def _order(group: Hl7, person: PersonGiven, zone: ZoneInfo) -> OrderGiven:
    orc, obr, spm, pv1 = (group.first(name) for name in ("ORC", "OBR", "SPM", "PV1"))
    control = orc.get(1).upper()
    if control not in CONTROLS:
        sentence = f"The order control in ORC-1 is not supported: use {', '.join(CONTROLS)}."
        raise MessageRefused(sentence, code="103", location="ORC-1")
    placer, filler = orc.get(2) or obr.get(2), orc.get(3) or obr.get(3)
    if not placer and not filler:
        raise MessageRefused("The order has neither a placer nor a filler number.", code="101", location="ORC-2")
    codings = obr.codings(4)
    if not codings and control != CANCEL:
        raise MessageRefused("OBR-4 does not say what is ordered.", code="101", location="OBR-4")
    copies = [name_of(obr, 28, first=2, repetition=n) for n in range(1, obr.repetitions(28) + 1)]
    return OrderGiven(
        control=control,
        placer_number=placer,
        filler_number=filler,
        specimen_number=spm.get(2),
        codings=codings,
        person=person,
        requester=name_of(obr, 16, first=2) or name_of(orc, 12, first=2),
        ward=" ".join(part for part in (pv1.get(3), pv1.get(3, 2), pv1.get(3, 3)) if part),
        copy_to="; ".join(copy for copy in copies if copy),
        specimen_type=spm.get(4, 2) or spm.get(4) or obr.get(15),
        collector=name_of(obr, 10, first=2),
        collected_at=moment(spm.get(17) or obr.get(7), zone=zone, location="SPM-17" if spm.get(17) else "OBR-7"),
        ordered_at=moment(orc.get(9), zone=zone, location="ORC-9"),
        is_stat=_is_stat(group),
        note="\n".join(text for note in group.all("NTE") if (text := note.get(3))),
        emptied=frozenset(name for name, (of, field) in EMPTIED.items() if group.first(of).is_emptied(field)),
    )


def _is_stat(group: Hl7) -> bool | None:
    values = (group.first("TQ1").get(9), group.first("OBR").get(27, 6), group.first("ORC").get(7, 6))
    return any(value.upper() in STAT for value in values) if any(values) else None
