"""Bring the database to this version of the product: its tables, and the detector that the version ships."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from leukoweb.analysis.detectors import active_detector


class Command(BaseCommand):
    help = "Migrate the database and register the shipped detector; safe to repeat."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        self.stdout.write(f"The database is ready; new slides are read by {active_detector()}.")
