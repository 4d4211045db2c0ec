"""Starters of the real programs that tests use: a PostgreSQL cluster, a broker, a Celery worker; nothing here asserts.

They listen in temporary folders or on free ports of this machine and end with the test run, however it ends.
"""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from leukoweb.ops.scratch import Postgresql, end, free_port, postgresql_programs  # noqa: F401  tests find them here
from leukoweb.processes import broker_command, broker_socket, end_with_parent

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"


def chromium() -> str | None:
    """The browser that the browser tests drive."""
    return CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium") or shutil.which("chromium-browser")


class Broker:
    """A Redis or Valkey server of one test, at the socket where the settings look for it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = None

    def start(self):
        """Start it and wait until it answers."""
        import redis

        self.process = subprocess.Popen(
            broker_command(self.folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=end_with_parent(signal.SIGKILL),
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.client().ping()
            except redis.ConnectionError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def client(self):
        """A plain client, to look at the queue or to empty it."""
        import redis

        return redis.Redis(unix_socket_path=str(broker_socket(self.folder)))

    def stop(self):
        """End it; what it had on disk stays for the next start."""
        end(self.process)

    def forget(self):
        """End it and remove what it had on disk."""
        self.stop()
        shutil.rmtree(self.folder / "broker", ignore_errors=True)


class Worker:
    """A Celery worker process over this test's database, folder and broker."""

    def __init__(self, folder: Path, database_url: str):
        self.folder, self.database_url, self.process = folder, database_url, None
        self.log_path = folder / "worker.log"

    def start(self, *, queues="celery,runs,long,film", **environment):
        """Start it with further environment variables; it needs seconds until it takes its first run."""
        command = [sys.executable, "-m", "celery", "-A", "leukoweb", "worker", "--loglevel=INFO", "-P", "prefork",
                   "-c", "1", "-B", "-Q", queues, "--without-gossip", "--without-mingle"]  # fmt: skip
        ours = {"DATABASE_URL": self.database_url, "LEUKOWEB_DATA_DIR": str(self.folder)}
        # torch starts at once; the OpenVINO form of a detector is made first, in some seconds.
        env = os.environ | ours | {"LEUKOWEB_INFERENCE_BACKEND": "torch"} | environment
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=env, cwd=ROOT, start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )  # fmt: skip
        return self

    def log(self) -> str:
        """What it has said so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        """kill -9: the worker and its children are gone in the middle of whatever they did."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self):
        """End it as an operator would; after some seconds by force."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


def wait_until(condition, *, timeout_s: float, what: str, every_s: float = 0.1):
    """Return the first true value of `condition()`; name `what` was awaited when it never comes."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"{what} did not happen within {timeout_s} s")


def another_database(*, migrated: bool = False) -> str:
    """Make a database in the cluster of this run, without tables or with empty ones, and return its address."""
    name = f"leukoweb_{secrets.token_hex(4)}"
    return _make_database(name, f' TEMPLATE "{migrated_postgresql()}"' if migrated else "")


def _make_database(name: str, how: str = "") -> str:
    import psycopg

    address, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"{how}')
    return f"{address}/{name}"


def migrated_sqlite() -> Path:
    """Return a database file with the tables of this version and no rows: made once per run, to be copied."""
    folder = _once("sqlite", lambda folder: _migrate(folder, f"sqlite:///{folder / 'leukoweb.sqlite3'}"))
    return folder / "leukoweb.sqlite3"


def migrated_postgresql() -> str:
    """Return the name of such a database in the cluster of this run."""
    _once("postgresql", lambda folder: _migrate(folder, _make_database("leukoweb_migrated")))
    return "leukoweb_migrated"


def _migrate(folder: Path, url: str) -> None:
    environment = os.environ | {"DATABASE_URL": url, "LEUKOWEB_DATA_DIR": str(folder)}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that the first process of this run to ask for it fills; the others wait for it."""
    folder = Path(os.environ["LEUKOWEB_TEST_FOLDER"]) / f"migrated-{name}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


class S3:
    """A real S3 server (moto's) in a process of its own; its objects end with it."""

    def __init__(self):
        self.address = f"http://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent,
        )  # fmt: skip
        wait_until(self._answers, timeout_s=60, what="the S3 server")

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()
