"""Conversations that begin here: one deadline for the whole of each, and a bound on the answer that is read.

The time-out of a socket is for each piece alone, so a peer that sends byte by byte would hold its caller for as long as
it likes. What is said, and what an answer means, is left to the callers.
"""

import os
import smtplib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from ssl import SSLContext
from typing import Any

from django.core.mail.backends.smtp import EmailBackend

MAIL_LIMIT_S = 30.0  # of one mail, from the connection on: less than the claim of a notice


class _Clock:
    """End a connection when its time is over; `is_late` says that it was so."""

    def __init__(self, patience_s: float, connection: socket.socket) -> None:
        # A second name of the same connection: the first may be wrapped in TLS or closed meanwhile.
        self.connection = socket.socket(fileno=os.dup(connection.fileno()))
        self.is_late = False
        self.timer = threading.Timer(patience_s, self._end)
        self.timer.daemon = True
        self.timer.start()

    def _end(self) -> None:
        self.is_late = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self.timer.cancel()
        self.connection.close()


@contextmanager
def ended_after(patience_s: float, connection: socket.socket) -> Iterator[None]:
    """End a conversation that is not over in time, however steadily the other side sends: TimeoutError."""
    clock = _Clock(patience_s, connection)
    try:
        yield
    finally:
        clock.stop()
        if clock.is_late:
            raise TimeoutError


def post(
    host: str,
    port: int | None,
    path: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    tls: SSLContext | None,
    patience_s: float,
    most_bytes: int,
) -> tuple[int, bytes]:
    """Post to a web server; return the status and the first bytes of the answer. Redirects are not followed.

    Raises
    ------
    OSError, http.client.HTTPException
        When there is no connection, no answer in time (TimeoutError), or one that is not HTTP.
    """
    made = HTTPSConnection(host, port, timeout=patience_s, context=tls) if tls else None
    with closing(made or HTTPConnection(host, port, timeout=patience_s)) as connection:
        connection.connect()
        with ended_after(patience_s, connection.sock):
            connection.request("POST", path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(most_bytes)


class _Ended:
    """SMTP over a connection that is ended after MAIL_LIMIT_S."""

    def _get_socket(self, *args: Any) -> socket.socket:
        connection = super()._get_socket(*args)  # type: ignore[misc]
        self.clock = _Clock(MAIL_LIMIT_S, connection)
        return connection

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        if hasattr(self, "clock"):
            self.clock.stop()


class _Smtp(_Ended, smtplib.SMTP):
    pass


class _SmtpTls(_Ended, smtplib.SMTP_SSL):
    pass


class Mail(EmailBackend):
    """Django's mail by SMTP, of which each conversation has one deadline."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        """Return the class whose objects speak with the server."""
        return _SmtpTls if self.use_ssl else _Smtp
