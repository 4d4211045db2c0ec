"""Read an order, a change of a patient or a merge out of an HL7 message, as plain values.

It leaves to `services` whether the laboratory may act on them; nothing here touches the database.

References
----------
IHE Laboratory Testing Workflow, LAB-1: PV1-2, ORC-1, ORC-9, OBR-2, OBR-4 and OBR-16 are required of an order; what a
sender leaves out is taken from the order segments that it did fill where that is unambiguous.
HL7 tables 0001 (sex), 0119 (order control), 0200 (name type) and 0203 (identifier type): https://terminology.hl7.org,
code systems v2-0001, v2-0119, v2-0200 and v2-0203.
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
RECORD_NUMBERS = ("MR", "PI", "")  # before visits, social security and other numbers of a person
NAMES = ("L", "")  # the legal name, before a maiden name or an alias


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
    specimen_role: str
    codings: tuple[Coding, ...]
    person: PersonGiven
    requester: str
    ward: str
    copy_to: str
    specimen_type: str
    collector: str
    collected_at: datetime | None
    received_at: datetime | None
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
    return PersonGiven(mrn, name_of(pid, 5, repetition=name_in_use(pid, 5)), born, SEXES.get(sent.upper(), "U"), sent)


def number_of(segment: Segment, field: int, authority: str) -> str:
    """Return the medical record number of a field, by its type the likeliest of those of the authority; else ""."""
    places = [n for n in range(1, segment.repetitions(field) + 1) if segment.get(field, 1, n)]
    own = [n for n in places if not authority or segment.get(field, 4, n).casefold() == authority.casefold()]
    return clean_number(segment.get(field, 1, _likeliest(segment, field, 5, RECORD_NUMBERS, own))) if own else ""


def name_in_use(segment: Segment, field: int) -> int:
    """Return which repetition of a name field (XPN) is the person's name."""
    places = [n for n in range(1, segment.repetitions(field) + 1) if any(segment.get(field, c, n) for c in (1, 2))]
    return _likeliest(segment, field, 7, NAMES, places) if places else 1


def _likeliest(segment: Segment, field: int, component: int, types: tuple[str, ...], places: list[int]) -> int:
    """Return the first repetition of the first of these types; of none of them, the first."""
    found = {segment.get(field, component, n).upper(): n for n in reversed(places)}
    return next((found[one] for one in types if one in found), places[0])


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
    return [_order(one, person, zone, len(tests)) for group in groups for tests in [group.groups("OBR") or [group]]
            for one in tests]  # fmt: skip


def _order(group: Hl7, person: PersonGiven, zone: ZoneInfo, tests: int) -> OrderGiven:
    orc, obr, spm, pv1 = (group.first(name) for name in ("ORC", "OBR", "SPM", "PV1"))
    control = orc.get(1).upper()
    if control not in CONTROLS:
        sentence = f"The order control in ORC-1 is not supported: use {', '.join(CONTROLS)}."
        raise MessageRefused(sentence, code="103", location="ORC-1")
    first, other = (orc, obr) if tests == 1 else (obr, orc)  # each test of a shared ORC has numbers of its own
    placer, filler = first.get(2) or other.get(2), first.get(3) or other.get(3)
    if not placer and not filler:
        raise MessageRefused("The order has neither a placer nor a filler number.", code="101", location="ORC-2")
    codings = obr.codings(4)
    if not codings and control != CANCEL:
        raise MessageRefused("OBR-4 does not say what is ordered.", code="101", location="OBR-4")
    copies = [_clinician(obr, 28, n) for n in range(1, obr.repetitions(28) + 1)]
    place = [part for part in (pv1.get(3), pv1.get(3, 2), pv1.get(3, 3)) if part]
    return OrderGiven(
        control=control,
        placer_number=placer,
        filler_number=filler,
        specimen_number=spm.get(2),
        specimen_role=spm.get(11).upper(),
        codings=codings,
        person=person,
        requester=name_of(obr, 16, first=2) or name_of(orc, 12, first=2) or obr.get(16) or orc.get(12),
        ward=" ".join(place) or pv1.get(3, 9) or pv1.get(3, 4),
        copy_to="; ".join(copy for copy in copies if copy),
        specimen_type="; ".join(spm.words(4)) or obr.get(15),
        collector=name_of(obr, 10, first=2),
        collected_at=moment(spm.get(17) or obr.get(7), zone=zone, location="SPM-17" if spm.get(17) else "OBR-7"),
        received_at=moment(spm.get(18), zone=zone, location="SPM-18"),
        ordered_at=moment(orc.get(9), zone=zone, location="ORC-9"),
        is_stat=_is_stat(group),
        note="\n".join(_notes(group)),
        emptied=frozenset(name for name, (of, field) in EMPTIED.items() if group.first(of).is_emptied(field)),
    )


def _clinician(segment: Segment, field: int, repetition: int) -> str:
    """Return the name of a clinician (XCN), or the number where a sender gives nothing else."""
    return name_of(segment, field, first=2, repetition=repetition) or segment.get(field, 1, repetition)


def _notes(group: Hl7) -> list[str]:
    """Return what the order says in words: clinical information, reason, notes, and what is wrong with the specimen."""
    obr, spm = group.first("OBR"), group.first("SPM")
    said = [obr.get(13, 2)] if obr.get(13, 2) else obr.texts(13)
    said += obr.words(31) + [text for note in group.all("NTE") for text in note.texts(3)]
    said += [f"Specimen rejected: {reason}" for reason in spm.words(21)]
    return said + [f"Specimen condition: {condition}" for condition in spm.words(24)]


def _is_stat(group: Hl7) -> bool | None:
    places = [("ORC", 7, 6), ("OBR", 27, 6)]
    values = [group.first(name).get(at, part, n) for name, at, part in places
              for n in range(1, group.first(name).repetitions(at) + 1)]  # fmt: skip
    values += [timing.get(9) for timing in group.all("TQ1")]
    is_stat = any(value.upper() in STAT for value in [*values, group.first("OBR").get(5)])
    return is_stat if is_stat or any(values) else None
