"""Copy the store from the data folder to the bucket, or back."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.ops.store_moving import copy_in, copy_out
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = (
        "Copy originals, viewer tiles and cell pictures to the bucket that LEUKOWEB_S3_BUCKET names, or back into the "
        "data folder, and read every original back. It can be broken off and run again. Stop web and workers first."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("where", choices=["to-bucket", "to-folder"])

    def handle(self, *args: Any, where: str, **options: Any) -> None:
        if not settings.S3_BUCKET:
            raise CommandError("Set LEUKOWEB_S3_BUCKET and the settings beside it: they name the bucket.")
        folder = settings.FOLDER_STORE_DIR
        try:
            copied = copy_in(folder) if where == "to-bucket" else copy_out(folder)
        except (Refused, OSError) as reason:
            raise CommandError(f"Broken off: {reason} Run the command again; it goes on where it stopped.") from None
        for problem in copied.problems:
            self.stdout.write(problem)
        self.stdout.write(f"There and read back: {copied.originals} originals; {copied.archives} archives of tiles.")
        if copied.problems:
            raise CommandError(f"{len(copied.problems)} originals could not be copied whole.")
        if where == "to-folder":
            self.stdout.write("Now empty LEUKOWEB_S3_BUCKET, start, and run leukoweb check_store.")
        else:
            self.stdout.write(f"Now start, and run leukoweb check_store; then {folder} can be removed.")
