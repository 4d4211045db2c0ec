"""Is everything there that the product needs: each check answers in plain words; it knows no patient and no secret."""

import shutil
from dataclasses import dataclass
from hashlib import sha256

import redis.exceptions
from celery import current_app
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from kombu.exceptions import OperationalError as BrokerError

from leukoweb.analysis.models import DetectorVersion, Run
from leukoweb.delivery.outbox import undelivered

FREE_DISK_WARNING_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `state` is ok, warning (work goes on) or failed (somebody must act)."""

    name: str
    state: str
    words: str


def look() -> list[Check]:
    """Look at everything once."""
    database = database_check()
    checks = [database, broker_check(), worker_check(), disk_check(), pdf_check()]
    if database.state == "ok":
        checks[3:3] = [queue_check(), detector_check(), results_check()]
    return checks


def database_check() -> Check:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return Check("database", "failed", "The database does not answer: nothing can be read or stored.")
    return Check("database", "ok", f"{connection.display_name} answers.")


def broker_check() -> Check:
    try:
        with current_app.connection_for_read() as broker:
            broker.default_channel.client.ping()
    except (BrokerError, OSError, redis.exceptions.RedisError):
        words = "The broker does not answer: uploads are kept and wait, and are sent once it is back."
        return Check("broker", "failed", words)
    return Check("broker", "ok", "The broker answers.")


def worker_check() -> Check:
    try:
        answers = current_app.control.ping(timeout=1.0, limit=1)
    except (BrokerError, OSError, redis.exceptions.RedisError):
        return Check("worker", "failed", "No worker can be asked while the broker is away.")
    if not answers:
        return Check("worker", "failed", "No worker answers: slides wait until one is started.")
    return Check("worker", "ok", "A worker answers.")


def results_check() -> Check:
    owed = undelivered()
    if owed:
        words = f"{owed} results of signed or rejected cases are not delivered: see Messages."
        return Check("results", "warning", words)
    return Check("results", "ok", "Every result that is due was acknowledged.")


def queue_check() -> Check:
    waiting = Run.objects.filter(state=Run.State.QUEUED).count()
    running = Run.objects.filter(state=Run.State.RUNNING).count()
    return Check("queue", "ok", f"{waiting} slides wait, {running} at work.")


def detector_check() -> Check:
    version = DetectorVersion.objects.filter(is_active=True).first()
    if version is None:
        return Check("detector", "warning", "No detector is active yet: the shipped one is taken at the first slide.")
    weights = version.weights
    if not weights.is_file():
        return Check("detector", "failed", f"The weights of {version} are not in their place.")
    with weights.open("rb") as file:
        digest = sha256(file.read()).hexdigest()
    if digest != version.sha256:
        return Check("detector", "failed", f"The weights of {version} have been changed: their SHA-256 is another one.")
    return Check("detector", "ok", f"{version}, SHA-256 {version.sha256[:12]}…")


def disk_check() -> Check:
    free = shutil.disk_usage(settings.DATA_DIR).free
    words = f"{free / 2**30:.0f} GiB are free for images."
    if free < settings.DISK_RESERVE_BYTES:
        return Check("disk", "failed", f"{words} Uploads are refused until some space is freed.")
    return Check("disk", "warning" if free < FREE_DISK_WARNING_BYTES else "ok", words)


def pdf_check() -> Check:
    try:
        import weasyprint  # noqa: F401  it needs Pango, which pip does not bring
    except OSError:
        words = "Pango is missing: reports can be printed from the browser, not made as PDF. Install libpangoft2-1.0-0."
        return Check("PDF", "warning", words)
    return Check("PDF", "ok", "Reports can be made as PDF.")
