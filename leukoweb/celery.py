"""The Celery application: it finds the tasks and takes every setting from Django; it knows no slide."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")

app = Celery("leukoweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["leukoweb.analysis"])
