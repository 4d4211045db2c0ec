"""Messages that were cut and changed at random: each ends in a state, an answer in words and no half effect.

The random seeds are fixed. What writes to the database takes 300 changes, the rest 2,000, and make test-nightly 10,000.
"""

import asyncio
import random
from zoneinfo import ZoneInfo

import pytest

from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, CbcResult, Patient
from leukoweb.delivery import astm_link
from leukoweb.delivery.astm import read_astm_results
from leukoweb.delivery.hl7 import MessageRefused, read
from leukoweb.delivery.models import Message
from leukoweb.delivery.results_in import sort_observations
from leukoweb.delivery.services import receive
from tests.conftest import SHARED
from tests.test_astm_link import FRAMES, TEXT, Pipe, in_a_loop
from tests.test_counts_in import ASTM, SYSMEX, hl7, make_interface  # noqa: F401 (fixture)
from tests.test_hl7 import order

pytestmark = pytest.mark.slow

PIECES = [
    b"|",
    b"^",
    b"~",
    b"&",
    b"\\",
    b"\r",
    b"\r\r",
    b"\n",
    b"----",
    b"++++",
    b"\xff",
    b"\x00",
    b"\\X0D\\",
    b"\\X..\\",
]


MANY = pytest.mark.parametrize("changes", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])


def changed(raw, rng):
    """Cut a message, or put other bytes into one to three places of it."""
    raw = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(raw) or 1)
        match rng.randrange(4):
            case 0:
                del raw[place:]
            case 1 if raw:
                raw[place] = rng.randrange(256)
            case 2:
                del raw[place : place + rng.randint(1, 9)]
            case _:
                raw[place:place] = rng.choice(PIECES)
    return bytes(raw)


def real_texts():
    """The public messages of analysers, one by one."""
    texts = []
    for path in sorted((SHARED / "messages" / "astm").glob("*.astm")):
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        parts = "\r".join(lines).split("\rH")
        texts += [f"{'' if part.startswith('H') else 'H'}{part}\r".encode() for part in parts]
    return texts


@MANY
def test_changed_messages_of_analysers_are_read_or_refused_in_words(changes):
    rng, texts, sentences, whole = random.Random(3), [ASTM.encode(), SYSMEX.encode(), *real_texts()], set(), 0
    for _ in range(changes):
        try:
            for one in read_astm_results(changed(rng.choice(texts), rng), charset="utf-8", zone=ZoneInfo("UTC")):
                sort_observations(
                    one, lambda codings: codings[0].code if codings[0].code in ("WBC", "HGB", "PLT") else ""
                )
                whole += 1
        except MessageRefused as refused:
            sentences.add(refused.sentence)
    assert "" not in sentences
    assert len(sentences) > 8
    assert whole > changes / 15


@MANY
def test_changed_sessions_hand_over_a_message_as_it_was_or_nothing_whole(changes):
    """A checksum of eight bits lets one change of 256 pass; such a message is still read or refused in words."""
    rng, stream = random.Random(5), astm_link.ENQ + b"".join(FRAMES) + astm_link.EOT
    taken, answered = [], set()

    async def take(text):
        taken.append(text)
        return True

    async def run():
        for _ in range(changes):
            pipe, reader = Pipe(), asyncio.StreamReader(limit=astm_link.MOST_FRAME_BYTES)
            reader.feed_data(changed(stream, rng))
            reader.feed_eof()
            with pytest.raises(asyncio.IncompleteReadError):
                await astm_link.converse(reader, pipe, take, idle_s=5)
            answered.update(pipe.sent)

    in_a_loop(run())
    assert answered == set(astm_link.ACK + astm_link.NAK)
    whole = [text for text in taken if astm_link.is_whole(text)]
    assert len(whole) > changes / 500
    assert len([text for text in whole if text != TEXT]) < changes / 256


@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("changes", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_changed_messages_end_in_a_state_an_answer_and_no_half_effect(make_case, make_interface, changes):  # noqa: F811
    make_case()
    rng = random.Random(7)
    orders = make_interface("orders_in", codes={"FILM": "film"})
    sent = [
        (orders, lambda n: order(MSG034=f"M{n}", **{"F-77": f"F-{n}", "ORD300": f"P-{n}"})),
        (make_interface("cbc_astm"), lambda n: ASTM.encode()),
        (make_interface("cbc_hl7"), hl7),
    ]
    for number in range(changes):
        interface, text = sent[number % 3]
        answer = receive(interface, changed(text(number), rng))
        if interface.is_hl7:
            assert read(answer).first("MSA").get(1) in ("AA", "AE", "AR")
        else:
            assert answer == b""
    assert Message.objects.count() == changes
    assert not Message.objects.filter(state="received").exists()
    refused = Message.objects.filter(state__in=["refused", "held", "parked"])
    assert not refused.filter(sentence="").exists()
    applied = Message.objects.filter(interface=orders, state="applied")
    made = Case.objects.exclude(accession_number="A-1001")
    assert applied.count() == made.count() > 0
    assert Event.objects.filter(action="case.register").count() == made.count()
    assert not made.filter(patient__name="").exists()
    assert Patient.objects.filter(cases=None).count() == 0
    counts = Message.objects.filter(state="applied").exclude(interface=orders).count()
    assert counts >= CbcResult.objects.count() > 0
