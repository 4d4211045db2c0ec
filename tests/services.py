"""Starters of the real programs that tests use: a PostgreSQL cluster, a broker, a Celery worker; nothing here asserts.

They listen in temporary folders or on free ports of this machine and end with the test run, however it ends.
"""

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leukoweb.processes import broker_command, broker_socket, end_with_parent

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"


def postgresql_programs() -> Path | None:
    """The folder of initdb and postgres: on PATH, or where Debian puts them."""
    on_path = shutil.which("initdb")
    folders = ([Path(on_path).resolve().parent] if on_path else []) + [
        Path(folder) for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    ]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def chromium() -> str | None:
    """The browser that the browser tests drive."""
    return CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium") or shutil.which("chromium-browser")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _unprivileged() -> dict:
    """Popen arguments that leave root behind: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Postgresql:
    """A throw-away PostgreSQL cluster of this test run."""

    def __init__(self, programs: Path):
        self.folder = Path(tempfile.mkdtemp(prefix="leukoweb-pg-", dir="/tmp"))
        account = _unprivileged()
        if account:
            os.chown(self.folder, account["user"], account["group"])
        self.port = free_port()
        password = secrets.token_hex(16)
        password_file = self.folder / "password"
        password_file.write_text(password)
        password_file.chmod(0o644 if account else 0o600)
        cluster = str(self.folder / "cluster")
        subprocess.run(
            [programs / "initdb", "-D", cluster, "-U", "leukoweb", "-A", "scram-sha-256", "--pwfile", password_file,
             "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd=self.folder, **account,
        )  # fmt: skip
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                    "synchronous_commit": "off", "full_page_writes": "off", "max_connections": 100}  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.command, self.password = [programs / "postgres", "-D", cluster, *options], password
        self.url = f"postgres://leukoweb:{password}@127.0.0.1:{self.port}/leukoweb"
        self.start()

    def start(self):
        """Start the server over its cluster and wait until it answers."""
        with open(self.folder.with_suffix(".log"), "ab") as self.log:
            self.process = subprocess.Popen(
                self.command, stdout=self.log, stderr=self.log, cwd=self.folder, start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGINT), **_unprivileged(),
            )  # fmt: skip
        self._wait()

    def _wait(self):
        import psycopg

        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(
                    host="127.0.0.1", port=self.port, user="leukoweb", password=self.password, dbname="postgres"
                ).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(Path(self.log.name).read_text(errors="replace")) from None
                time.sleep(0.05)

    def stop(self):
        """End the cluster at once and remove it."""
        end(self.process, signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(self.log.name).unlink(missing_ok=True)


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


def end(process, signal_number=signal.SIGTERM):
    """End a process of ours and wait for it."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal_number)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition, *, timeout_s: float, what: str, every_s: float = 0.1):
    """Return the first true value of `condition()`; name `what` was awaited when it never comes."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"{what} did not happen within {timeout_s} s")


def another_database() -> str:
    """Make an empty database in the cluster of this run and return its address."""
    import psycopg

    address, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    name = f"leukoweb_{secrets.token_hex(4)}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{address}/{name}"
