"""The worker's hourly look at the audit: the head of yesterday is kept as a file."""

import json
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from leukoweb.audit.services import head_of


@shared_task
def keep_head() -> None:
    """Write yesterday's head once, to be signed and carried elsewhere (`verify_audit --head FILE` checks it)."""
    day = timezone.localdate() - timedelta(days=1)
    path = settings.DATA_DIR / "audit-heads" / f"audit-head-{day}.json"
    head = None if path.exists() else head_of(day)
    if head:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head, indent=2))
