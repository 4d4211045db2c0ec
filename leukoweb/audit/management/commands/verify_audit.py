"""Verify the audit chain from its first row: says how many events hold, or names the first broken row."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.audit.chain import first_broken, guard_is_set
from leukoweb.audit.models import Event


class Command(BaseCommand):
    help = "Verify the audit chain; with --head also that an exported head is still part of it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--head", type=Path, help="a head written earlier by `manage.py audit_head`")

    def handle(self, *args: Any, head: Path | None = None, **options: Any) -> None:
        broken = first_broken(Event.objects.order_by("id").iterator(chunk_size=2000))
        if broken:
            raise CommandError(f"The audit chain is broken at row {broken[0]}: {broken[1]}.")
        if not guard_is_set():
            raise CommandError("The chain holds, but the triggers that protect the table are not all there.")
        if head:
            exported = json.loads(head.read_text())
            if not Event.objects.filter(id=exported["id"], hash=exported["hash"]).exists():
                raise CommandError(f"The head of {exported['day']} is not in the chain: the table was written anew.")
        self.stdout.write(f"{Event.objects.count()} events, the chain holds.")
