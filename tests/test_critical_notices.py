"""Notices of critical results by mail and webhook: to real peers, that take them, refuse, or hold on to the sender."""

import hashlib
import hmac
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from django.core import mail
from django.utils import timezone

from leukoweb import outgoing
from leukoweb.review.criticals import escalation
from leukoweb.review.criticals.escalation import SIGNATURE, escalate, send_notices
from leukoweb.review.criticals.models import CriticalNotice
from tests.test_criticals import blasts, policy  # noqa: F401  a fixture
from tests.test_reports import reviewed  # noqa: F401  a fixture

pytestmark = pytest.mark.slow


def test_a_mail_and_a_signed_webhook_go_out_without_the_name_of_a_patient(
    blasts,  # noqa: F811
    laboratory,
    admin,
    technologist,
    settings,
):
    settings.IS_MAIL_ON, settings.WEBHOOK_SECRET = True, "pepper"
    technologist.email = "tess@example.org"
    technologist.save()
    got = []

    class Peer(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if len(got) == 1 else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Peer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        policy(laboratory, admin, people=["tess"], webhook=f"http://127.0.0.1:{server.server_port}/hook")
        escalate()
        assert send_notices() == 1  # the mail; the webhook answered 500
        assert send_notices() == 0
        notice = CriticalNotice.objects.get(channel="webhook")
        assert (notice.state, notice.attempts, notice.sentence) == ("queued", 1, "HTTP 500")
        CriticalNotice.objects.update(next_try_at=timezone.now())
        assert send_notices() == 1
    finally:
        server.shutdown()
        server.server_close()
    headers, body = got[-1]
    assert headers[SIGNATURE] == "sha256=" + hmac.new(b"pepper", body, hashlib.sha256).hexdigest()
    assert json.loads(body)["critical"] == blasts.pk
    assert mail.outbox[0].to == ["tess@example.org"]
    for text in (body.decode(), mail.outbox[0].body, mail.outbox[0].subject):
        for secret in ("Wintermute", "M-77", "A-1001", "1961"):
            assert secret not in text


@pytest.mark.parametrize("channel", ["webhook", "mail"])
def test_a_peer_that_sends_byte_by_byte_is_left(
    blasts,  # noqa: F811
    laboratory,
    admin,
    technologist,
    settings,
    monkeypatch,
    channel,
):
    """Each piece came in time, so that one answer held the notices of every laboratory."""
    monkeypatch.setattr(escalation, "WAIT_S", 0.3)
    monkeypatch.setattr(outgoing, "MAIL_LIMIT_S", 0.3)
    settings.WEBHOOK_SECRET, settings.IS_MAIL_ON = "pepper", channel == "mail"
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "leukoweb.outgoing.Mail", "127.0.0.1"
    technologist.email = "tess@example.org"
    technologist.save()
    taken = []

    class Drip(BaseRequestHandler):
        def handle(self):
            with suppress(OSError):
                for piece in (b"HTTP/1.1 200 OK\r\n" if channel == "webhook" else b"220-hello\r\n", *[b"2"] * 200):
                    self.request.sendall(piece)
                    taken.append(piece)
                    time.sleep(0.05)

    with ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = settings.EMAIL_PORT = server.server_address[1]
        hook = f"http://127.0.0.1:{port}/hook" if channel == "webhook" else ""
        policy(laboratory, admin, people=["tess"], webhook=hook)
        escalate()
        assert send_notices() == 0
        server.shutdown()
    notice = CriticalNotice.objects.get()
    assert (notice.state, notice.attempts) == ("queued", 1)
    assert 0 < len(taken) < 201


def test_a_peer_that_never_answers_is_given_up_after_some_tries(
    blasts,  # noqa: F811
    laboratory,
    admin,
    technologist,
    settings,
):
    settings.WEBHOOK_SECRET = "pepper"
    policy(laboratory, admin, people=["tess"], webhook="http://127.0.0.1:9/closed")
    escalate()
    for _ in range(8):
        CriticalNotice.objects.filter(state="queued").update(next_try_at=timezone.now())
        send_notices()
    notice = CriticalNotice.objects.get()
    assert (notice.state, notice.attempts) == ("dead", 8)
