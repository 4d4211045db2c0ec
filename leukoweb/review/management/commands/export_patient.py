"""The command line of review.exports.export_patient."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.cases.models import Patient
from leukoweb.review.reports.exports import export_patient


class Command(BaseCommand):
    help = "Write everything that is stored about one patient, with names: keep it as you keep the chart."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("mrn", help="medical record number")
        parser.add_argument("folder", type=Path, help="a new or empty folder")
        parser.add_argument("--laboratory", required=True, help="the laboratory's name")

    def handle(self, *, mrn: str, folder: Path, laboratory: str, **options: Any) -> None:
        try:
            found = Patient.objects.get(mrn=mrn, laboratory__name=laboratory)
            number = export_patient(found, folder)
        except Patient.DoesNotExist as error:
            raise CommandError("That laboratory has none of this number: check the number and the name.") from error
        except FileExistsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Written, with {number} cases.")
