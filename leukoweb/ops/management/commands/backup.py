"""Make a backup of database and images."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from leukoweb.ops.backup import back_up
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = "Copy database, images and secret key into a new folder under TARGET; the product may go on running."

    def add_arguments(self, parser):
        parser.add_argument("target", type=Path)

    def handle(self, *args, target, **options):
        try:
            folder = back_up(target.resolve())
        except (Refused, OSError) as reason:
            raise CommandError(f"No backup was made: {reason}") from None
        self.stdout.write(f"The backup lies in {folder}. It holds patient records and the secret key: keep it locked.")
