"""The command line of review.exports.export_case."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.cases.models import Case
from leukoweb.review.reports.exports import export_case


class Command(BaseCommand):
    help = "Write one case without anything that names a person: pixels, cells, differential."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("accession_number", help="accession number")
        parser.add_argument("folder", type=Path, help="a new or empty folder")
        parser.add_argument("--laboratory", required=True, help="the laboratory's name")

    def handle(self, *, accession_number: str, folder: Path, laboratory: str, **options: Any) -> None:
        try:
            found = Case.objects.get(accession_number=accession_number, laboratory__name=laboratory)
            number = export_case(found, folder)
        except Case.DoesNotExist as error:
            raise CommandError("That laboratory has none of this number: check the number and the name.") from error
        except FileExistsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Written, with {number} images.")
