"""Is everything there that the product needs: each check answers in plain words."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext

from leukoweb.analysis.models import DetectorVersion, FilmCount, Run
from leukoweb.analysis.services import BROKER_AWAY, impatient_broker, seconds_for
from leukoweb.audit import chain
from leukoweb.cases.store import StoreAway, bucket
from leukoweb.delivery.outbox import undelivered
from leukoweb.numbers import number
from leukoweb.review.reports import guard
from leukoweb.review.reports.fonts import can_be_asked, missing_scripts

QUEUE_PATIENCE, STAT_PATIENCE = timedelta(minutes=30), timedelta(minutes=10)
SEEN_FOR_S = 15  # what anybody may ask for is looked at so often at most, however many ask
FREE_DISK_WARNING_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `state` is ok, warning (work goes on) or failed (somebody must act)."""

    name: str
    state: str
    words: str


def look() -> list[Check]:
    """Look at everything once, and keep what was seen for whoever asks soon."""
    database, broker = database_check(), broker_check()
    checks = [database, broker, worker_check(broker), *store_checks(), disk_check(), pdf_check()]
    if database.state == "ok":
        try:
            checks[1:1] = [guards_check(), queue_check(), detector_check(), results_check()]
        except DatabaseError:  # it answers, but a table or a column is not there
            words = "The tables are not those of this version: stop web and workers, then run leukoweb upgrade."
            checks[0] = Check("database", "failed", words)
    with suppress(OSError):  # a full disk, which the look is to find
        cache.set("health-is-fresh", 1, SEEN_FOR_S)
        cache.set("health", checks, 20 * SEEN_FOR_S)
    return checks


def look_seldom() -> list[Check]:
    """Return what was seen lately, by whichever process; look where nobody has for some seconds."""
    with suppress(OSError):  # as above
        is_due, seen = cache.add("health-is-fresh", 1, SEEN_FOR_S), cache.get("health")
        if not is_due and seen is not None:
            return seen
    return look()


def database_check() -> Check:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (OperationalError, InterfaceError):
        return Check("database", "failed", gettext("The database does not answer: nothing can be read or stored."))
    return Check("database", "ok", gettext("%(display_name)s answers.") % {"display_name": connection.display_name})


def guards_check() -> Check:
    """Look whether the database itself still refuses to change events and signed reports."""
    guards = {"the audit": chain.guard_is_set, "signed reports": guard.guard_is_set}
    if lost := [name for name, is_set in guards.items() if not is_set()]:
        words = f"The triggers that keep {' and '.join(lost)} unchanged are missing or off: somebody removed them."
        return Check("append-only", "failed", words)
    return Check("append-only", "ok", gettext("The database refuses to change events of the audit and signed reports."))


def broker_check() -> Check:
    try:
        with impatient_broker() as broker:
            broker.default_channel.client.ping()
    except BROKER_AWAY:
        words = "The broker does not answer: uploads are kept and wait, and are sent once it is back."
        return Check("broker", "failed", words)
    return Check("broker", "ok", gettext("The broker answers."))


def worker_check(broker: Check) -> Check:
    """Ask the workers which queues they take: a queue without a worker is a slide that waits for ever."""
    answers = None
    with suppress(*BROKER_AWAY):
        if broker.state == "ok":
            with impatient_broker() as connected:
                answers = current_app.control.inspect(timeout=1.0, connection=connected).active_queues() or {}
    if answers is None:
        return Check("worker", "failed", gettext("No worker can be asked while the broker is away."))
    if not answers:
        return Check("worker", "failed", gettext("No worker answers: slides wait until one is started."))
    taken = {queue["name"] for queues in answers.values() for queue in queues}
    work = {"celery": "the sweep", settings.RUNS_QUEUE: "slides", settings.LONG_RUNS_QUEUE: "long analyses"}
    if FilmCount.objects.filter(state=FilmCount.State.QUEUED).exists():  # few laboratories want them
        work[settings.FILM_QUEUE] = "red cells and platelets"
    if left := [what for name, what in work.items() if name not in taken]:
        return Check(
            "worker",
            "failed",
            gettext("No worker that answers takes %(names)s: start that worker again.") % {"names": " and ".join(left)},
        )
    if len(answers) < settings.WORKERS:
        words = f"{len(answers)} of {settings.WORKERS} workers answer: slides take longer until the others are started."
        return Check("worker", "warning", words)
    return Check(
        "worker",
        "ok",
        gettext("A worker answers.")
        if len(answers) == 1
        else gettext("%(count)s workers answer.") % {"count": len(answers)},
    )


def results_check() -> Check:
    owed = undelivered()
    if owed:
        words = f"{owed} results of signed or rejected cases are not delivered: see Messages."
        return Check("results", "warning", words)
    return Check("results", "ok", gettext("All due results were acknowledged."))


def queue_check() -> Check:
    runs, now = Run.objects.all(), timezone.now()
    waiting, running = runs.filter(state=Run.State.QUEUED), runs.filter(state=Run.State.RUNNING)
    words = f"{waiting.count()} slides wait, {running.count()} at work."
    if running.filter(seen_at__lt=now - 2 * timedelta(seconds=settings.RUN_SILENT_LIMIT_S)).exists():
        return Check(
            "queue",
            "warning",
            gettext("%(words)s One is with a worker that no longer answers: check the workers.") % {"words": words},
        )
    for is_stat, patience in ((True, STAT_PATIENCE), (False, QUEUE_PATIENCE)):
        if waiting.filter(is_stat=is_stat, queued_at__lt=now - patience).exists():
            late = f"{words} {'A STAT slide' if is_stat else 'One'} waits longer than {patience.seconds // 60} minutes"
            return Check("queue", "warning", gettext("%(late)s: check the workers.") % {"late": late})
    ahead_s = seconds_for(waiting.filter(is_long=False).aggregate(all=Sum("megapixels"))["all"] or 0) / settings.WORKERS
    if ahead_s > QUEUE_PATIENCE.total_seconds():
        return Check(
            "queue",
            "warning",
            gettext("%(words)s At the pace so far they take %(number)s minutes.")
            % {"words": words, "number": number(ahead_s / 60, ".0f")},
        )
    return Check("queue", "ok", words)


def detector_check() -> Check:
    version = DetectorVersion.objects.filter(is_active=True).first()
    if version is None:
        return Check(
            "detector", "warning", gettext("No detector is active yet: the first slide is read with the shipped one.")
        )
    weights = version.weights
    if not weights.is_file():
        return Check("detector", "failed", gettext("The weights of %(version)s are missing.") % {"version": version})
    found = weights.stat()
    if _digest_of(weights, found.st_mtime_ns, found.st_size) != version.sha256:
        return Check(
            "detector",
            "failed",
            gettext("The weights of %(version)s have been changed: their SHA-256 does not match.")
            % {"version": version},
        )
    return Check(
        "detector",
        "ok",
        gettext("%(version)s, SHA-256 %(sha256)s…") % {"version": version, "sha256": version.sha256[:12]},
    )


@lru_cache(maxsize=8)
def _digest_of(path: Path, modified_ns: int, size_bytes: int) -> str:
    """Return a file's SHA-256; read once until the file changes, because anybody may ask for the health."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def disk_check() -> Check:
    free = shutil.disk_usage(settings.DATA_DIR).free
    words = f"{free / 2**30:.0f} GiB are free for images."
    if free < settings.DISK_RESERVE_BYTES:
        return Check(
            "disk", "failed", gettext("%(words)s Uploads are refused until some space is freed.") % {"words": words}
        )
    return Check("disk", "warning" if free < FREE_DISK_WARNING_BYTES else "ok", words)


def store_checks() -> Iterator[Check]:
    """Ask the bucket that holds the images, where one does."""
    if (held := bucket()) is None:
        return
    try:
        held.require_answer()
    except StoreAway:
        yield Check(
            "image store",
            "failed",
            gettext("The image store does not answer: uploads are refused, slides and pictures wait until it is back."),
        )
    else:
        yield Check("image store", "ok", gettext("The image store answers."))


def pdf_check() -> Check:
    try:
        import weasyprint  # noqa: F401  it needs Pango, which pip does not bring
    except OSError:
        words = "Pango is missing: reports can be printed from the browser, not made as PDF. Install libpangoft2-1.0-0."
        return Check("PDF", "warning", words)
    if not can_be_asked():
        return Check("PDF", "warning", gettext("fc-list is missing, so fonts cannot be checked. Install fontconfig."))
    if missing := missing_scripts():
        words = f"No font draws {', '.join(missing)}: such names are missing in a PDF, which then says so. Install "
        return Check("PDF", "warning", gettext("%(words)sfonts-noto-core and fonts-noto-cjk.") % {"words": words})
    return Check("PDF", "ok", gettext("Reports can be made as PDF, with names in every script."))
