"""Frames of analysers over TCP: checksums, numbers, lost answers and cut sessions, against the real listener."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from leukoweb.cases.models import CbcResult
from leukoweb.delivery import astm_link
from leukoweb.delivery.astm_link import ACK, ENQ, EOT, ETB, ETX, NAK, STX, checksum, frames, is_whole, opened, send
from leukoweb.delivery.models import Message
from leukoweb.delivery.network import NotDelivered
from tests import services
from tests.test_counts_in import ASTM, astm, make_interface  # noqa: F401 (fixture)
from tests.test_listener import Listener


def test_a_frame_is_read_back_and_one_wrong_byte_is_found():
    long = b"C|1|I|" + b"x" * 500
    made = list(frames(b"H|\\^&\r" + long + b"\rL|1|N\r"))
    assert [frame[1:2] for frame in made] == [b"1", b"2", b"3", b"4", b"5"]
    assert b"".join(opened(frame[1:])[1] for frame in made) == b"H|\\^&\r" + long + b"\rL|1|N\r"
    assert [opened(frame[1:])[2] for frame in made] == [True, False, False, True, True]
    for place in range(1, len(made[0]) - 1):
        wrong = bytearray(made[0])
        wrong[place] ^= 1
        assert opened(bytes(wrong)[1:]) is None, place


def test_the_checksum_is_the_one_of_a_frame_worked_by_hand():
    """The bytes 31+4C+7C+31+7C+4E+0D+03 are 0x204 in sum, of which 04 is kept."""
    assert checksum(b"1L|1|N\r\x03") == b"04"


@pytest.mark.parametrize(
    ("text", "is_end"),
    [(b"H|\\^&\rL|1|N\r", True), (b"H|\\^&\rL|1\r\n", True), (b"H|\\^&\rR|1|^^^LYM", False), (b"H|\\^&\r", False)],
)
def test_a_message_is_whole_with_its_terminator(text, is_end):
    assert is_whole(text) is is_end


class Pipe:
    """What a receiver writes, kept."""

    def __init__(self):
        self.sent = b""

    def write(self, data):
        self.sent += data

    async def drain(self):
        pass


def in_a_loop(coroutine):
    """Run a coroutine in a thread of its own: Playwright keeps a loop in the main thread of a whole run."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def answers_to(data, *, takes=(True,)):
    """Feed bytes to a receiver; return what it answered and which messages it handed over."""
    taken, verdicts, pipe = [], iter(takes), Pipe()

    async def take(text):
        taken.append(text)
        return next(verdicts, True)

    async def run():
        reader = asyncio.StreamReader(limit=astm_link.MOST_FRAME_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await astm_link.converse(reader, pipe, take, idle_s=5)

    in_a_loop(run())
    return pipe.sent, taken


TEXT = astm()
FRAMES = list(frames(TEXT))


def test_every_frame_is_acknowledged_and_the_message_handed_over_once():
    answered, taken = answers_to(ENQ + b"".join(FRAMES) + EOT)
    assert (answered, taken) == (ACK * (len(FRAMES) + 1), [TEXT])


def test_a_frame_with_a_wrong_checksum_is_refused_and_taken_when_it_comes_right():
    wrong = FRAMES[2][:-4] + b"00\r\n"
    answered, taken = answers_to(ENQ + FRAMES[0] + FRAMES[1] + wrong + b"".join(FRAMES[2:]) + EOT)
    assert answered == ACK * 3 + NAK + ACK * (len(FRAMES) - 2)
    assert taken == [TEXT]


def test_a_doubled_frame_is_acknowledged_and_counted_once():
    answered, taken = answers_to(ENQ + FRAMES[0] + FRAMES[0] + b"".join(FRAMES[1:]) + FRAMES[-1] + EOT)
    assert answered == ACK * (len(FRAMES) + 3)
    assert taken == [TEXT]


def test_a_frame_out_of_turn_is_refused():
    answered, taken = answers_to(ENQ + FRAMES[1] + b"".join(FRAMES) + EOT)
    assert answered == ACK + NAK + ACK * len(FRAMES)
    assert taken == [TEXT]


def test_a_session_that_begins_again_drops_what_came_before():
    answered, taken = answers_to(ENQ + b"".join(FRAMES[:3]) + ENQ + b"".join(FRAMES) + EOT)
    assert taken == [TEXT]


def test_a_message_cut_before_its_terminator_is_handed_over_as_it_came():
    _, taken = answers_to(ENQ + b"".join(FRAMES[:3]) + EOT)
    assert len(taken) == 1
    assert not is_whole(taken[0])


def test_a_message_that_could_not_be_stored_is_not_acknowledged():
    answered, taken = answers_to(ENQ + b"".join(FRAMES) + FRAMES[-1] + EOT, takes=(False, True))
    assert answered == ACK * len(FRAMES) + NAK + ACK
    assert taken == [TEXT, TEXT]


def test_a_frame_that_is_wrong_six_times_ends_its_session_and_the_next_one_is_taken_whole():
    wrong = FRAMES[2][:-4] + b"00\r\n"
    answered, taken = answers_to(ENQ + FRAMES[0] + FRAMES[1] + wrong * 6 + EOT + ENQ + b"".join(FRAMES) + EOT)
    assert answered == ACK * 3 + NAK * 6 + ACK * (len(FRAMES) + 1)
    assert [is_whole(text) for text in taken] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, STX + b"x" * 70_000 + b"\r\n", EOT * 9])
def test_noise_is_answered_with_nothing_worse_than_a_refusal(noise):
    answered, taken = answers_to(noise + ENQ + noise + b"".join(FRAMES) + EOT)
    assert set(answered) <= set(ACK + NAK)
    assert taken in ([TEXT], [])


QUICK = astm_link.Timers(frame_s=0.2, answer_s=0.3, busy_s=0.05, contention_s=0.05)


def test_the_timers_are_those_of_the_standard():
    assert (astm_link.STANDARD.frame_s, astm_link.STANDARD.answer_s, astm_link.STANDARD.busy_s) == (30, 15, 10)


@pytest.mark.slow
@pytest.mark.parametrize("begun", [ENQ, ENQ + FRAMES[0], ENQ + FRAMES[0] + FRAMES[1][:9]])
def test_an_analyser_that_falls_silent_within_a_session_loses_it_and_may_begin_again(begun):
    """What came before the silence is no message; the next session is whole."""
    taken, pipe = [], Pipe()

    async def take(text):
        taken.append(text)
        return True

    async def run():
        reader = asyncio.StreamReader()
        conversation = asyncio.ensure_future(astm_link.converse(reader, pipe, take, idle_s=5, timers=QUICK))
        reader.feed_data(begun)
        await asyncio.sleep(4 * QUICK.frame_s)
        reader.feed_data(ENQ + b"".join(FRAMES) + EOT)
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await conversation

    in_a_loop(run())
    assert taken == [TEXT]
    assert pipe.sent.endswith(ACK * (len(FRAMES) + 1))


def send_to(*answers):
    """Send a message to a receiver that answers so, then always ACK; return what came and how long it took."""
    got, given = [], iter(answers)

    ended = asyncio.Event()

    async def answer(reader, writer):
        while sign := await reader.read(1):
            got.append(sign if sign in ENQ + EOT else sign + await reader.readuntil(b"\n"))
            if sign != EOT:
                writer.write(next(given, ACK))
        writer.close()
        ended.set()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        begun = asyncio.get_running_loop().time()
        try:
            await send("127.0.0.1", server.sockets[0].getsockname()[1], TEXT, timers=QUICK)
        finally:
            await ended.wait()
            server.close()
        return asyncio.get_running_loop().time() - begun

    try:
        return got, in_a_loop(run())
    except NotDelivered as reason:
        return got, str(reason)


def test_a_frame_that_was_refused_is_sent_again_at_once():
    got, _ = send_to(ACK, NAK, NAK)
    assert got == [ENQ, FRAMES[0], FRAMES[0], *FRAMES, EOT]


def test_a_busy_receiver_is_asked_again_after_a_while():
    got, took = send_to(NAK, NAK)
    assert got == [ENQ, ENQ, ENQ, *FRAMES, EOT]
    assert took >= 2 * QUICK.busy_s


def test_when_both_sides_begin_the_analyser_has_priority_and_begins_again():
    got, took = send_to(ENQ)
    assert got == [ENQ, ENQ, *FRAMES, EOT]
    assert took >= QUICK.contention_s


def test_a_receiver_answers_the_second_enq_of_a_contention():
    answered, taken = answers_to(ENQ + ENQ + b"".join(FRAMES) + EOT)
    assert (answered, taken) == (ACK * (len(FRAMES) + 2), [TEXT])


def test_a_receiver_that_refuses_six_times_or_is_silent_ends_the_delivery_in_a_sentence():
    got, said = send_to(ACK, *[NAK] * 6)
    assert (got, said) == ([ENQ, *[FRAMES[0]] * 6], "The receiver refused a frame 6 times.")
    got, said = send_to(ACK, b"")
    assert (got[:2], said) == ([ENQ, FRAMES[0]], "No answer within 0.3 s.")


@pytest.fixture
def analyser(transactional_db, make_interface, make_case):  # noqa: F811
    make_case()
    interface = make_interface("cbc_astm")
    interface.port = services.free_port()
    interface.save()
    listener = Listener(interface.port)
    listener.start()
    yield listener
    listener.stop()


@pytest.mark.services
def test_an_analyser_delivers_its_count_over_tcp_and_bytes_of_others_do_no_harm(analyser):
    with socket.create_connection(("127.0.0.1", analyser.port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with socket.create_connection(("127.0.0.1", analyser.port)) as peer:
        peer.sendall(ENQ + FRAMES[0])
    assert in_a_loop(send("127.0.0.1", analyser.port, TEXT)) == len(FRAMES)
    assert Message.objects.get().state == "applied"
    assert CbcResult.objects.get().values[0]["value"] == 5.8
    in_a_loop(send("127.0.0.1", analyser.port, TEXT))
    assert CbcResult.objects.count() == 1


@pytest.mark.services
def test_a_whole_message_in_one_sequence_of_frames_is_taken(analyser):
    """Some analysers cut the message by length and not by record."""
    parts = [TEXT[start : start + 100] for start in range(0, len(TEXT), 100)]
    with socket.create_connection(("127.0.0.1", analyser.port), timeout=20) as peer:
        peer.sendall(ENQ)
        assert peer.recv(1) == ACK
        for number, part in enumerate(parts, 1):
            framed = b"%d" % (number % 8) + part + (ETX if number == len(parts) else ETB)
            peer.sendall(STX + framed + checksum(framed) + b"\r\n")
            assert peer.recv(1) == ACK
        peer.sendall(EOT)
    assert CbcResult.objects.count() == 1


def test_the_text_of_the_tests_is_what_an_analyser_sends():
    assert is_whole(ASTM.encode())
