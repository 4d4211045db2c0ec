"""What the worker does for the worklist: it works out flags that a change has made unknown."""

from celery import shared_task

from leukoweb.review.urgency import work_out_flags


@shared_task
def store_flags() -> None:
    """Store the flags of open cases whose cells, WBC or policy have changed; harmless when it runs twice."""
    work_out_flags()
