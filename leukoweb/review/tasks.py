"""What the worker does for review: flags that a change made unknown, critical results, and who wants a film counted."""

from celery import shared_task

from leukoweb.review.criticals.detection import look_at_late_counts
from leukoweb.review.criticals.escalation import escalate, send_notices
from leukoweb.review.criticals.exceptions import end_exceptions
from leukoweb.review.findings.detected import ask_for_counts
from leukoweb.review.urgency import work_out_flags


@shared_task
def store_flags() -> None:
    """Store the flags of open cases whose cells, WBC or policy have changed, and what late blood counts say.

    Harmless when it runs twice.
    """
    work_out_flags()
    look_at_late_counts()


@shared_task
def escalate_criticals() -> None:
    """Tell the next person of each open critical result, and send the notices that are due; harmless to repeat.

    Before it, exceptions whose last day is over end.
    """
    end_exceptions()
    escalate()
    send_notices()


@shared_task
def ask_film_counts() -> None:
    """Have red cells and platelets counted for the laboratories that want it; harmless to repeat."""
    ask_for_counts()
