"""The worker's hourly look at accounts: ended sessions are removed."""

from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_sessions() -> None:
    """Remove the rows of sessions that have ended."""
    call_command("clearsessions")
