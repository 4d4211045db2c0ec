"""The Celery application: it finds the tasks and takes every setting from Django."""

import os
import signal
from typing import Any

from billiard.process import current_process
from celery import Celery
from celery.signals import (
    beat_embedded_init,
    before_task_publish,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_ready,
)
from django.conf import settings
from kombu.transport import redis

from leukoweb import requests
from leukoweb.processes import end_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")

app = Celery("leukoweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(
    [
        "leukoweb.accounts", "leukoweb.analysis", "leukoweb.audit", "leukoweb.delivery", "leukoweb.review",
        "leukoweb.ops",
    ]
)  # fmt: skip


class QoS(redis.QoS):
    """What a worker holds unacknowledged: its place is free although a broker that hangs took no acknowledgement.

    kombu keeps the place, so that a worker that takes one message at a time would never take another. The broker
    delivers such a message again after the visibility timeout; the claim of its run makes that harmless.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, or raise what the broker's connection raises."""
        try:
            super().ack(delivery_tag)
        finally:
            self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Refuse a message, or raise what the broker's connection raises."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            self._quick_ack(delivery_tag)


redis.Channel.QoS = QoS

before_task_publish.connect(requests.send_along)
task_prerun.connect(requests.take_over)
task_postrun.connect(requests.let_go)


@worker_ready.connect
def sweep_at_start(sender: Any, **_: Any) -> None:
    """Let a worker that starts look at once for runs whose message was lost."""
    sender.app.send_task("leukoweb.analysis.tasks.sweep", kwargs={"patience_s": 0})


@worker_process_init.connect
def trace(**_: Any) -> None:
    """Trace the tasks of this process where a collector is named."""
    if settings.TRACES_URL:
        from leukoweb import tracing

        tracing.start("worker")


@worker_process_init.connect
@beat_embedded_init.connect
def end_with_worker(**_: Any) -> None:
    """Let the children of a worker that was killed die with it: the sweep gives their run to another."""
    if set_signal := end_with_parent(signal.SIGKILL, parent=current_process()._parent_pid or os.getppid()):
        set_signal()
