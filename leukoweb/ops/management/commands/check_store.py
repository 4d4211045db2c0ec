"""Check that database and stored images agree."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.ops.store_check import orphans, problems_of_store
from leukoweb.ops.store_check import remove_orphans as remove_files


class Command(BaseCommand):
    help = "Check that every stored image has its row, every row its file, and that hashes match."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quick", action="store_true", help="do not read the files: names and sizes only")
        parser.add_argument(
            "--remove-orphans", type=int, metavar="COUNT",
            help="remove the files without a row, if there are as many as a check before has listed",
        )  # fmt: skip

    def handle(self, *args: Any, quick: bool = False, remove_orphans: int | None = None, **options: Any) -> None:
        if remove_orphans is not None:
            files = orphans()
            if len(files) != remove_orphans:
                raise CommandError(f"{len(files)} files have no row, not {remove_orphans}: check again what is listed.")
            self.stdout.write(f"Removed: {remove_files(files)} files without a row.")
            return
        found = 0
        for problem in problems_of_store(read_files=not quick):
            found += 1
            self.stdout.write(problem)
        if found:
            raise CommandError(f"{found} problems in the store.")
        self.stdout.write("The store is whole: every row has its file, every file its row, every hash is right.")
