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
import requests

from leukoweb.bodies import ANONYMOUS_BYTES, LARGER_BODIES, USUAL_BYTES, body_limit
from leukoweb.serving import is_whole
from tests.services import ROOT, end, free_port, wait_until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
SLOW = 40
ANSWER = 503


SLOW_WORK = """
import time

import leukoweb.serving
leukoweb.serving.WORK_LIMIT_S = 1.5


def application(environ, start_response):
    if environ["PATH_INFO"] == "/long/":
        time.sleep(600)
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.slow
def test_a_request_that_works_too_long_is_answered_in_words_and_its_process_replaced(tmp_path):
    """H50: one upload held a thread for 459 s; nothing ended a request."""
    (tmp_path / "slow_work.py").write_text(SLOW_WORK)
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "slow_work:application", "--pythonpath", str(tmp_path), "--worker-class",
        "leukoweb.serving.Worker", "--workers", "1", "--threads", "2", "--bind", f"127.0.0.1:{port}",
        "--no-control-socket", "--graceful-timeout", "1", "--timeout", "2",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: page(port) == 200, timeout_s=60, what="the start of the web process")
        with send(port, b"POST /body/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n") as body:
            for _ in range(4):  # longer than the limit, but it keeps coming
                time.sleep(0.5)
                body.sendall(b"x" * 10_000)
            assert b"200 OK" in body.recv(4096)
        with send(port, b"GET /long/ HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
            said = answer(connection).decode()
        assert said.startswith("HTTP/1.1 503")
        assert "The request took too long and was ended." in said
        wait_until(lambda: page(port) == 200, timeout_s=60, what="the next web process")
    finally:
        end(process)
    assert "a request worked longer than 1.5 s" in (tmp_path / "log").read_text()


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_refused_sender_reads_why_though_the_body_still_comes(web):
    """The connection was reset over what had come unread, and the answer with it."""
    head = b"PATCH /uploads/0b6f5d6c-2e8d-4c5e-9a57-3b0f3f3a6a10/ HTTP/1.1\r\nHost: localhost\r\n"
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", web[0]), timeout=20) as connection:
            connection.sendall(head + b"Content-Length: 8000000\r\n\r\n" + bytes(4_000_000))
            assert connection.recv(40).startswith(b"HTTP/1.1 413 ")


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


def test_every_line_of_the_nginx_configuration_ends_or_opens_a_block():
    config = (ROOT / "deploy/nginx.conf").read_text()
    bare = re.sub(r"#.*|\"[^\"]*\"|'[^']*'", "", config)
    assert bare.count("{") == bare.count("}")
    for line in filter(None, map(str.strip, bare.splitlines())):
        assert line.endswith((";", "{", "}")), line
    for uri in re.findall(r"error_page [\d =]+ /refused/\$form/(\d+);", config):
        assert all(f"location /refused/{form}/{uri} " in config for form in ("json", "text"))
        assert f"return {uri} " in config


@pytest.fixture
def proxy(web, tmp_path):
    """The port of an nginx with the shipped configuration, certificate and ports apart, in front of the web process."""
    if NGINX is None:
        pytest.skip("nginx is not installed; its configuration is read by the tests above")
    port, plain = free_port(), free_port()
    certificate = tmp_path / "leukoweb"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-keyout", f"{certificate}.key", "-out", f"{certificate}.crt"], check=True, capture_output=True,
    )  # fmt: skip
    config = (ROOT / "deploy/nginx.conf").read_text()
    for shipped, here in {
        "/etc/nginx/certs": str(tmp_path), "server web:8000": f"server 127.0.0.1:{web[0]}", "http2 on;": "",
        "/tmp/nginx.pid": str(tmp_path / "nginx.pid"), "listen 80 ": f"listen 127.0.0.1:{plain} ",
        "listen 443 ": f"listen 127.0.0.1:{port} ", "/dev/stdout": str(tmp_path / "access"),
        "/dev/stderr": str(tmp_path / "errors"),
    }.items():  # fmt: skip
        assert shipped in config, shipped
        config = config.replace(shipped, here)
    (tmp_path / "nginx.conf").write_text(config)
    process = subprocess.Popen(
        [NGINX, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "errors", "-g", "daemon off;"], cwd=tmp_path
    )
    wait_until(lambda: (tmp_path / "nginx.pid").exists(), timeout_s=20, what="the start of nginx")
    yield f"https://localhost:{port}"
    end(process)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_through_nginx_every_refusal_arrives_as_a_sentence(proxy):
    """Of uploads without sign-in, too: the product answers them while their body still comes."""
    with requests.Session() as session:
        session.verify = session.trust_env = False
        for path in ("/uploads/0b6f5d6c-2e8d-4c5e-9a57-3b0f3f3a6a10/", "/cases/1/slides/new/") * 3:
            answer = session.patch(proxy + path, data=bytes(30_000_000))
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path
            assert "sign in first" in answer.json()["detail"]
        answer = session.post(proxy + "/api/v1/token/", data=bytes(5_000_000))
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        answer = session.post(proxy + "/sign-in/", data=bytes(5_000_000))
        assert (answer.status_code, answer.text) == (413, "The request is too large for this address.\n")
        assert "headers of the request" in session.get(proxy, headers={"X-Long": "a" * 20_000}).text
        assert session.get(proxy + "/sign-in/").status_code == ANSWER
        assert session.get(proxy + "/refused/json/503").status_code in (404, ANSWER)
