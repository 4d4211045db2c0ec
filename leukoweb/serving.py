"""The web server's worker: a request takes a thread only when its head, and its small body, have come whole.

Slow senders wait in the main loop, which costs no thread; a large body must keep a least rate. nginx does the same
where it is in front. What bodies are allowed is decided in bodies.py.

A request that works longer than a deadline is answered with a sentence, and its process is replaced: a thread cannot be
stopped, and whatever it does is in a transaction that ends with its process.
"""

import errno
import logging
import re
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from leukoweb.bodies import ANONYMOUS_BYTES, REFUSED
from leukoweb.logs import HideNumbers

REQUEST_LIMIT_S = 10  # for head and small body together
LOOK_AGAIN_S = 0.2
MOST_HEAD_BYTES = 32_768
MOST_WAITING_BY_ADDRESS = 100
SILENCE_LIMIT_S = 20
LINGER_S, TCP_ESTABLISHED = 0.5, 1
LEAST_BYTES_PER_S, GRACE_S = 4096, 30
# Above the longest check of an upload (CHECK_LIMIT_S), below the patience of nginx (proxy_read_timeout).
WORK_LIMIT_S = 285.0
TOO_LONG = (
    b"The request took too long and was ended. Nothing was half-saved: send less at once, or try again; tell the "
    b"administrator the time if it repeats.\n"
)
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,15})[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class PacedSocket:
    """A connection whose request must come at a least rate, so that nobody holds a thread by sending slowly."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.began_at, self.came = connection, time.monotonic(), 0
        self.last_at = self.began_at

    def recv(self, size: int) -> bytes:
        """Receive what comes; TimeoutError where the sender is too slow."""
        try:
            piece = self.connection.recv(size)
        except BlockingIOError as silent:
            raise TimeoutError(errno.ETIMEDOUT, "the body stopped coming") from silent
        self.came, self.last_at = self.came + len(piece), time.monotonic()
        if piece and self.came < LEAST_BYTES_PER_S * (time.monotonic() - self.began_at - GRACE_S):
            raise TimeoutError(errno.ETIMEDOUT, "the body comes too slowly")
        return piece


@dataclass
class Work:
    """A request that the application works on: it has its time from when its last byte came."""

    paced: PacedSocket
    began_at: float = field(default_factory=time.monotonic)
    is_answered: bool = False

    def is_over(self, now: float) -> bool:
        """Say whether it has worked longer than it may."""
        return now - max(self.began_at, self.paced.last_at) > WORK_LIMIT_S


class Worker(ThreadWorker):
    """Gunicorn's threads behind a main loop that waits for whole requests."""

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        logging.getLogger("gunicorn.error").addFilter(HideNumbers())
        self.waiting: dict[TConn, float] = {}  # connections whose request is not whole, and when each must be
        self.watched: set[TConn] = set()  # those of them that the poller listens to
        self.work: dict[int, Work] = {}  # by thread, as the next
        self.paced: dict[int, PacedSocket] = {}

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait for its request in the main loop."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        host = address[0] if isinstance(address, tuple) else address
        if sum(_host(other) == host for other in self.waiting) >= MOST_WAITING_BY_ADDRESS:
            self._close(conn)
            return
        self._wait(conn)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Wait for the next request of a kept-alive connection as for its first."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._wait(conn)

    def load_wsgi(self) -> None:
        """Load the application, and note how long each request is worked on; what streams an answer is not counted."""
        super().load_wsgi()
        application = self.wsgi

        def timed(environ: dict[str, Any], start_response: Any) -> Any:
            thread = threading.get_ident()
            self.work[thread] = Work(self.paced[thread])
            try:
                return application(environ, start_response)
            finally:
                self.work.pop(thread, None)

        self.wsgi = timed

    def murder_pending(self) -> None:
        """Look again at the connections whose request has come in part, and close those whose time is over."""
        super().murder_pending()
        now = time.monotonic()
        for work in list(self.work.values()):
            if work.is_over(now) and not work.is_answered:
                self._give_up(work)
        for conn, until in list(self.waiting.items()):
            if now > until:
                self._forget(conn)
                self._close(conn)
            elif conn not in self.watched:
                self._look(conn, conn.sock)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Return sooner while a request has come in part."""
        partly = len(self.waiting) > len(self.watched)
        super().wait_for_and_dispatch_events(min(timeout, LOOK_AGAIN_S) if partly else timeout)

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Answer a request whose body must keep coming."""
        seconds = struct.pack("ll", SILENCE_LIMIT_S, 0)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        conn.parser.unreader.sock = self.paced[threading.get_ident()] = PacedSocket(conn.sock)
        is_kept = super().handle_request(req, conn)
        if conn.sock in REFUSED:
            _linger(conn.sock)
            return False
        return is_kept

    def _give_up(self, work: Work) -> None:
        """Answer in place of a thread that works too long, and let this process end: the arbiter starts another one.

        The others of its requests have the graceful time to finish.
        """
        work.is_answered = True
        self.log.error("a request worked longer than %s s: this process is replaced", WORK_LIMIT_S)
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(TOO_LONG)}\r\nConnection: close\r\n"
        head += "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nRetry-After: 60\r\n\r\n"
        with suppress(OSError):
            work.paced.connection.send(head.encode() + TOO_LONG, socket.MSG_DONTWAIT)
            work.paced.connection.shutdown(socket.SHUT_RDWR)  # whatever the thread still says is not heard
        self.alive = False

    def _wait(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self.waiting[conn] = time.monotonic() + REQUEST_LIMIT_S
        self.watched.add(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._look, conn))

    def _look(self, conn: TConn, client: socket.socket) -> None:
        """Give the connection to a thread if its request is whole; else stop listening and look again soon."""
        try:
            came = client.recv(MOST_HEAD_BYTES + ANONYMOUS_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came or is_whole(came):
            self._forget(conn)
            if came:
                conn.data_ready = True
                self.enqueue_req(conn)
            else:
                self._close(conn)
        elif conn in self.watched:
            self.watched.discard(conn)
            self.poller.unregister(client)

    def _forget(self, conn: TConn) -> None:
        del self.waiting[conn]
        if conn in self.watched:
            self.watched.discard(conn)
            self.poller.unregister(conn.sock)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()


def is_whole(came: bytes) -> bool:
    """Tell whether a request can be given to a thread: its head is whole, and its body too where that is small."""
    head, end, body = came.partition(HEAD_END)
    if not end:
        return len(came) >= MOST_HEAD_BYTES  # refused by the parser
    length = LENGTH.search(head + b"\r\n")
    expected = int(length[1]) if length else 0
    return expected > ANONYMOUS_BYTES or len(body) >= expected


def _linger(connection: socket.socket) -> None:
    """Drop what still comes until the sender has read the answer: closed at once, the connection is reset.

    nginx then says that the product does not answer, and the sender never learns why the body was refused.
    """
    until = time.monotonic() + LINGER_S
    while time.monotonic() < until and _is_established(connection):
        try:
            came = connection.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            came = b""
        except OSError:
            return
        if not came:
            time.sleep(0.005)


def _is_established(connection: socket.socket) -> bool:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED


def _host(conn: TConn) -> str:
    return conn.client[0] if isinstance(conn.client, tuple) else conn.client
