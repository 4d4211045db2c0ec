"""The one task of this room: the readers of the demonstration come back until the detector has read its cases."""

import logging

from celery import Task, shared_task

from leukoweb.analysis.services import BROKER_AWAY, impatient_broker
from leukoweb.ops.demo_reading import read_cases, unread_cases

COME_BACK_S = 5
TRIES = 720  # an hour
log = logging.getLogger(__name__)


@shared_task(bind=True, max_retries=TRIES)
def read_demonstration(self: Task) -> None:
    """Let the demo cases be reviewed, handed over and signed; harmless to repeat."""
    if not read_cases():
        raise self.retry(countdown=COME_BACK_S)


def ask_readers() -> None:
    """Send the readers to their cases, where some wait; a broker that is away is asked at the next start."""
    if not unread_cases():
        return
    try:
        with impatient_broker() as broker:
            read_demonstration.apply_async(connection=broker)
    except BROKER_AWAY as error:
        log.warning("the demo cases wait for their readers, the broker did not answer: %s", type(error).__name__)
