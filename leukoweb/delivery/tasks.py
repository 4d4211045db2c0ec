"""The periodic task that collects and sends results and applies parked counts; each round is harmless to repeat."""

from celery import shared_task

from leukoweb.delivery.models import SENDING, Interface
from leukoweb.delivery.outbox import collect, send_due
from leukoweb.delivery.services import settle_parked


@shared_task(name="leukoweb.delivery.tasks.deliver_results")
def deliver_results() -> None:
    """Write and send what every active interface owes, and let parked blood counts join their cases."""
    settle_parked()
    for interface in Interface.objects.filter(is_active=True, direction__in=SENDING):
        collect(interface)
        send_due(interface)
