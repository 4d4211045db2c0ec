"""Carry an analyser's messages over TCP in frames of LIS1-A: ENQ, numbered frames with a checksum, ACK or NAK, EOT.

Only the last record is read here: a whole message goes to `take`, and its last frame is acknowledged after that.

Notes
-----
Frames are numbered 1 to 7, 0, 1 ...; a frame ends with ETB where its text goes on in the next one, else with ETX. The
checksum is the sum of the bytes after STX up to and with ETB or ETX, modulo 256, in two hexadecimal digits. A receiver
waits 30 s for the next frame; a sender waits 15 s for an answer, 10 s after a NAK to ENQ, and gives a frame up after
six attempts. Where both sides send ENQ the analyser has priority: it waits 1 s and sends ENQ again, the other side
answers it (Host Interface Manual of the cobas e 411, page 22: easymanua.ls/roche/cobas-e-411).
"""

import asyncio
import logging
from asyncio import LimitOverrunError, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from leukoweb.delivery.hl7 import MAX_BYTES
from leukoweb.delivery.network import NotDelivered, in_words

log = logging.getLogger(__name__)
STX, ETX, EOT, ENQ, ACK, NAK, ETB = b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x15", b"\x17"
CR, LF = b"\r", b"\n"
ATTEMPTS = 6
TEXT_BYTES = 240  # of one frame
MOST_FRAME_BYTES = 64_000
Take = Callable[[bytes], Awaitable[bool]]


@dataclass(frozen=True)
class Timers:
    """How long each side waits, in seconds, as the standard has it."""

    frame_s: float = 30.0  # a receiver, for the next frame
    answer_s: float = 15.0  # a sender, for an answer
    busy_s: float = 10.0  # a sender, after NAK to its ENQ
    contention_s: float = 1.0  # an analyser that met the ENQ of the other side; it has priority


STANDARD = Timers()


def checksum(framed: bytes) -> bytes:
    """Return the two digits over the bytes after STX, up to and with ETB or ETX."""
    return b"%02X" % (sum(framed) % 256)


def frames(text: bytes) -> Iterator[bytes]:
    """Cut a message into frames, one or more for each record."""
    number = 0
    for record in text.split(CR):
        if not record:
            continue
        parts = [(record + CR)[start : start + TEXT_BYTES] for start in range(0, len(record) + 1, TEXT_BYTES)]
        for place, part in enumerate(parts, 1):
            number = (number + 1) % 8
            framed = b"%d" % number + part + (ETX if place == len(parts) else ETB)
            yield STX + framed + checksum(framed) + CR + LF


def opened(frame: bytes) -> tuple[int, bytes, bool] | None:
    """Return number, text and "ends its record" of the bytes between STX and LF; None where they are wrong."""
    if len(frame) < 6 or frame[-2:] != CR + LF or frame[-5:-4] not in (ETX, ETB) or not frame[:1].isdigit():
        return None
    if b"\x00" in frame or checksum(frame[:-4]) != frame[-4:-2].upper():  # a NUL more or less has the same sum
        return None
    return int(frame[:1]), frame[1:-5], frame[-5:-4] == ETX


def is_whole(text: bytes) -> bool:
    """Say whether a message ends with its terminator record."""
    last = text.rstrip(CR + LF).replace(LF, CR).rsplit(CR, 1)[-1]
    return last[:1] == b"L" and not last[1:2].isalnum()


async def converse(
    reader: StreamReader, writer: StreamWriter, take: Take, *, idle_s: float, timers: Timers = STANDARD
) -> None:
    """Receive messages until the peer goes away; `take` says whether a message is stored.

    Raises
    ------
    TimeoutError, IncompleteReadError, ConnectionError
        When the peer is silent for too long or gone.
    """
    while True:
        if await asyncio.wait_for(reader.readexactly(1), idle_s) == ENQ:
            await _answer(writer, ACK)
            await _receive(reader, writer, take, timers)


async def _receive(reader: StreamReader, writer: StreamWriter, take: Take, timers: Timers) -> None:
    """Receive the frames of one session, from ENQ to EOT; what was cut before its terminator is handed over at EOT."""
    last, text = 0, b""
    while True:
        try:
            sign = await asyncio.wait_for(reader.readexactly(1), timers.frame_s)
        except TimeoutError:
            log.warning("an analyser was silent within a session: %s bytes are dropped", len(text))
            return
        if sign == EOT:
            if text.strip():
                await take(text)
            return
        if sign == ENQ:  # the sender begins again
            last, text = 0, b""
            await _answer(writer, ACK)
        if sign != STX:
            continue
        frame = opened(await _frame(reader, timers))
        if frame is not None and last and frame[0] == last % 8:  # sent again, because our answer was lost
            await _answer(writer, ACK)
            continue
        if frame is None or frame[0] != (last + 1) % 8 or len(text) > MAX_BYTES:
            await _answer(writer, NAK)
            continue
        _, part, is_end = frame
        grown = text + part
        if is_end and is_whole(grown):
            if not await take(grown):
                await _answer(writer, NAK)
                continue
            grown = b""
        last, text = last + 1, grown
        await _answer(writer, ACK)


async def _frame(reader: StreamReader, timers: Timers) -> bytes:
    """The bytes up to LF; empty where none came in time or the frame is too long."""
    try:
        return await asyncio.wait_for(reader.readuntil(LF), timers.frame_s)
    except LimitOverrunError as error:
        await reader.readexactly(error.consumed)
    except TimeoutError:
        log.warning("a frame of an analyser did not end")
    return b""


async def _answer(writer: StreamWriter, sign: bytes) -> None:
    writer.write(sign)
    await writer.drain()


async def send(host: str, port: int, text: bytes, *, timers: Timers = STANDARD) -> int:
    """Send one message as an analyser does; return how many frames went out.

    Raises
    ------
    NotDelivered
        When the receiver is busy, silent, or refuses a frame six times.
    """
    sent = 0
    with in_words(timers.answer_s):
        async with asyncio.timeout(timers.answer_s):
            reader, writer = await asyncio.open_connection(host, port)
        try:
            await _put(reader, writer, ENQ, timers)
            for frame in frames(text):
                await _put(reader, writer, frame, timers)
                sent += 1
            await _answer(writer, EOT)
        finally:
            writer.close()
    return sent


async def _put(reader: StreamReader, writer: StreamWriter, frame: bytes, timers: Timers) -> None:
    for _ in range(ATTEMPTS):
        await _answer(writer, frame)
        sign = await asyncio.wait_for(reader.readexactly(1), timers.answer_s)
        if sign == ACK:
            return
        if frame == ENQ:
            await asyncio.sleep(timers.contention_s if sign == ENQ else timers.busy_s)
    raise NotDelivered(f"The receiver refused a frame {ATTEMPTS} times.")
