"""The periodic task that collects and sends results; each round is harmless to repeat."""

from celery import shared_task

from leukoweb.delivery.models import Interface
from leukoweb.delivery.outbox import collect, send_due


@shared_task(name="leukoweb.delivery.tasks.deliver_results")
def deliver_results() -> None:
    """Write and send what every active interface owes."""
    for interface in Interface.objects.filter(is_active=True, direction=Interface.Direction.RESULTS_OUT):
        collect(interface)
        send_due(interface)
