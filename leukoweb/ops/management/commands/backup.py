"""Make a backup of database and images."""

import sqlite3
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.ops.backup import back_up
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = "Copy database, images and secret key into a new folder under TARGET; the product may go on running."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", type=Path)

    def handle(self, *args: Any, target: Path, **options: Any) -> None:
        try:
            folder = back_up(target.resolve())
        except (Refused, OSError, sqlite3.Error) as reason:
            raise CommandError(f"No backup was made: {reason}") from None
        has_key = (folder / "secret_key").exists()
        holds = "patient records and the secret key" if has_key else "patient records"
        self.stdout.write(f"The backup is in {folder}. It holds {holds}: keep it locked.")
        if not has_key:
            self.stdout.write(
                "It does not hold the secret key, which is in the environment (LEUKOWEB_SECRET_KEY): keep the key as "
                "well. With another key every second factor has to be enrolled anew."
            )
