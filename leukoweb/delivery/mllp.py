"""Carry HL7 messages over TCP in the minimal lower layer protocol: a server for orders, a client for results.

It leaves what a message means to `services`; bytes of a message never reach the log.
"""

import asyncio
import logging
import ssl
from asyncio import IncompleteReadError

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from hl7.mllp import InvalidBlockError, open_hl7_connection, start_hl7_server
from hl7.mllp.streams import HL7StreamReader, HL7StreamWriter

from leukoweb.delivery import services
from leukoweb.delivery.hl7 import MAX_BYTES
from leukoweb.delivery.models import Interface

log = logging.getLogger(__name__)
LOOK_EVERY_S = 5.0
IDLE_LIMIT_S = 3600.0
ANSWER_LIMIT_S = 30.0


class NotDelivered(Exception):
    """Say in one sentence why a message got no acknowledgement."""


def server_tls() -> ssl.SSLContext:
    """Return the TLS settings of the listener; peers need a certificate where a CA is set."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.MLLP_TLS_CERT, settings.MLLP_TLS_KEY)
    if settings.MLLP_TLS_CA:
        context.load_verify_locations(settings.MLLP_TLS_CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls() -> ssl.SSLContext:
    """Return the TLS settings of the sender."""
    context = ssl.create_default_context(cafile=settings.MLLP_TLS_CA or None)
    if settings.MLLP_TLS_CERT:
        context.load_cert_chain(settings.MLLP_TLS_CERT, settings.MLLP_TLS_KEY)
    return context


async def listen(stop: asyncio.Event | None = None) -> None:
    """Listen for every active interface of orders until `stop` is set; changes of interfaces are followed."""
    stop = stop or asyncio.Event()
    servers: dict[tuple, asyncio.Server] = {}
    while not stop.is_set():
        wanted = await sync_to_async(_wanted)()
        for key in servers.keys() - wanted.keys():
            servers.pop(key).close()
        for key in wanted.keys() - servers.keys():
            try:
                servers[key] = await _serve(wanted[key])
                log.info("interface %s listens on port %s", wanted[key].pk, wanted[key].port)
            except OSError as error:
                log.error("interface %s cannot listen on port %s: %s", wanted[key].pk, wanted[key].port, error.strerror)
        try:
            await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
        except TimeoutError:
            continue
    for server in servers.values():
        server.close()


def _wanted() -> dict[tuple, Interface]:
    close_old_connections()
    active = Interface.objects.filter(is_active=True, direction=Interface.Direction.ORDERS_IN)
    return {(i.pk, i.host, i.port, i.use_tls): i for i in active.select_related("laboratory")}


async def _serve(interface: Interface) -> asyncio.Server:
    async def converse(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        conversations.add(task := asyncio.current_task())  # the event loop itself keeps only a weak reference
        try:
            while await _answer_one(interface, reader, writer):
                pass
        except (ConnectionError, IncompleteReadError, TimeoutError):
            pass  # the peer went away: what it sent whole was stored
        except Exception:
            log.exception("interface %s: a conversation ended by an error", interface.pk)
        finally:
            conversations.discard(task)
            writer.close()

    conversations: set = set()
    return await start_hl7_server(
        converse, interface.host, interface.port, limit=MAX_BYTES + 2**16, encoding="latin-1",
        ssl=server_tls() if interface.use_tls else None,
    )  # fmt: skip


async def _answer_one(interface: Interface, reader: HL7StreamReader, writer: HL7StreamWriter) -> bool:
    """Take one message and answer it; False when the connection must end."""
    peer = writer.get_extra_info("peername") or ("",)
    try:
        raw = await asyncio.wait_for(reader.readblock(), IDLE_LIMIT_S)
    except InvalidBlockError:
        log.warning("interface %s: bytes outside of an MLLP frame; the connection is closed", interface.pk)
        return False
    except ValueError:  # longer than the limit; what came was dropped
        raw = b""
    answer = await sync_to_async(_receive, thread_sensitive=False)(interface, bytes(raw), str(peer[0]))
    writer.writeblock(answer)
    await writer.drain()
    return bool(raw)


def _receive(interface: Interface, raw: bytes, peer: str) -> bytes:
    close_old_connections()
    try:
        return services.receive(interface, raw, peer=peer)
    finally:
        close_old_connections()


def deliver(interface: Interface, raw: bytes, *, patience_s: float = ANSWER_LIMIT_S) -> bytes:
    """Send one message and return the answer.

    Raises
    ------
    NotDelivered
        When the peer cannot be reached, ends the connection or does not answer in time.
    """
    return asyncio.run(_deliver(interface, raw, patience_s))


async def _deliver(interface: Interface, raw: bytes, patience_s: float) -> bytes:
    try:
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
    except TimeoutError:
        raise NotDelivered(f"No answer within {patience_s:g} s.") from None
    except IncompleteReadError:
        raise NotDelivered("The receiver ended the connection without an answer.") from None
    except (InvalidBlockError, ValueError):
        raise NotDelivered("The answer was not in an MLLP frame.") from None
    except ssl.SSLError:
        raise NotDelivered("The TLS connection failed: compare certificates on both sides.") from None
    except OSError as error:
        raise NotDelivered(f"The receiver cannot be reached ({error.strerror or 'no route'}).") from None
