"""Bring a laboratory's calibration into the product: `manage.py register_calibration SITE.json --laboratory NAME`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.accounts.models import Laboratory
from leukoweb.analysis.detectors import register_calibration, switch_calibration
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason


class Command(BaseCommand):
    help = "Take in what `python -m detection calibrate` fitted to a laboratory's stain."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("site", type=Path, help="the file that `python -m detection calibrate` wrote")
        parser.add_argument("--laboratory", required=True, help="name of the laboratory it was fitted for")
        parser.add_argument("--activate", metavar="REASON", help="use it for new runs from now on, and why")

    def handle(self, *, site: Path, laboratory: str, activate: str | None, **options: Any) -> None:
        try:
            owner = Laboratory.objects.get(name=laboratory)
            reason = checked_reason(activate or "")
            calibration = register_calibration(site, owner)
        except Laboratory.DoesNotExist as error:
            raise CommandError(f"There is no laboratory named {laboratory}.") from error
        except Refused as error:
            raise CommandError(f"The calibration was not registered: {error}") from error
        if reason:
            switch_calibration(calibration, is_active=True, by=None, reason=reason)
        state = "active" if reason else "not yet active: an administrator activates it on the page of the detector"
        self.stdout.write(f"The calibration of {calibration} is registered and {state}.")
