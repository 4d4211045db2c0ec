"""Write a laboratory's signed cases as a training set without names."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.accounts.models import Laboratory
from leukoweb.review.studies.training_set import export_training_set


class Command(BaseCommand):
    help = "Write the images and signed labels of a laboratory as YOLO folders without anything that names a patient."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a new or empty folder")
        parser.add_argument("--laboratory", required=True, help="the laboratory's name")

    def handle(self, *, folder: Path, laboratory: str, **options: Any) -> None:
        try:
            images = export_training_set(folder, laboratory=Laboratory.objects.get(name=laboratory))
        except Laboratory.DoesNotExist as error:
            names = ", ".join(Laboratory.objects.values_list("name", flat=True))
            raise CommandError(f"There is no laboratory of that name. There are: {names}.") from error
        except FileExistsError as error:
            raise CommandError(str(error)) from error
        if (left_out := folder / "left-out.csv").exists():
            self.stdout.write(
                f"{len(left_out.read_text().splitlines()) - 1} images were left out: see {left_out.name}."
            )
        self.stdout.write(f"{images} images were written. Read them with: python -m detection prepare")
