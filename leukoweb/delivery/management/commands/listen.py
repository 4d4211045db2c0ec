"""The command `listen`: the process that takes orders and blood counts."""

import asyncio
import signal

from django.core.management.base import BaseCommand

from leukoweb.delivery.listening import listen


class Command(BaseCommand):
    """Listen for the active interfaces until the process is asked to end."""

    help = "Listen for orders (HL7 v2 over MLLP) and blood counts (HL7, ASTM) on the ports of the active interfaces."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Run the listener."""
        asyncio.run(_until_asked())


async def _until_asked() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await listen(stop)
