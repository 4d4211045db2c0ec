"""Check that database and stored images agree."""

from django.core.management.base import BaseCommand, CommandError

from leukoweb.ops.store_check import problems_of_store


class Command(BaseCommand):
    help = "Check that every stored image has its row, every row its file, and that hashes match."

    def add_arguments(self, parser):
        parser.add_argument("--quick", action="store_true", help="do not read the files: names and sizes only")

    def handle(self, *args, quick=False, **options):
        found = 0
        for problem in problems_of_store(read_files=not quick):
            found += 1
            self.stdout.write(problem)
        if found:
            raise CommandError(f"{found} problems in the store.")
        self.stdout.write("The store is whole: every row has its file, every file its row, every hash is right.")
