"""People who send slowly, too much, or without an account hold no page up: through real sockets, and through nginx."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from leukoweb.bodies import ANONYMOUS_BYTES, LARGER_BODIES, USUAL_BYTES, body_limit
from leukoweb.serving import is_whole
from tests.services import ROOT, end, free_port, wait_until

SLOW = 40
ANSWER = 503


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A web process of two threads over no database, so that every page answers 503 at once."""
    folder, port = tmp_path_factory.mktemp("web"), free_port()
    environment = os.environ | {"LEUKOWEB_DATA_DIR": str(folder)}
    environment.pop("DATABASE_URL", None)
    command = [
        sys.executable, "-m", "gunicorn", "leukoweb.wsgi", "--worker-class", "leukoweb.serving.Worker",
        "--workers", "1", "--threads", "2", "--bind", f"127.0.0.1:{port}", "--no-control-socket",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    wait_until(lambda: page(port), timeout_s=120, what="the start of the web process")
    yield port, folder
    end(process)


def send(port, content):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(content)
    return connection


def answer(connection):
    """Everything that comes until the server closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def page(port):
    """The status of the sign-in page, None where nothing answers."""
    try:
        with send(port, b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as connection:
            return int(answer(connection).split(b" ", 2)[1])
    except (OSError, IndexError):
        return None


BEGINNINGS = {
    "half a head": b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a small body": b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nlogin=",
    "nothing": b"",
}


@pytest.mark.slow
@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_slow_connections_without_an_account_hold_no_page_up_and_are_closed(web, beginning):
    port, _ = web
    with ExitStack() as opened:
        slow = [opened.enter_context(send(port, beginning)) for _ in range(SLOW)]
        began = time.monotonic()
        assert [page(port) for _ in range(5)] == [ANSWER] * 5
        assert time.monotonic() - began < 5
        for connection in slow[:3]:
            assert answer(connection) == b""
    assert page(port) == ANSWER


def test_a_large_anonymous_body_is_refused_before_it_is_read_and_nothing_reaches_the_disk(web):
    port, folder = web
    for address in (b"/sign-in/", b"/cases/1/slides/new/", b"/uploads/", b"/atlas/"):
        head = b"POST " + address + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000000\r\n"
        kind = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        field = b'Content-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        with send(port, head + kind + field + bytes(20_000)) as connection:
            assert b" 413 " in answer(connection)[:40], address
    assert not list((folder / "incoming").glob("*"))
    assert page(port) == ANSWER


def test_a_body_without_a_length_is_refused(web):
    head = b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with send(web[0], head) as connection:
        assert b" 411 " in answer(connection)[:40]


def test_a_request_goes_to_a_thread_only_when_it_is_whole():
    head = b"POST /sign-in/ HTTP/1.1\r\nContent-Length: 5\r\n"
    assert not is_whole(head)
    assert not is_whole(head + b"\r\nabcd")
    assert is_whole(head + b"\r\nabcde")
    assert is_whole(b"GET / HTTP/1.1\r\n\r\n")
    assert is_whole(b"PATCH / HTTP/1.1\r\ncontent-length: 900000\r\n\r\n")
    assert is_whole(b"GET /" + b"a" * 40_000)


def test_a_signed_in_sender_is_limited_by_address_and_others_altogether(sign_in, technologist, client):
    large = b"x" * (USUAL_BYTES + 1)
    assert client.post("/cases/", large, content_type="text/plain").status_code == 413
    assert client.post("/cases/", b"x" * (ANONYMOUS_BYTES + 1), content_type="text/plain").status_code == 413
    signed_in = sign_in(technologist)
    assert signed_in.post("/cases/", large, content_type="text/plain").status_code == 413
    assert signed_in.post("/cases/", b"x" * 40_000, content_type="text/plain").status_code != 413
    for path in ("/uploads/0b6f5d6c-2e8d-4c5e-9a57-3b0f3f3a6a10/", "/cases/12/slides/new/", "/api/v1/cases/A/slides/"):
        assert body_limit(path, is_known=True) >= 2**30
        assert body_limit(path, is_known=False) == ANONYMOUS_BYTES


def test_nginx_has_the_same_limits_and_buffers_all_but_uploads():
    config = (ROOT / "deploy/nginx.conf").read_text()
    server = config[config.index("listen 443") :]
    before, *locations = re.split(r"\n\s+location ", server)
    assert "client_max_body_size 4m;" in before
    assert "proxy_request_buffering off" not in before
    assert "limit_conn" in before
    sizes = {}
    for location in locations:
        if size := re.search(r"client_max_body_size (\d+)m;", location):
            sizes[location.split("{")[0].strip().removeprefix("~ ").strip('^$"')] = int(size[1])
            unbuffered = "proxy_request_buffering off;" in location
            assert unbuffered == any(word in location.split("{")[0] for word in ("uploads", "slides")), location
    assert sizes == {address.pattern: limit >> 20 for address, limit in LARGER_BODIES}


def test_nginx_takes_its_configuration(tmp_path):
    nginx = shutil.which("nginx")
    config = (ROOT / "deploy/nginx.conf").read_text()
    assert config.count("{") == config.count("}")
    if nginx is None:  # the rest needs the program
        return
    certificate = tmp_path / "leukoweb"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-keyout", f"{certificate}.key", "-out", f"{certificate}.crt"], check=True, capture_output=True,
    )  # fmt: skip
    config = config.replace("/etc/nginx/certs", str(tmp_path)).replace("server web:8000", "server 127.0.0.1:8000")
    config = config.replace("/tmp/nginx.pid", str(tmp_path / "nginx.pid")).replace("http2 on;", "")
    (tmp_path / "nginx.conf").write_text(config)
    done = subprocess.run([nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
