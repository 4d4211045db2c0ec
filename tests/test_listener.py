"""The listener as its own process, with real sockets: frames, cut connections and a kill between two messages."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from django.db import connection

from leukoweb.cases.models import Case
from leukoweb.delivery.hl7 import MAX_BYTES, read
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.services import save_interface
from tests import services
from tests.conftest import DATA_DIR
from tests.test_hl7 import order

pytestmark = pytest.mark.services
KILLS = int(os.environ.get("LEUKOWEB_TEST_KILLS", "5"))  # 100 takes some minutes


class Listener:
    """The process `manage.py listen` over the database of this test."""

    def __init__(self, port):
        database, self.port = connection.settings_dict, port
        url = f"sqlite:///{database['NAME']}"
        if connection.vendor == "postgresql":
            url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
        self.environment = os.environ | {"DATABASE_URL": url, "LEUKOWEB_DATA_DIR": str(DATA_DIR)}
        self.process = None

    def start(self):
        command = [sys.executable, "manage.py", "listen"]
        self.process = subprocess.Popen(command, cwd=services.ROOT, env=self.environment)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop(signal.SIGKILL)
        raise AssertionError("the listener did not open its port")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20)


@pytest.fixture
def listener(transactional_db, laboratory, admin):
    made = Interface(
        laboratory=laboratory, name="Hospital system", direction="orders_in", port=services.free_port(),
        is_active=True, codes={"FILM": "film"},
    )  # fmt: skip
    listener = Listener(save_interface(made, by=admin).port)
    listener.start()
    yield listener
    if listener.process.poll() is None:
        listener.stop()


def connect(listener):
    peer = socket.create_connection(("127.0.0.1", listener.port), timeout=30)
    peer.settimeout(30)
    return peer


def answers(peer, count):
    """Read this many framed answers."""
    got = b""
    while got.count(b"\x1c\r") < count:
        more = peer.recv(65536)
        assert more, "the listener ended the connection"
        got += more
    return [read(frame.lstrip(b"\x0b")) for frame in got.split(b"\x1c\r")[:count]]


def framed(raw):
    return b"\x0b" + raw + b"\x1c\r"


def test_orders_are_answered_over_one_connection_however_they_are_cut(listener):
    """Two messages in one packet, one byte by byte, one too long: each gets its own answer."""
    with connect(listener) as peer:
        peer.sendall(framed(order()) + framed(order(MSG034="2", **{"F-77": "F-78", "ORD300": "ORD301"})))
        assert [a.first("MSA").get(2) for a in answers(peer, 2)] == ["MSG034", "2"]
        for byte in framed(order()):
            peer.sendall(bytes([byte]))
        [again] = answers(peer, 1)
        assert (again.first("MSA").get(1), again.first("MSA").get(2)) == ("AA", "MSG034")
    assert set(Case.objects.values_list("accession_number", flat=True)) == {"F-77", "F-78"}
    with connect(listener) as peer:
        peer.sendall(framed(order(MSG034="7") + b"x" * (MAX_BYTES + 2**17)))
        [refused] = answers(peer, 1)
        assert (refused.first("MSA").get(1), refused.first("MSA").get(2)) == ("AR", "7")
    kept = Message.objects.latest("pk")
    assert (kept.state, len(kept.raw), bytes(kept.raw).startswith(order(MSG034="7"))) == ("refused", 2**16 - 1, True)
    assert "longer than the 4194304 bytes" in kept.sentence


def test_bytes_outside_of_a_frame_and_a_cut_connection_leave_the_listener_at_work(listener):
    with connect(listener) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n\x1c\r")
        assert peer.recv(10) == b""
    with connect(listener) as peer:
        peer.sendall(framed(order())[:100])
    with connect(listener) as peer:
        peer.sendall(framed(order()))
        [answer] = answers(peer, 1)
        assert answer.first("MSA").get(1) == "AA"
    assert Case.objects.count() == 1


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_a_killed_listener_loses_no_order_and_takes_none_twice(listener):
    """The peer sends each order until it is answered, as MLLP asks; the listener is killed again and again in between.

    Every second kill follows the commit as soon as it is seen; the others move from before the bytes are read on.
    """
    ends = Counter()
    for number in range(KILLS):
        raw = order(MSG034=f"M{number}", **{"F-77": f"K-{number}", "ORD300": f"P-{number}"})
        taken = Case.objects.filter(accession_number=f"K-{number}")
        with connect(listener) as peer:
            peer.sendall(framed(raw))
            if number % 2:
                services.wait_until(taken.exists, timeout_s=60, what="the order", every_s=0.001)
            else:
                time.sleep(0.1 * number / KILLS)
            listener.stop(signal.SIGKILL)
            ends["answered" if answered(peer) else "taken, not answered" if taken.exists() else "neither"] += 1
        listener.start()
        with connect(listener) as peer:
            peer.sendall(framed(raw))
            [answer] = answers(peer, 1)
            assert (answer.first("MSA").get(1), answer.first("MSA").get(2)) == ("AA", f"M{number}")
    print(f"\nlistener killed {KILLS} times while it took an order: {dict(ends)}")
    assert Case.objects.count() == KILLS
    assert Message.objects.filter(state="applied").count() == KILLS


def answered(peer):
    """Say whether an answer came before the other side was gone."""
    try:
        return peer.recv(10) != b""
    except ConnectionError:
        return False
