"""Bring a trained detector into the product: `manage.py register_detector CARD.json`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.analysis.detectors import activate_detector, adopt_detector
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason


class Command(BaseCommand):
    help = "Check a detector's weights and card, copy them into this installation and register the version."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("card", type=Path, help="the card (JSON); the weights it names lie beside it")
        parser.add_argument("--activate", metavar="REASON", help="use it for new runs from now on, and why")

    def handle(self, *, card: Path, activate: str | None, **options: Any) -> None:
        from detection.inference.detector import DetectorRefused

        try:
            reason = checked_reason(activate or "")
            detector = adopt_detector(card)
        except (DetectorRefused, Refused, OSError, ValueError, KeyError) as error:
            raise CommandError(f"The detector was not registered: {error}") from error
        if reason:
            activate_detector(detector, by=None, reason=reason)
        self.stdout.write(f"{detector} is registered{' and active' if reason else ''}.")
