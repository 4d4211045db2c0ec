"""HL7 v2 as text: what is read, what is refused in which words, and that no input ends otherwise."""

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoweb.delivery.hl7 import MessageRefused, acknowledgement, escape, moment, read, unescape
from leukoweb.delivery.orders import read_orders, read_person
from tests.conftest import SHARED

UTC = ZoneInfo("UTC")
ORDER = (
    "MSH|^~\\&|HIS|HOSP|LEUKOWEB|LAB|20260408130000||OML^O21^OML_O21|MSG034|P|2.5.1||||||{charset}\r"
    "PID|1||44556^^^MRN^MR~9^^^NATIONAL||Nguyen^Thanh^V||19830927|F\r"
    "PV1|1|O|CLINIC^301^A\r"
    "ORC|NW|ORD300|F-77|||||||||1234^Jones^Robert\r"
    "TQ1|1||||||||S\r"
    "OBR|1|ORD300|F-77|FILM^Blood film^L|||20260408130000|||||||||1234^Jones^Robert||||||||||||77^Lee^Susan\r"
    "NTE|1||Blasts?\\.br\\Please call \\T\\ fax\r"
    "SPM|1|S-9||BLD^Blood^HL70487\r"
)


def order(charset="UNICODE UTF-8", **changes):
    text = ORDER.replace("{charset}", charset)
    for old, new in changes.items():
        text = text.replace(old, new)
    return text.encode()


def test_an_order_is_read_with_its_numbers_people_and_words():
    [found] = read_orders(read(order()), authority="", zone=UTC)
    assert (found.control, found.placer_number, found.filler_number, found.specimen_number) == (
        "NW", "ORD300", "F-77", "S-9",
    )  # fmt: skip
    assert (found.person.mrn, found.person.name, found.person.sex) == ("44556", "Nguyen, Thanh V", "F")
    assert found.person.birth_date.isoformat() == "1983-09-27"
    assert (found.requester, found.copy_to, found.ward) == ("Jones, Robert", "Lee, Susan", "CLINIC 301 A")
    assert found.note == "Blasts?\nPlease call & fax"
    assert found.is_stat
    assert found.specimen_type == "Blood"


def test_the_record_number_is_the_one_of_the_assigning_authority():
    assert read_person(read(order()), authority="national", zone=UTC).mrn == "9"
    with pytest.raises(MessageRefused, match="no patient number of the assigning authority X"):
        read_person(read(order()), authority="X", zone=UTC)


def test_other_separators_a_byte_order_mark_and_an_empty_first_number_are_read():
    text = order().decode().replace("PID|1||44556", "PID|1||~44556")
    other = text.replace("\\T\\", " ").translate(str.maketrans("|^", "#!"))
    for raw in (text.encode(), b"\xef\xbb\xbf" + text.encode(), other.encode()):
        person = read_person(read(raw), authority="", zone=UTC)
        assert (person.mrn, person.name) == ("44556", "Nguyen, Thanh V")


def test_a_field_that_is_to_be_emptied_is_empty_and_its_two_quotation_marks_are_no_value():
    changes = {"Nguyen^Thanh^V": '""', "19830927|F": '""|""'}
    person = read_person(read(order(**changes)), authority="", zone=UTC)
    assert (person.name, person.birth_date, person.sex, person.sex_sent) == ("", None, "U", "")


@pytest.mark.parametrize("sent", ["1983", "198309"])
def test_a_birth_date_without_a_day_is_no_birth_date(sent):
    """The first of January was made of it, and the ages and the identity of a person by that."""
    assert read_person(read(order(**{"19830927": sent})), authority="", zone=UTC).birth_date is None


def test_an_order_that_names_two_patients_is_refused():
    second = order().decode().split("\r")[1].replace("44556", "99999")
    with pytest.raises(MessageRefused, match="more than one patient"):
        read_orders(read(order() + second.encode()), authority="", zone=UTC)


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n", "\r\r"])
def test_segments_may_end_as_senders_end_them(ending):
    raw = order().decode().replace("\r", ending).encode()
    assert len(read_orders(read(raw), authority="", zone=UTC)) == 1


@pytest.mark.parametrize(
    ("raw", "code", "ack", "words"),
    [
        (b"", "100", "AR", "The frame is empty"),
        (b"PID|1", "100", "AR", "does not begin with MSH"),
        (b"MSH|^~\\", "100", "AR", "does not begin with MSH"),
        (b"MSH|^^\\&|A", "102", "AR", "five different separators"),
        (order("EBCDIC"), "103", "AR", "character set in MSH-18 is not supported"),
        (order().replace(b"Thanh", "Thänh".encode("latin-1")), "102", "AE", "not of the character set"),
        (order() + b"no segment here\r", "100", "AE", "no segment"),
        (order().replace(b"Thanh", b"Th\x00nh"), "102", "AE", "NUL"),
        (order().replace(b"Thanh", b"Th\x1cnh"), "102", "AE", "control character 1C"),
        (order().replace(b"Thanh", b"Th\x1b[1mnh"), "102", "AE", "control character 1B"),
        (order("8859/1").replace(b"Thanh", b"O\x92Brien"), "102", "AE", "control character 92"),
        (order().replace(b"|^~\\&|", b"|^~\\|"), "102", "AR", "five different separators"),
        (order().replace(b"\rPID", b"\rpid"), "100", "AE", "no segment"),
        (order().decode().encode("utf-16"), "100", "AR", "UTF-16: send it in UTF-8"),
        (order().decode().encode("utf-16-be"), "100", "AR", "UTF-16: send it in UTF-8"),
        (b"FHS|^~\\&|HIS\rBHS|^~\\&|HIS\r" + order(), "100", "AR", "A batch"),
        (order() + order().replace(b"44556", b"99999"), "100", "AE", "more than one message"),
        (order() + b"DSC|1\r", "100", "AE", "send it whole"),
        (b"MSH|^~\\&|" + b"x" * (5 * 2**20), "207", "AR", "longer than the 4194304 bytes"),
    ],
)
def test_what_is_no_message_is_refused_in_words(raw, code, ack, words):
    with pytest.raises(MessageRefused, match=words) as refused:
        read(raw)
    assert (refused.value.code, refused.value.ack) == (code, ack)


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/15", "iso8859-15")]
)
def test_names_are_read_in_the_character_set_of_the_message(charset, codec):
    raw = order(charset).decode().replace("Nguyen", "Müller").encode(codec)
    assert read_person(read(raw), authority="", zone=UTC).name == "Müller, Thanh V"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("a\\T\\b", "a&b"),
        ("a\\.br\\b", "a\nb"),
        ("\\X41\\", "A"),
        ("\\X0D\\", " "),
        ("M\\XFC\\ller, M\\XC3BC\\ller", "Müller, Müller"),
        ("\\Z1\\", "\\Z1\\"),
        ("50\\", "50\\"),
    ],
)
def test_escape_sequences_are_resolved_or_left_as_they_were_sent(sent, said):
    assert unescape(sent, "|^~\\&") == said


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from("\n\t"), max_size=60))
def test_what_is_escaped_is_read_back(text):
    assert unescape(escape(text), "|^~\\&") == text


def test_no_sign_of_a_comment_ends_its_segment_or_its_frame():
    """A line break of a word processor is the byte that begins a frame of MLLP."""
    assert escape("a\x0bb\x1c\rc\x9f") == "a\\X0B\\b\\X1C\\\\.br\\c\\XC29F\\"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("20260408", datetime(2026, 4, 8, tzinfo=UTC)),
        ("20260408130001.25+0200", datetime(2026, 4, 8, 11, 0, 1, tzinfo=UTC)),
        ("", None),
    ],
)
def test_times_are_read_to_the_second(text, at):
    assert moment(text, zone=UTC, location="OBR-7") == at


@pytest.mark.parametrize(
    "text",
    [
        "20261301",
        "tomorrow",
        "2026-04-08",
        "202604081",
        "99999999",
        "2026",
        "202604",
        "00010101000000+1400",
        "20260408120000+2359",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(MessageRefused) as refused:
        moment(text, zone=UTC, location="OBR-7")
    assert (refused.value.code, refused.value.location) == ("102", "OBR-7")


def test_an_answer_to_a_message_of_other_separators_has_its_own():
    """The addresses were copied as they stood: a bar within one moved every field after it."""
    raw = order().decode().translate(str.maketrans("|^~\\&", "#!*?@")).replace("HIS#", "H|S!1.2!ISO#").encode()
    answer = read(acknowledgement(read(raw), at=datetime(2026, 4, 8, tzinfo=UTC), control_id="A-1"))
    assert [answer.header.get(5, part) for part in (1, 2, 3)] == ["H|S", "1.2", "ISO"]
    assert (answer.control_id, answer.header.get(12), answer.first("MSA").get(2)) == ("A-1", "2.5.1", "MSG034")


def test_an_answer_turns_the_addresses_round_and_carries_the_sentence():
    message = read(order())
    refused = MessageRefused("PID-3 has no patient number.", code="101", location="PID-3")
    at = datetime(2026, 4, 8, tzinfo=UTC)
    answer = read(acknowledgement(message, at=at, control_id="A1", refused=refused))
    assert [answer.header.get(n) for n in (3, 4, 5, 6)] == ["LEUKOWEB", "LAB", "HIS", "HOSP"]
    assert (answer.header.get(9), answer.header.get(9, 2)) == ("ACK", "O21")
    assert (answer.first("MSA").get(1), answer.first("MSA").get(2)) == ("AE", "MSG034")
    assert (answer.first("ERR").get(3), answer.first("ERR").get(8)) == ("101", "PID-3 has no patient number.")


def real_messages():
    found = sorted(
        path for folder in ("hl7", "hl7_conformance") for path in (SHARED / "messages" / folder).glob("*.hl7")
    )
    return [path.read_bytes() for path in found] or [order()]


def test_every_real_message_is_read():
    for raw in real_messages():
        assert read(raw).control_id


@pytest.mark.slow
def test_ten_thousand_cuts_and_changes_are_read_or_refused_in_words():
    """No input may end in anything but a message or a sentence; the random seed is fixed."""
    sentences = set()
    rng, messages = random.Random(20261127), [order(), *real_messages()]
    for _ in range(10_000):
        raw = bytearray(rng.choice(messages))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(raw) or 1)
            match rng.randrange(4):
                case 0:
                    del raw[place:]
                case 1 if raw:
                    raw[place] = rng.randrange(256)
                case 2:
                    raw[place:place] = bytes(rng.choices(range(256), k=3))
                case _:
                    raw[place:place] = rng.choice([b"|", b"^", b"~", b"\\", b"&", b"\r", b"\r\r", b"\\X..\\"])
        try:
            message = read(bytes(raw))
            read_orders(message, authority="", zone=UTC)
        except MessageRefused as refused:
            answer = acknowledgement(None, at=datetime.now(UTC), control_id="1", refused=refused)
            sentences.add(read(answer).first("ERR").get(8))
    assert "" not in sentences
    assert len(sentences) > 5
