"""Listen on the ports of the active interfaces, each in its own protocol, and follow changes of interfaces.

What a message means is left to `services`, frames to `mllp` and `astm_link`; no byte of a message reaches the log.
"""

import asyncio
import logging
from asyncio import IncompleteReadError
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, close_old_connections
from hl7.mllp import start_hl7_server

from leukoweb.delivery import astm_link, mllp, services
from leukoweb.delivery.hl7 import MAX_BYTES
from leukoweb.delivery.models import LISTENING, Interface

log = logging.getLogger(__name__)
LOOK_EVERY_S = 5.0
IDLE_LIMIT_S = 3600.0
Converse = Callable[[Any, Any], Awaitable[None]]


async def listen(stop: asyncio.Event | None = None) -> None:
    """Listen for every active interface of orders and counts until `stop` is set; follow changes of interfaces."""
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
    active = Interface.objects.filter(is_active=True, direction__in=LISTENING)
    return {(i.pk, i.direction, i.host, i.port, i.use_tls): i for i in active.select_related("laboratory")}


async def _serve(interface: Interface) -> asyncio.Server:
    tls = mllp.server_tls() if interface.use_tls else None
    if interface.is_hl7:
        return await start_hl7_server(
            _conversation(interface, _hl7), interface.host, interface.port, limit=MAX_BYTES + 2**16,
            encoding="latin-1", ssl=tls,
        )  # fmt: skip
    return await asyncio.start_server(
        _conversation(interface, _astm), interface.host, interface.port, limit=astm_link.MOST_FRAME_BYTES, ssl=tls
    )


def _conversation(interface: Interface, speak: Callable[..., Awaitable[None]]) -> Converse:
    conversations: set = set()

    async def converse(reader: Any, writer: Any) -> None:
        conversations.add(task := asyncio.current_task())  # the event loop itself keeps only a weak reference
        try:
            await speak(interface, reader, writer)
        except (ConnectionError, IncompleteReadError, TimeoutError, asyncio.CancelledError):
            pass  # the peer went away, or we end: what came whole was stored
        except Exception:
            log.exception("interface %s: a conversation ended by an error", interface.pk)
        finally:
            conversations.discard(task)
            writer.close()

    return converse


async def _hl7(interface: Interface, reader: Any, writer: Any) -> None:
    async def take(raw: bytes, is_whole: bool) -> bytes:
        return await sync_to_async(_receive, thread_sensitive=False)(interface, raw, _peer(writer), is_whole)

    await mllp.converse(reader, writer, take, idle_s=IDLE_LIMIT_S)


async def _astm(interface: Interface, reader: Any, writer: Any) -> None:
    async def take(raw: bytes) -> bool:
        try:
            await sync_to_async(_receive, thread_sensitive=False)(interface, raw, _peer(writer))
        except (OperationalError, InterfaceError):  # the database is away: the analyser keeps its message
            log.error("interface %s: a message could not be stored", interface.pk)
            return False
        return True

    await astm_link.converse(reader, writer, take, idle_s=IDLE_LIMIT_S)


def _peer(writer: Any) -> str:
    return str((writer.get_extra_info("peername") or ("",))[0])


def _receive(interface: Interface, raw: bytes, peer: str, is_whole: bool = True) -> bytes:
    close_old_connections()
    try:
        return services.receive(interface, raw, peer=peer, is_whole=is_whole)
    finally:
        close_old_connections()
