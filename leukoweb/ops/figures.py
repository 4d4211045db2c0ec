"""The figures of an installation, counted from rows and disk when somebody asks: for Prometheus and the system page.

No label holds a name, a number or anything else of a patient; each has a short, fixed list of values.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

import numpy as np
from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Min
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from detection.cell_types import CELL_TYPES, CODES
from leukoweb.analysis.models import Cell, Run
from leukoweb.delivery.models import Message
from leukoweb.delivery.outbox import undelivered
from leukoweb.ops.health import look_seldom
from leukoweb.sentences import translated

DAY = timedelta(days=1)
PACE_OF_RUNS = 500  # newest ones of the day, from which the run times are taken
COUNTED_FOR_S = 60  # the cells of a day are counted so often at most, however many ask
WAITING_MESSAGES = (Message.State.QUEUED, Message.State.DEAD, Message.State.HELD, Message.State.PARKED)
TITLES = {
    "leukoweb_runs": _("Slides queued and being analysed"),
    "leukoweb_queue_age_seconds": _("Oldest waiting slide"),
    "leukoweb_runs_day": _("Analyses of the last 24 hours"),
    "leukoweb_run_seconds": _("Run time in the last 24 hours"),
    "leukoweb_cells_day": _("Cells found in the last 24 hours"),
    "leukoweb_messages": _("Messages waiting"),
    "leukoweb_results_undelivered": _("Results not delivered at first try"),
    "leukoweb_disk_bytes": _("Disk of the images"),
    "leukoweb_disk_free_bytes": _("Free on that disk"),
    "leukoweb_backup_age_seconds": _("Age of the last backup"),
}
LABELS = {
    **{kind.code: kind.short for kind in CELL_TYPES},
    **dict(Message.State.choices),
    "queued": _("queued"),
    "running": _("being analysed"),
    "done": _("done"),
    "failed": _("failed"),
    "scale_asked": _("scale to be stated"),
    "stat": "STAT",
    "0.5": _("median"),
    "0.95": _("95% within"),
}
CHECK_VALUES = {"ok": 0, "warning": 1, "failed": 2}


class Figures(Collector):
    """Yield one family of figures after another, each counted now."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count everything that /metrics and the system page show."""
        build = GaugeMetricFamily("leukoweb_build", "Version of the product; always 1", labels=["version"])
        build.add_metric([settings.VERSION], 1)
        yield build
        yield from _queue()
        yield from _ended_runs()
        yield _cells()
        yield from _messages()
        yield from _disk()
        checks = GaugeMetricFamily("leukoweb_check", "State of a check: 0 ok, 1 warning, 2 failed", labels=["check"])
        for check in look_seldom():
            checks.add_metric([check.name], CHECK_VALUES[check.state])
        yield checks


def registry() -> CollectorRegistry:
    """Return the figures as Prometheus' library prints them."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Figures())
    return made


def in_words() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each figure for a person: what it is, and its values with the label of each."""
    rows = []
    for family in Figures().collect():
        values = [(_label(one.labels), _value(family.name, one.value)) for one in family.samples]
        if values and family.name in TITLES:
            rows.append((str(TITLES[family.name]), values))
    return rows


def _label(labels: dict[str, str]) -> str:
    """Say the labels of a figure as people do: types of cells by their names."""
    return " ".join(translated(str(LABELS.get(label, label))) for label in labels.values())


def _value(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return filesizeformat(value)
    if name.endswith("_seconds"):
        return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"
    return f"{value:.0f}"


def last_backup() -> datetime | None:
    """When `leukoweb backup` ended last on this installation; None where it never did."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return datetime.fromisoformat(json.loads(settings.LAST_BACKUP_FILE.read_text())["made_at"])
    return None


def _queue() -> Iterator[GaugeMetricFamily]:
    """Count the runs that wait and those at work, and how long the oldest waits."""
    now = timezone.now()
    runs = GaugeMetricFamily("leukoweb_runs", "Runs by state and priority", labels=["state", "priority"])
    age = GaugeMetricFamily("leukoweb_queue_age_seconds", "Age of the oldest waiting run", labels=["priority"])
    for is_stat, priority in ((True, "stat"), (False, "routine")):
        queued = Run.objects.filter(state=Run.State.QUEUED, is_stat=is_stat)
        seen = queued.aggregate(count=Count("pk"), oldest=Min("queued_at"))
        running = Run.objects.filter(state=Run.State.RUNNING, is_stat=is_stat).count()
        runs.add_metric(["queued", priority], seen["count"])
        runs.add_metric(["running", priority], running)
        age.add_metric([priority], max((now - seen["oldest"]).total_seconds(), 0) if seen["oldest"] else 0)
    yield runs
    yield age


def _ended_runs() -> Iterator[GaugeMetricFamily]:
    """Say how the runs of the last day ended and how long they took."""
    of_day = Run.objects.filter(queued_at__gte=timezone.now() - DAY)
    ended = GaugeMetricFamily("leukoweb_runs_day", "Runs queued in the last 24 hours, by result", labels=["result"])
    ended.add_metric(["done"], of_day.filter(state=Run.State.DONE).count())
    failed = of_day.filter(state=Run.State.FAILED)
    ended.add_metric(["failed"], failed.filter(scale_choices__isnull=True).count())
    ended.add_metric(["scale_asked"], failed.filter(scale_choices__isnull=False).count())
    yield ended
    times = of_day.filter(state=Run.State.DONE, started_at__isnull=False, finished_at__isnull=False)
    times = times.order_by("-pk").values_list("started_at", "finished_at")[:PACE_OF_RUNS]
    seconds = [(finished - started).total_seconds() for started, finished in times]
    took = GaugeMetricFamily("leukoweb_run_seconds", "Run time in the last 24 hours, by quantile", labels=["quantile"])
    if seconds:
        for quantile in ("0.5", "0.95"):
            took.add_metric([quantile], float(np.quantile(seconds, float(quantile))))
    yield took


def _cells() -> GaugeMetricFamily:
    """Count the detector's cells of the last day by type."""

    def count() -> dict[str, int]:
        cells = Cell.objects.filter(run__queued_at__gte=timezone.now() - DAY, run__is_shadow=False, added_by=None)
        return dict(cells.values_list("detector_code").annotate(Count("pk")).order_by())

    found = None
    with suppress(OSError):  # of a full disk, where the cache lies
        found = cache.get_or_set("cells-of-day", count, COUNTED_FOR_S)
    found = count() if found is None else found
    cells = GaugeMetricFamily("leukoweb_cells_day", "Cells found in the last 24 hours, by type", labels=["type"])
    for code in CODES:
        cells.add_metric([code], found.get(code, 0))
    return cells


def _messages() -> Iterator[GaugeMetricFamily]:
    """Count the messages that wait for somebody or something."""
    found = dict(
        Message.objects.filter(state__in=WAITING_MESSAGES).values_list("state").annotate(Count("pk")).order_by()
    )
    messages = GaugeMetricFamily("leukoweb_messages", "Messages that are not settled, by state", labels=["state"])
    for state in WAITING_MESSAGES:
        messages.add_metric([str(state)], found.get(str(state), 0))
    yield messages
    yield GaugeMetricFamily("leukoweb_results_undelivered", "Results not delivered at first try", value=undelivered())


def _disk() -> Iterator[GaugeMetricFamily]:
    """Say how much room the images have, and how old the last backup is."""
    usage = shutil.disk_usage(settings.DATA_DIR)
    yield GaugeMetricFamily("leukoweb_disk_bytes", "Size of the disk of the data folder", value=usage.total)
    yield GaugeMetricFamily("leukoweb_disk_free_bytes", "Free space on the disk of the data folder", value=usage.free)
    if made_at := last_backup():
        age_s = (timezone.now() - made_at).total_seconds()
        yield GaugeMetricFamily("leukoweb_backup_age_seconds", "Time since the last backup ended", value=age_s)
