"""Print the head of the audit chain of one day as JSON, to be signed and kept elsewhere."""

import json
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from leukoweb.audit.services import head_of


class Command(BaseCommand):
    help = "Print the last event's hash of a day (default: today). Sign the file and keep it outside the machine."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--day", type=date.fromisoformat, help="YYYY-MM-DD")

    def handle(self, *args: Any, day: date | None = None, **options: Any) -> None:
        head = head_of(day or timezone.localdate())
        if head is None:
            raise CommandError("There is no event on or before that day.")
        self.stdout.write(json.dumps(head, indent=2))
