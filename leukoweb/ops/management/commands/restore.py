"""Bring a backup back into an empty installation."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.ops.backup import restore
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = "Restore a backup into this empty installation (stop web and worker first) and verify every image."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path)

    def handle(self, *args: Any, source: Path, **options: Any) -> None:
        try:
            images = restore(source.resolve())
        except (Refused, OSError) as reason:
            raise CommandError(f"Not restored: {reason}") from None
        self.stdout.write(f"Restored and verified: {images} images with the hashes that the database names.")
