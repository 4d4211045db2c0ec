"""Throw-away programs of a bench or a test run: a free port, and a PostgreSQL cluster that ends with its process.

It needs neither Django nor an installation.
"""

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from leukoweb.processes import end_with_parent


def postgresql_programs() -> Path | None:
    """Return the folder of initdb and postgres: on PATH, or where Debian puts them."""
    on_path = shutil.which("initdb")
    folders = ([Path(on_path).resolve().parent] if on_path else []) + [
        Path(folder) for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    ]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process: subprocess.Popen | None, signal_number: int = signal.SIGTERM) -> None:
    """End a process of ours and wait for it."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal_number)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unprivileged() -> dict[str, Any]:
    """Popen arguments that leave root behind: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Postgresql:
    """A throw-away PostgreSQL cluster; `url` is that of a database that may still have to be made."""

    def __init__(self, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="leukoweb-pg-", dir="/tmp"))  # noqa: S108  a new folder of its own
        account = _unprivileged()
        if account:
            os.chown(self.folder, account["user"], account["group"])
        self.port = free_port()
        self.password = secrets.token_hex(16)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
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
        self.command = [str(programs / "postgres"), "-D", cluster, *options]
        self.url = self.url_of("leukoweb")
        self.start()

    def start(self) -> None:
        """Start the server over its cluster and wait until it answers."""
        with open(self.folder.with_suffix(".log"), "ab") as self.log:
            self.process = subprocess.Popen(
                self.command, stdout=self.log, stderr=self.log, cwd=self.folder, start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGINT), **_unprivileged(),
            )  # fmt: skip
        self._wait()

    def url_of(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgres://leukoweb:{self.password}@127.0.0.1:{self.port}/{name}"

    def make(self, name: str) -> str:
        """Make an empty database and return its address."""
        with self._connect(autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def _connect(self, **options: Any) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="leukoweb", password=self.password, dbname="postgres", **options
        )

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + 30
        while True:
            try:
                self._connect().close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(Path(self.log.name).read_text(errors="replace")) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End the cluster at once and remove it."""
        end(self.process, signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(self.log.name).unlink(missing_ok=True)
