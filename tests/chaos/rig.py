"""What an installation runs, as real processes over a scratch folder, and a supervisor that starts again what ended."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import psycopg
import requests

from leukoweb.run import web_command
from tests import services

DISK = "600m"
READY_LIMIT_S = 180


class Part:
    """One program of the installation in a process group of its own."""

    def __init__(self, name, command, rig):
        self.name, self.command, self.rig, self.process = name, command, rig, None
        self.is_wanted = True

    def start(self):
        """Start it; what it says goes to a log beside the others."""
        with open(self.rig.logs / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=services.ROOT, env=self.rig.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        """Send a signal to the whole group, as a machine or a container does that goes away."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self):
        """End the group at once."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def readers(self, run=None):
        """The processes of a worker that read a slide, or this run: those that hold its mark."""
        mark, found = f"/locks/run-{run}-" if run else "/locks/run-", []
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                if any(mark in file.path for file in child.open_files()):
                    found.append(child)
        return found


class Rig:
    """PostgreSQL, broker, two workers, web and listener; `folder` is a disk of its own where root may mount one."""

    def __init__(self, folder):
        self.folder, self.disk, self.logs = folder, folder / "data", folder / "logs"
        for place in (self.disk, self.logs):
            place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", self.disk]
        self.has_own_disk = os.getuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
        self.database = services.Postgresql(services.postgresql_programs())
        self.broker = services.Broker(folder)
        self.port, self.orders_port = services.free_port(), services.free_port()
        with psycopg.connect(f"{self.database.url.rsplit('/', 1)[0]}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE leukoweb")
        self.broker.start()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEUKOWEB_", "DJANGO_"))}
        ours = {
            "DATABASE_URL": self.database.url,
            "BROKER_URL": f"redis+socket://{services.broker_socket(folder)}",
            "DJANGO_SETTINGS_MODULE": "leukoweb.settings",
            "LEUKOWEB_DATA_DIR": str(self.disk),
            "LEUKOWEB_ENV_FILE": "",
            "LEUKOWEB_IDLE_MINUTES": "1440",  # they sign in once, and some wait long for their turn
            "LEUKOWEB_DISK_RESERVE_MB": "16",
            "LEUKOWEB_INFERENCE_BACKEND": "torch",
            "LEUKOWEB_STATICFILES_BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
            "LEUKOWEB_UPLOAD_RATE": "100000/min",
            "DETECTION_THREADS": "1",
        }
        self.environment = kept | ours
        self.web = Part("web", web_command(self.port), self)
        self.listener = Part("listener", [sys.executable, "manage.py", "listen"], self)
        self.workers = [Part(name, self._worker(name), self) for name in ("one", "two")]
        self.parts = [self.web, self.listener, *self.workers]
        self.is_over = threading.Event()
        self.supervisor = threading.Thread(target=self._supervise, daemon=True)

    def _worker(self, name):
        return [
            sys.executable, "-m", "celery", "-A", "leukoweb", "worker", "-n", f"{name}@%h", "-P", "prefork", "-c", "1",
            "-B", "-s", str(self.folder / f"beat-{name}"), "-Q", "celery,runs,long,film", "--loglevel=INFO",
        ]  # fmt: skip

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start everything and wait until it answers."""
        for part in self.parts:
            part.start()
        self.supervisor.start()
        services.wait_until(self.answers, timeout_s=READY_LIMIT_S, what="the start of web and listener")

    def _supervise(self):
        """Start again what ended, as the restart policy of a container does."""
        while not self.is_over.wait(0.5):
            for part in self.parts:
                if part.is_wanted and not part.is_alive:
                    part.signal(signal.SIGKILL)  # what is left of its group
                    part.start()

    def answers(self):
        """Whether web and listener answer."""
        try:
            socket.create_connection(("127.0.0.1", self.orders_port), timeout=2).close()
            return requests.get(f"{self.url}/health/ready/", timeout=5).ok
        except (OSError, requests.RequestException):
            return False

    def rows(self, query, *values):
        """Ask the database past the product; None while it is away."""
        try:
            with psycopg.connect(self.database.url, connect_timeout=2) as connection:
                return connection.execute(query, values or None).fetchall()
        except psycopg.Error:
            return None

    def stop(self):
        """End everything at once and free the disk."""
        self.is_over.set()
        if self.supervisor.is_alive():
            self.supervisor.join()
        for part in self.parts:
            if part.process is not None:
                part.signal(signal.SIGCONT)
                part.kill()
        time.sleep(0.2)
        if self.broker.process is not None:
            self.broker.process.send_signal(signal.SIGCONT)
        self.broker.forget()
        self.database.stop()
        if self.has_own_disk:
            subprocess.run(["umount", "--lazy", self.disk], check=True)
