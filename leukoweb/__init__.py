"""The Django project: accounts, cases, analysis, review and audit; it does not know how cells are found."""

from leukoweb.celery import app as celery_app

__all__ = ["celery_app"]
__version__ = "1.3.0"
