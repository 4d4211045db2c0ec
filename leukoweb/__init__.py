"""The Django project: accounts, cases, analysis, review and audit."""

from leukoweb.celery import app as celery_app

__all__ = ["celery_app"]
__version__ = "1.9.0"
