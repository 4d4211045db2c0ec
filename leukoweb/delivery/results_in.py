"""Read the blood counts of analysers out of HL7 results, ASTM records and CSV, as plain values; it touches no database.

References
----------
HL7 tables 0078 (abnormal flags) and 0085 (observation result status): https://terminology.hl7.org, code systems v2-0078
and v2-0085. Table 0369 (specimen role): https://hl7.org/fhir/R4/v2/0369.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from leukoweb.cases.cbc import PARAMETERS, CbcValue, value_of
from leukoweb.delivery.hl7 import Coding, Hl7, MessageRefused, Segment, day_of_birth, moment, refuse_controls
from leukoweb.delivery.orders import name_in_use
from leukoweb.refusals import Refused

RESULT_MESSAGES = ("ORU^R01", "OUL^R22")
FLAG, IGNORE = "flag", "ignore"
FINAL, PRELIMINARY = {"F", "C", "A", "B"}, {"P", "R", "S", "I"}
WITHOUT_VALUE = {"X", "D", "N", "O", "U", "W"}  # not obtained, deleted, not asked, withdrawn
ABSENT = {"", "0", "F", "N", "NEG", "NEGATIVE", "FALSE", "NO"}
PRESENT = {"1", "T", "A", "Y", "POS", "POSITIVE", "TRUE", "YES"}
ABNORMAL = "A"  # table 0078; so Sysmex sends a suspicion that has no value of its own
OF_PATIENTS = {"", "P"}  # SPM-11, table 0369: all others are controls, calibrators, proficiency tests or pools
PICTURES = {"ED", "RP"}  # histograms and scattergrams: not kept
POWER = re.compile(r"[x×]?\s*10\^\d")  # written with the component separator: the field as it came is the unit
COLUMNS = ("specimen", "code", "value", "unit", "range", "flag", "status", "measured_at", "analyser")
MOST_ROWS = 5_000


@dataclass(frozen=True)
class Observation:
    """One line of a result as it was sent; `place` names where its value, unit and status stand."""

    codings: tuple[Coding, ...]
    value: str
    unit: str
    limits: str
    call: str
    status: str
    place: tuple[str, str, str]
    is_doubtful: bool = False


@dataclass(frozen=True)
class ResultGiven:
    """What a message says of one specimen: its numbers, best first, the person if named, and its observations."""

    numbers: tuple[str, ...]
    analyser: str
    measured_at: datetime | None
    observations: tuple[Observation, ...]
    family_name: str = ""
    birth_date: date | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sorted:
    """Observations by whether the interface maps their codes."""

    values: tuple[CbcValue, ...] = ()
    remarks: tuple[str, ...] = ()
    is_final: bool = False
    unknown: Mapping[str, str] = field(default_factory=dict)


def read_hl7_results(message: Hl7, *, zone: ZoneInfo) -> list[ResultGiven]:
    """Read ORU^R01 or OUL^R22: one entry a specimen, however many OBR it has; control material is left out.

    Raises
    ------
    MessageRefused
        When the message is of another type, names no specimen or holds no result.
    """
    if message.kind not in RESULT_MESSAGES:
        raise MessageRefused(
            "This interface takes blood counts: ORU^R01 or OUL^R22.", code="200", location="MSH-9", ack="AR"
        )
    leader = "SPM" if message.kind == "OUL^R22" else "OBR"
    for patient in message.groups("PID") or [message]:
        names = [segment.name for segment in patient.segments]
        if "OBX" in names and leader in names and names.index("OBX") < names.index(leader):
            raise MessageRefused(f"A result (OBX) stands before any {leader}.", code="100", location="OBX")
    groups = [group for patient in message.groups("PID") or [message] for group in patient.groups(leader)]
    found: list[ResultGiven] = []
    for group in groups:
        spm, obr = group.first("SPM"), group.first("OBR")
        if spm.get(11).upper() not in OF_PATIENTS or not group.all("OBX"):
            continue
        numbers = tuple(dict.fromkeys(n for n in (spm.get(2), spm.get(2, 2), obr.get(3), obr.get(2)) if n))
        if not numbers:
            raise MessageRefused("The result names no specimen.", code="101", location="OBR-3")
        found.append(_of_group(group, numbers, zone))
    if not found:
        raise MessageRefused("The message holds no result of a patient's specimen.", code="100", location="OBX")
    return one_for_each_specimen(found)


def one_for_each_specimen(parts: Iterable[ResultGiven]) -> list[ResultGiven]:
    """Join what a message says of one specimen of one person under several orders: it is one run."""
    found: dict[tuple, ResultGiven] = {}
    for part in parts:
        key = part.numbers[0], part.family_name, part.birth_date
        if (earlier := found.get(key)) is not None:
            part = replace(
                earlier, observations=earlier.observations + part.observations, remarks=earlier.remarks + part.remarks
            )
        found[key] = part
    return list(found.values())


def _of_group(group: Hl7, numbers: tuple[str, ...], zone: ZoneInfo) -> ResultGiven:
    header, pid, obr = group.header, group.first("PID"), group.first("OBR")
    observations = []
    for obx in group.all("OBX"):
        kind = obx.get(2)
        if kind in PICTURES:
            continue
        codings = obx.codings(3)
        if not codings:
            raise MessageRefused("A result has no code.", code="101", location="OBX-3")
        # Repeated numbers are none (they stand side by side, and are refused); repeated suspicions all count.
        value = ", ".join(text for n in range(1, obx.repetitions(5) + 1) if (text := _text_of(obx, kind, n)))
        unit = obx.fields[6].strip() if len(obx.fields) > 6 else ""
        if not POWER.match(unit):
            unit = obx.get(6)
        observations.append(
            Observation(codings, value, unit, obx.get(7), obx.get(8), (obx.get(11) or obr.get(25)).upper(),
                        ("OBX-5", "OBX-6", "OBX-11"))
        )  # fmt: skip
    times = [(obx.get(19), "OBX-19") for obx in group.all("OBX")] + [(obr.get(22), "OBR-22"), (header.get(7), "MSH-7")]
    return ResultGiven(
        numbers=numbers,
        analyser=" ".join(part for part in (header.get(3), header.get(4)) if part)[:100] or "analyser",
        measured_at=next((moment(text, zone=zone, location=place) for text, place in times if text), None),
        observations=tuple(observations),
        family_name=pid.get(5, 1, name_in_use(pid, 5)),
        birth_date=day_of_birth(pid.get(7), zone=zone),
        remarks=tuple(text for note in _after(group, "OBX").all("NTE") for text in note.texts(3)),
    )


def _after(group: Hl7, name: str) -> Hl7:
    """Return the segments from the first of a name on: what is said before it is not said of the results."""
    start = next(n for n, segment in enumerate(group.segments) if segment.name == name)
    return Hl7(group.segments[start:])


def _text_of(obx: Segment, kind: str, repetition: int) -> str:
    """The value of one repetition: of a structured number (SN) all its parts, of a code its words."""
    if kind == "SN":
        return "".join(obx.get(5, part, repetition) for part in range(1, 5)).removeprefix("=")
    if kind in ("CE", "CWE"):
        return obx.word(5, repetition)
    return obx.whole(5, repetition)


def read_csv_results(raw: bytes, *, charset: str, zone: ZoneInfo) -> list[ResultGiven]:
    """Read a file with the columns specimen, code, value, unit and, where wanted, the others of COLUMNS.

    Raises
    ------
    MessageRefused
        When it is not of the character set, a column is missing, or a row has no specimen or code.
    """
    rows = list(rows_of(raw, charset))
    found: dict[tuple, ResultGiven] = {}
    for number, row in enumerate(rows, 2):
        if not row["specimen"] or not row["code"]:
            raise MessageRefused(f"Line {number} has no specimen or no code.", code="101", location=f"line {number}")
        at = _time_of_file(row["measured_at"], zone, number)
        key = (row["specimen"], row["analyser"], at)
        one = Observation(
            (Coding(row["code"]),), row["value"], row["unit"], row["range"], row["flag"],
            (row["status"] or "F").upper(), (f"line {number}",) * 3,
        )  # fmt: skip
        known = found.get(key) or ResultGiven((row["specimen"],), row["analyser"] or "file", at, ())
        found[key] = replace(known, observations=(*known.observations, one))
    if not found:
        raise MessageRefused("The file has no line of results.", code="101")
    return list(found.values())


def rows_of(raw: bytes, charset: str) -> Iterable[dict[str, str]]:
    """Read the lines of a CSV file as column to text; comma, semicolon or tabulator as its first line has them."""
    try:
        text = raw.decode("utf-8-sig" if charset == "utf-8" else charset)
    except UnicodeDecodeError:
        raise MessageRefused(f"The file is not {charset}: save it so, or correct the interface.", code="102") from None
    refuse_controls(text, "file")
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    try:
        table = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        raise MessageRefused("The file is no CSV: a quotation mark is not closed.", code="102") from None
    names = [name.strip().casefold() for name in table[0]] if table else []
    if absent := [name for name in COLUMNS[:4] if name not in names]:
        raise MessageRefused(f"The first line has no column {', '.join(absent)}.", code="101", location="line 1")
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise MessageRefused(f"The first line names {', '.join(twice)} twice.", code="102", location="line 1")
    if len(table) > MOST_ROWS:
        raise MessageRefused(f"The file has more than {MOST_ROWS} lines: send it in parts.", code="207")
    needed = max(map(names.index, COLUMNS[:4])) + 1
    for number, cells in enumerate(table[1:], 2):
        if any(cell.strip() for cell in cells):
            if any(cell.strip() for cell in cells[len(names) :]) or len(cells) < needed:
                sentence = f"Line {number} has another number of columns than the first line: look for a separator."
                raise MessageRefused(sentence, code="102", location=f"line {number}")
            given = dict(zip(names, (cell.strip() for cell in cells)))
            yield {name: given.get(name, "") for name in COLUMNS}


def written(rows: list[dict[str, str]]) -> str:
    """Write lines as a file with all of COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _time_of_file(text: str, zone: ZoneInfo, number: int) -> datetime | None:
    plain = text.replace("-", "", 2).replace(":", "").replace(" ", "").replace("T", "") if "-" in text[:8] else text
    plain = f"{plain[:-1]}+0000" if plain.endswith("Z") else plain
    try:
        return moment(plain, zone=zone, location=f"line {number}")
    except MessageRefused as reason:
        sentence = f"Line {number}: write the time such as 2026-04-08 09:00."
        raise MessageRefused(sentence, code=reason.code, location=reason.location) from None


def sort_observations(given: ResultGiven, meaning_of: Callable[[Iterable[Coding]], str]) -> Sorted:
    """Sort what was sent into values, remarks of the analyser, and codes that nobody has mapped.

    Raises
    ------
    MessageRefused
        When a value cannot be taken: no number, no unit, a unit that does not belong to it, or a code twice.
    """
    values: dict[str, CbcValue] = {}
    unknown: dict[str, str] = {}
    states: set[str] = set()
    remarks = list(given.remarks)
    for one in given.observations:
        meaning, first = meaning_of(one.codings), one.codings[0]
        if not meaning:
            unknown[first.key] = first.name
        elif meaning == FLAG:
            if suspicion := _suspicion(one):
                remarks.append(suspicion)
        elif meaning in PARAMETERS:
            if meaning in values:
                raise MessageRefused(f"{meaning} stands twice in one result.", code="102", location=one.place[0])
            values[meaning] = _value(meaning, one)
            states.add(one.status)
    return Sorted(tuple(values.values()), tuple(text[:200] for text in remarks[:50]), bool(states) and states <= FINAL,
                  unknown)  # fmt: skip


def _suspicion(one: Observation) -> str:
    """Return a suspicion in the analyser's words, with its degree where it has one; "" where there is none."""
    said, is_called = one.value.upper(), one.call.upper() == ABNORMAL
    words = one.codings[0].name or one.codings[0].code
    if said in ABSENT:
        return words if is_called and not said else ""
    if words.endswith("?") and len(said) > 1 and said.isdigit() and not is_called:
        return ""  # Sysmex sends the degree of each suspicion, 0 to 300, and calls it where it is over its limit
    return words if said in PRESENT else f"{words}: {one.value}"


def _value(key: str, one: Observation) -> CbcValue:
    if one.status and one.status not in FINAL | PRELIMINARY | WITHOUT_VALUE:
        raise MessageRefused(f"“{one.status[:20]}” is no status of a result.", code="103", location=one.place[2])
    sent = "" if one.status in WITHOUT_VALUE else one.value
    try:
        return value_of(key, sent, one.unit, limits=one.limits[:60], call=one.call[:20], is_doubtful=one.is_doubtful)
    except Refused as reason:
        is_unit = reason.field == "unit"
        code = ("103" if one.unit else "101") if is_unit else "102"
        raise MessageRefused(str(reason), code=code, location=one.place[1 if is_unit else 0]) from reason
