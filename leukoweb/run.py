"""`make run`: web, worker and broker together on one machine, until Ctrl-C or until one of them dies.

It starts and ends programs and speaks to the person at the terminal.
"""

import argparse
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import TextIO

from leukoweb.places import ROOT, home
from leukoweb.processes import broker_command, broker_socket, end_with_parent, remove_broker_files

START_LIMIT_S = 120
LOG_KEPT_BYTES = 5 * 2**20


class CannotRun(Exception):
    """Say in one sentence why the product does not start, and what to do."""


class Stopped(Exception):
    """Ctrl-C, or a request to end."""


class Child:
    """One program of ours: its output goes to its log, it ends with us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        patience_s: float,
        nice: int = 0,
        last_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name, self.patience_s = name, patience_s
        self.log_path = folder / "logs" / f"{name}.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_KEPT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        end_with_us = end_with_parent(last_signal)

        def before() -> None:
            os.nice(nice)
            if end_with_us:
                end_with_us()

        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we end the children in order.
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=before,
            )  # fmt: skip

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join("  " + line for line in self.log_path.read_text(errors="replace").splitlines()[-8:])

    def stop(self) -> None:
        """Ask it to end; after its patience is over, end it and its children by force."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(self.patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; the exit code is 0 after Ctrl-C, 1 when something failed."""
    parser = argparse.ArgumentParser(prog="leukoweb run", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--data", type=Path, default=home() / "data", help="folder of database, images and broker")
    parser.add_argument("--images", type=Path, help="register the first case from these images, no demonstration")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        run(port=options.port, data_dir=options.data.expanduser().resolve(), images=options.images)
    except Stopped:
        return 0
    except CannotRun as reason:
        print(f"\nLeukoWeb does not run: {reason}", file=sys.stderr)
        return 1
    return 0


def run(*, port: int, data_dir: Path, images: Path | None) -> None:
    """Start broker, worker and web over `data_dir` and watch them; they are ended in the opposite order."""
    if images and not images.is_dir():
        raise CannotRun(f"IMAGES={images} is no folder. Name a folder of JPEG, PNG, BMP or TIFF files.")
    if importlib.util.find_spec("torch") is None:
        raise CannotRun("the worker's libraries are not installed. Install them: pip install 'leukoweb[worker]'")
    _check_port(port)
    lock = _lock(data_dir)
    os.environ["LEUKOWEB_DATA_DIR"] = str(data_dir)
    figures = figures_folder(data_dir)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(figures))
    # Hashed names, not compressed: nothing is gained on one machine, and the first start is 25 s faster.
    os.environ.setdefault("LEUKOWEB_STATICFILES_BACKEND", "leukoweb.static_files.StaticFiles")
    children: list[Child] = []
    try:
        if not os.environ.get("BROKER_URL"):
            _start_broker(data_dir, children)
        prepare = [sys.executable, "-m", "leukoweb", "prepare", "--only-worker"]
        if images:
            prepare += ["--images", str(images.resolve())]
        if subprocess.run(prepare, cwd=ROOT, stdin=subprocess.DEVNULL).returncode != 0:
            raise CannotRun("the database or the first case could not be prepared; the reason stands above.")
        # Should we be killed: a worker that is asked to end would finish its slide first.
        for name, command, nice in (("worker", worker_command(), 5), ("long-worker", long_worker_command(), 10)):
            children.append(Child(name, command, data_dir, patience_s=4, nice=nice, last_signal=signal.SIGKILL))
        children.append(Child("web", web_command(port), data_dir, patience_s=5))
        _wait_for(lambda: _serves(port), children)
        print(f"LeukoWeb is at http://localhost:{port}/   (logs: {data_dir / 'logs'}; Ctrl-C stops it)", flush=True)
        while True:
            _check(children)
            time.sleep(0.5)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for child in reversed(children):
            child.stop()
        shutil.rmtree(figures, ignore_errors=True)
        lock.close()
        if children:
            print("LeukoWeb has stopped.", flush=True)


def _start_broker(data_dir: Path, children: list[Child]) -> None:
    """Start the embedded broker; where it ends over its files, which a power cut may have damaged, it begins anew."""
    for is_first_try in (True, False):
        children.append(Child("broker", broker_command(data_dir), data_dir, patience_s=10))
        try:
            _wait_for(lambda: _answers_at(broker_socket(data_dir)), children)
            return
        except CannotRun:
            if not is_first_try or children[-1].process.poll() is None:
                raise
            children.pop().stop()
            remove_broker_files(data_dir, why="cannot be read")


def worker_command() -> list[str]:
    """The command of the worker: one run at a time, with the clock of the sweep."""
    return [*_celery("worker"), "-B", "-Q", "celery,runs"]


def long_worker_command() -> list[str]:
    """The command of the worker that reads what takes long, so that nothing short waits behind it."""
    return [*_celery("long"), "-Q", "long,film"]


def _celery(name: str) -> list[str]:
    return [
        sys.executable, "-m", "celery", "-A", "leukoweb", "worker", "-n", f"{name}@%h", "-P", "prefork", "-c", "1",
        "--loglevel=INFO", "--without-gossip", "--without-mingle",
    ]  # fmt: skip


def web_command(port: int) -> list[str]:
    """The command of the web server, for this machine only."""
    return [
        sys.executable, "-m", "gunicorn", "leukoweb.wsgi", "--worker-class", "leukoweb.serving.Worker",
        "--workers", "2", "--threads", "8", "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "3",
        # Idle connections outlive those of a proxy (60 s): else a request is sent into one that is just being closed.
        "--keep-alive", "75",
        # A process that grew is replaced. A line of any length is read, so that a long address gets its answer (414).
        "--no-control-socket", "--max-requests", "10000", "--max-requests-jitter", "2000", "--limit-request-line", "0",
    ]  # fmt: skip


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def figures_folder(data_dir: Path) -> Path:
    """Return the empty folder in which the web processes keep their figures together: in memory where that is a disk.

    The figures are mapped files: who writes one on a full disk is ended by the system (SIGBUS), and the images fill
    the disk of the data folder.
    """
    memory = Path("/dev/shm")  # noqa: S108  a name of our own in it, for this user alone
    own = memory / f"leukoweb-{os.getuid()}-{sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    folder = own if os.access(memory, os.W_OK) else data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            another = port + 1 if 1024 <= port < 65000 else 8001
            raise CannotRun(
                f"port {port} is in use or not allowed. Choose another one: make run PORT={another}"
            ) from None


def _lock(data_dir: Path) -> TextIO:
    """Hold the folder for us alone: two brokers over one file would destroy it."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(data_dir / "run.lock", "w")  # noqa: SIM115  held until the end
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotRun(f"it already runs over {data_dir}. Stop that one, or choose another folder: DATA=.") from None
    except OSError as error:
        raise CannotRun(f"{data_dir} cannot be used ({error.strerror}). Choose another folder with DATA=.") from None
    return lock


def _check(children: Iterable["Child"]) -> None:
    for child in children:
        code = child.process.poll()
        if code is not None:
            raise CannotRun(
                f"the {child.name} ended with code {code}. Its last words ({child.log_path}):\n{child.last_words()}"
            )


def _wait_for(condition: Callable[[], bool], children: Sequence["Child"]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not condition():
        _check(children)
        if time.monotonic() > deadline:
            raise CannotRun(
                f"the {children[-1].name} did not answer within {START_LIMIT_S} s; see {children[-1].log_path}."
            )
        time.sleep(0.1)


def _answers_at(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_path))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _serves(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in/", timeout=5).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
