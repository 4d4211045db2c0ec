"""The Celery application: it finds the tasks and takes every setting from Django; it knows no slide."""

import os

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")

app = Celery("leukoweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["leukoweb.accounts", "leukoweb.analysis", "leukoweb.audit"])


@worker_ready.connect
def sweep_at_start(sender, **_):
    """Let a worker that starts look at once for runs whose bell was lost."""
    sender.app.send_task("leukoweb.analysis.tasks.sweep", kwargs={"patience_s": 0})
