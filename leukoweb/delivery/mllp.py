"""Carry HL7 messages over TCP in the minimal lower layer protocol: a conversation with a sender, a client for results.

It leaves what a message means to the caller; bytes of a message never reach the log.
"""

import asyncio
import logging
import ssl
from asyncio import LimitOverrunError
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from hl7.mllp import InvalidBlockError, open_hl7_connection
from hl7.mllp.streams import CARRIAGE_RETURN, END_BLOCK, START_BLOCK, HL7StreamReader, HL7StreamWriter

from leukoweb.delivery.hl7 import MAX_BYTES
from leukoweb.delivery.models import Interface
from leukoweb.delivery.network import ANSWER_LIMIT_S, NotDelivered, client_tls, in_words

log = logging.getLogger(__name__)
Take = Callable[[bytes, bool], Awaitable[bytes]]
KEPT_BYTES = 2**16  # of a message that is too long: its beginning says who sent what


def server_tls() -> ssl.SSLContext:
    """Return the TLS settings of the listener; peers need a certificate where a CA is set."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.MLLP_TLS_CERT, settings.MLLP_TLS_KEY)
    if settings.MLLP_TLS_CA:
        context.load_verify_locations(settings.MLLP_TLS_CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def converse(reader: HL7StreamReader, writer: HL7StreamWriter, take: Take, *, idle_s: float) -> None:
    """Answer messages until the peer goes away or sends what is no frame; `take` returns the answer to a message.

    It gets the bytes, and whether they are the whole message: of one that is too long only the beginning is kept.

    Raises
    ------
    TimeoutError, IncompleteReadError, ConnectionError
        When the peer is silent for too long or gone.
    """
    while await _answer_one(reader, writer, take, idle_s):
        pass


async def _answer_one(reader: HL7StreamReader, writer: HL7StreamWriter, take: Take, idle_s: float) -> bool:
    """Take one message and answer it; False when the connection must end."""
    try:
        block = await asyncio.wait_for(reader.readuntil(END_BLOCK + CARRIAGE_RETURN), idle_s)
        is_whole = True
    except LimitOverrunError:
        block, is_whole = await reader.readexactly(KEPT_BYTES), False
    if not block.startswith(START_BLOCK):
        log.warning("bytes outside of an MLLP frame: the connection is closed")
        return False
    raw = block.removeprefix(START_BLOCK).removesuffix(END_BLOCK + CARRIAGE_RETURN)
    writer.writeblock(await take(raw, is_whole))
    await writer.drain()
    return is_whole and bool(raw)


def deliver(interface: Interface, raw: bytes, *, patience_s: float = ANSWER_LIMIT_S) -> bytes:
    """Send one message and return the answer.

    Raises
    ------
    NotDelivered
        When the peer cannot be reached, ends the connection or does not answer in time.
    """
    with ThreadPoolExecutor(1) as own:  # the caller's thread may have a loop of its own, in which none can be started
        return own.submit(asyncio.run, exchange(interface, raw, patience_s=patience_s)).result()


async def exchange(interface: Interface, raw: bytes, *, patience_s: float) -> bytes:
    """Send one message within a running event loop (see `deliver`)."""
    try:
        with in_words(patience_s):
            async with asyncio.timeout(patience_s):
                reader, writer = await open_hl7_connection(
                    interface.host, interface.port, limit=MAX_BYTES, ssl=client_tls() if interface.use_tls else None
                )
                try:
                    writer.writeblock(raw)
                    await writer.drain()
                    return bytes(await reader.readblock())
                finally:
                    writer.close()
    except (InvalidBlockError, ValueError):
        raise NotDelivered("The answer was not in an MLLP frame.") from None
