"""Read and write HL7 v2 messages as text: separators, escapes, character sets, segments and acknowledgements.

It leaves the meaning of a message to `orders` and `results`, transport to `mllp`, and storage to `services`.

Notes
-----
The `hl7` library carries the transport. Its reader is not used: it writes field values, and so names of patients, to
the log when an escape sequence is wrong, and drops what it cannot map.

References
----------
HL7 tables 0008 (acknowledgement codes), 0103 (processing id), 0211 (character sets), 0357 (error conditions) and 0396
(coding systems): https://terminology.hl7.org, code systems v2-0008, v2-0103, v2-0211, v2-0357 and v2-0396.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from leukoweb.given import is_offset_on_earth

MAX_BYTES = 4 * 2**20
VERSIONS = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2")
CHARACTER_SETS = {  # table 0211, those that Python reads without loss
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",  # not in the table, sent by many systems
    "UNICODE": "utf-8",  # so Mindray calls UTF-8; UTF-16 is refused before
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
ERRORS = {  # table 0357
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
DELETE = '""'  # a field that is to be emptied
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What is no text: a frame within a frame, a file that is no message, Windows-1252 that is called 8859/1. CR and LF end
# segments, TAB is a blank.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_FORM_OF_LOINC = re.compile(r"\d{1,7}-\d")
_TIME = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.\d{1,4})?)?)?)?)?)?([+-]\d{4})?")


class MessageRefused(Exception):
    """Say in one sentence what is wrong with a message; `code` is of table 0357, `location` such as "PID-3"."""

    def __init__(self, sentence: str, *, code: str, location: str = "", ack: str = "AE") -> None:
        super().__init__(sentence)
        self.sentence, self.code, self.location, self.ack = sentence, code, location, ack


@dataclass(frozen=True)
class Coding:
    """A code with its words and the coding system that it is of, "" where the sender names none."""

    code: str
    name: str = ""
    system: str = ""

    @property
    def is_loinc(self) -> bool:
        """Whether the sender says that the code is of LOINC (table 0396: LN)."""
        return self.system.upper() in ("LN", "LOINC")

    @property
    def key(self) -> str:
        """What the codes of an interface name it by: what only looks like LOINC is another code, and has its system."""
        is_other = self.system and not self.is_loinc and _FORM_OF_LOINC.fullmatch(self.code)
        return f"{self.code}^{self.system}" if is_other else self.code


@dataclass(frozen=True)
class Segment:
    """One segment; fields are counted as the standard counts them, so that `MSH-1` is the field separator."""

    name: str
    fields: tuple[str, ...]
    separators: str  # field, component, repetition, escape, sub-component

    def get(self, field: int, component: int = 1, repetition: int = 1) -> str:
        """Return a value without escapes; "" where the message has none or asks to delete it ("").

        The first sub-component stands for all.
        """
        raw = self.fields[field] if field < len(self.fields) else ""
        if self.name == "MSH" and field <= 2:
            return raw
        repetitions = raw.split(self.separators[2])
        raw = repetitions[repetition - 1] if repetition <= len(repetitions) else ""
        components = raw.split(self.separators[1])
        raw = components[component - 1] if component <= len(components) else ""
        text = unescape(raw.split(self.separators[4])[0], self.separators).strip()
        return "" if text == DELETE else text

    def whole(self, field: int, repetition: int = 1) -> str:
        """Return a repetition with all its components: more than one are no number."""
        raw = self.fields[field].split(self.separators[2])[repetition - 1]
        text = unescape(raw, self.separators).strip()
        return "" if text == DELETE else text

    def codings(self, field: int) -> tuple[Coding, ...]:
        """Return the code of a coded field and its alternate (CE, CWE), those that are there."""
        both = (Coding(*(self.get(field, first + n) for n in range(3))) for first in (1, 4))
        return tuple(coding for coding in both if coding.code)

    def word(self, field: int, repetition: int = 1) -> str:
        """Return what one repetition of a coded field says: its text, else its code, else those of its alternate."""
        return next(filter(None, (self.get(field, component, repetition) for component in (2, 1, 5, 4, 9))), "")

    def words(self, field: int) -> list[str]:
        """Return what each repetition of a coded field says, where it says anything."""
        return [said for n in range(1, self.repetitions(field) + 1) if (said := self.word(field, n))]

    def texts(self, field: int) -> list[str]:
        """Return each repetition of a field of plain text, whole: its signs are no separators."""
        return [text for n in range(1, self.repetitions(field) + 1) if (text := self.whole(field, n))]

    def is_emptied(self, field: int) -> bool:
        """Tell whether the sender asks to delete what a field held before ("")."""
        return len(self.fields) > field and self.fields[field].strip() == DELETE

    def repetitions(self, field: int) -> int:
        """Return how many repetitions a field has; 0 where it is empty."""
        raw = self.fields[field] if field < len(self.fields) else ""
        return len(raw.split(self.separators[2])) if raw else 0


@dataclass(frozen=True)
class Hl7:
    """A message as its segments, the header first."""

    segments: tuple[Segment, ...]

    @property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.header.get(10)

    @property
    def sender(self) -> str:
        """Sending application and facility as they stand there (MSH-3, MSH-4): one port may have several senders."""
        return "|".join(self.header.fields[3:5])

    @property
    def kind(self) -> str:
        """Message type and event, such as "OML^O21"."""
        return f"{self.header.get(9)}^{self.header.get(9, 2)}"

    def all(self, name: str) -> list[Segment]:
        """Return every segment with this name, in order."""
        return [segment for segment in self.segments if segment.name == name]

    def first(self, name: str) -> Segment:
        """Return the first segment with this name; an empty one where there is none."""
        return next(iter(self.all(name)), Segment(name, (name,), self.header.separators))

    def groups(self, leader: str) -> list["Hl7"]:
        """Return the message once for each `leader` segment, with the segments that follow it and the common ones."""
        starts = [n for n, segment in enumerate(self.segments) if segment.name == leader]
        common = self.segments[: starts[0]] if starts else self.segments
        return [
            Hl7((*common, *self.segments[begin:end])) for begin, end in zip(starts, [*starts[1:], len(self.segments)])
        ]


def read(raw: bytes, *, charset: str = "utf-8") -> Hl7:
    """Read a message.

    Parameters
    ----------
    raw : bytes
        One message without the MLLP frame; segments end with CR, and LF or CR LF are taken as well.
    charset : str
        Python's name of the character set where MSH-18 names none.

    Raises
    ------
    MessageRefused
        When there is no header, the bytes are not of the character set, or a line is no segment.
    """
    if len(raw) > MAX_BYTES:
        raise too_long()
    start = raw.removeprefix(BYTE_ORDER_MARK).lstrip(b"\r\n\x0b ").rstrip(b"\x1c\r\n")
    if not start.startswith(b"MSH") or len(start) < 8:
        raise MessageRefused(_no_header(start), code="100", location="MSH", ack="AR")
    separators = start[3:8].decode("latin-1")
    if len(set(separators)) != 5 or any(c.isalnum() or c.isspace() for c in separators):
        raise MessageRefused(
            "MSH-1 and MSH-2 must name five different separators.", code="102", location="MSH-2", ack="AR"
        )
    text = _decode(start, separators[0], charset)
    refuse_controls(text, "message")
    segments = [_segment(line, separators) for line in re.split(r"[\r\n]+", text) if line.strip()]
    _refuse_mixed(segments)
    return Hl7(tuple(segments))


def too_long() -> MessageRefused:
    """Return why a message was not read."""
    return MessageRefused(f"The message is longer than the {MAX_BYTES} bytes that are taken.", code="207", ack="AR")


def read_answer(raw: bytes, *, charset: str) -> Hl7:
    """Read an acknowledgement: its codes count, so words in another character set than it names become question marks.

    Else a result that was taken would be sent again for a day.
    """
    try:
        return read(raw, charset=charset)
    except MessageRefused:
        plain = re.sub(rb"[^\t\r\n\x20-\x7e]", b"?", raw.removeprefix(BYTE_ORDER_MARK))
        head, end, rest = re.split(rb"([\r\n])", plain + b"\r", maxsplit=1)
        return read(plain[3:4].join(head.split(plain[3:4])[:17]) + end + rest)


def refuse_controls(text: str, what: str) -> None:
    """Refuse a message or a file that holds what is no text."""
    if found := _CONTROL.search(text):
        sign = "a NUL" if found[0] == "\x00" else f"the control character {ord(found[0]):02X} (hexadecimal), no text"
        raise MessageRefused(f"The {what} holds {sign}.", code="102")


def header_of(raw: bytes) -> Hl7 | None:
    """Return MSH-1 to 12 of a message that cannot be read, so that its sender is told which one is meant."""
    line = re.split(rb"[\r\n]", raw.removeprefix(BYTE_ORDER_MARK), maxsplit=1)[0]
    plain = re.sub(rb"[^\t\x20-\x7e]", b"?", line)
    try:
        return read(plain[3:4].join(plain.split(plain[3:4])[:12]) if plain[3:4] else plain)
    except MessageRefused:
        return None


def _no_header(raw: bytes) -> str:
    """Say what bytes are that begin with no header."""
    if not raw:
        return "The frame is empty."
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[:6] in ("MSH".encode("utf-16-le"), "MSH".encode("utf-16-be")):
        return "The message is in UTF-16: send it in UTF-8."
    if raw[:3] in (b"FHS", b"BHS"):
        return "A batch (FHS, BHS) is not taken: send each message in a frame of its own."
    return "The message does not begin with MSH."


def _refuse_mixed(segments: list[Segment]) -> None:
    """Refuse what would be read half or as another person's: messages in one frame, a part of a message."""
    names = [segment.name for segment in segments]
    if names.count("MSH") > 1:
        raise MessageRefused(
            "The frame holds more than one message: send each in a frame of its own.", code="100", location="MSH"
        )
    if {"DSC", "ADD"} & set(names) or segments[0].get(14):
        raise MessageRefused("A message in parts (MSH-14, ADD, DSC) is not taken: send it whole.", code="100")


def _decode(raw: bytes, field_separator: str, charset: str) -> str:
    header = re.split(rb"[\r\n]", raw, maxsplit=1)[0].decode("latin-1").split(field_separator)
    named = header[17].split("~")[0].strip().upper() if len(header) > 17 else ""
    if named and named not in CHARACTER_SETS:
        raise MessageRefused(
            "The character set in MSH-18 is not supported: use UNICODE UTF-8, ASCII or 8859/1 to 8859/15.",
            code="103", location="MSH-18", ack="AR",
        )  # fmt: skip
    try:
        return raw.decode(CHARACTER_SETS[named] if named else charset)
    except UnicodeDecodeError:
        raise MessageRefused(
            f"The bytes are not of the character set {named or charset}: correct MSH-18 or the sender's setting.",
            code="102", location="MSH-18",
        ) from None  # fmt: skip


def _segment(line: str, separators: str) -> Segment:
    name = line[:3]
    if not _SEGMENT.fullmatch(name) or (len(line) > 3 and line[3] != separators[0]):
        raise MessageRefused("A line of the message is no segment.", code="100")
    fields = line.split(separators[0])
    if name == "MSH":  # MSH-1 is the separator itself
        fields = [name, separators[0], *fields[1:]]
    return Segment(name, tuple(fields), separators)


def unescape(text: str, separators: str) -> str:
    """Return a value with its escape sequences resolved; one that is not known stays as it was sent."""
    escape = separators[3]
    if escape not in text:
        return text
    plain = dict(zip("FSRET", separators)) | {".br": "\n", "H": "", "N": ""}

    def resolved(match: re.Match) -> str:
        inner = match[1]
        if inner in plain:
            return plain[inner]
        if re.fullmatch(r"X(?:[0-9A-Fa-f]{2})+", inner):
            found = _text_of(bytes.fromhex(inner[1:]))
            return "".join(c if c.isprintable() or c in "\n\t" else " " for c in found)
        if re.fullmatch(r"\.(?:sp|in|ti|sk|ce|fi|nf)[+-]?\d*", inner):
            return "\n" if inner[1:3] in ("sp", "ce") else " "
        return match[0]

    e = re.escape(escape)
    return re.sub(f"{e}([^{e}]*){e}", resolved, text)


def _text_of(escaped: bytes) -> str:
    """Return the characters of an escape in hexadecimal: senders write those of UTF-8 or of 8859/1."""
    try:
        return escaped.decode()
    except UnicodeDecodeError:
        return escaped.decode("latin-1")


def escape(text: str) -> str:
    """Return a value as it stands in a message of the usual separators; no sign of it can end frame or segment."""
    for character, letter in (("\\", "E"), ("|", "F"), ("^", "S"), ("&", "T"), ("~", "R")):
        text = text.replace(character, f"\\{letter}\\")
    text = re.sub(r"\r\n|\r|\n", r"\\.br\\", text)
    return _CONTROL.sub(lambda found: f"\\X{found[0].encode().hex().upper()}\\", text)


def field(*components: str) -> str:
    """Return one field of escaped components, without empty ones at its end."""
    return "^".join(escape(component) for component in components).rstrip("^")


def segment(name: str, values: dict[int, str]) -> str:
    """Return a segment line from its fields by number; values are escaped already (see `field`)."""
    return "|".join([name, *(values.get(n, "") for n in range(1, max(values, default=0) + 1))])


def moment(text: str, *, zone: ZoneInfo, location: str) -> datetime | None:
    """Read a time stamp; without an offset it is the laboratory's local time, and a date alone is its midnight.

    Raises
    ------
    MessageRefused
        When the text is no date or time of HL7, or names no day.
    """
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match and not match[3]:
        raise MessageRefused("This time names no day, and none is assumed.", code="102", location=location)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        at = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
        if match[7]:
            shift = timedelta(hours=int(match[7][1:3]), minutes=int(match[7][3:5]))
            at = at.replace(tzinfo=timezone(-shift if match[7][0] == "-" else shift))
        at.astimezone(UTC)  # raises where it lies outside of what can be stored
        if not is_offset_on_earth(at):
            raise ValueError
        return at
    except (ValueError, OverflowError):
        raise MessageRefused("This is no date or time of HL7.", code="102", location=location) from None


def day_of_birth(text: str, *, zone: ZoneInfo) -> date | None:
    """Read PID-7; a year or month alone is no date to know a person by, so nothing is said of the day."""
    if (match := _TIME.fullmatch(text)) and not match[3]:
        return None
    born = moment(text, zone=zone, location="PID-7")
    return born.date() if born else None


def stamp(at: datetime) -> str:
    """Write a time with its offset, to the second."""
    return at.strftime("%Y%m%d%H%M%S%z")


def acknowledgement(
    message: Hl7 | None, *, at: datetime, control_id: str, code: str = "AA", refused: MessageRefused | None = None,
) -> bytes:  # fmt: skip
    """Write the answer to a message: AA, or AE and AR with the sentence of what is wrong.

    Parameters
    ----------
    message : Hl7 or None
        The message that is answered; None where not even its header could be read.
    at : datetime
        Aware time of the answer.
    control_id : str
        The answer's own id.
    code : {"AA"}
        Of table 0008; where `refused` is given, its own code counts.
    refused : MessageRefused, optional
    """
    header = message.header if message else None
    event = header.get(9, 2) if header else ""
    given = {n: field(*(header.get(n, c) for c in (1, 2, 3))) if header else "" for n in (3, 4, 5, 6)}
    lines = [
        segment("MSH", {
            1: "^~\\&", 2: given[5], 3: given[6], 4: given[3], 5: given[4], 6: stamp(at),
            8: f"ACK^{escape(event)}^ACK" if event else "ACK", 9: escape(control_id),
            10: escape(header.get(11) or "P") if header else "P",
            11: escape(header.get(12) or "2.5.1") if header else "2.5.1", 17: "UNICODE UTF-8",
        }),
        segment("MSA", {1: refused.ack if refused else code, 2: escape(message.control_id) if message else ""}),
    ]  # fmt: skip
    if refused:
        name, _, number = refused.location.partition("-")
        lines.append(
            segment("ERR", {
                2: f"{name}^1^{number}" if number else name,
                3: f"{refused.code}^{ERRORS[refused.code]}^HL70357", 4: "E", 7: escape(refused.sentence),
                8: escape(refused.sentence),
            })
        )  # fmt: skip
    return ("\r".join(lines) + "\r").encode()
