"""Fill an empty database with invented cases, to try an installation of a laboratory's size."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.ops.seed import Plan, fill
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = (
        "Fill an empty PostgreSQL with invented cases, three slides each, and signed reports; refused where cases are."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cases", type=int, default=1000)
        parser.add_argument("--cells", type=int, default=100, help="of each case")
        parser.add_argument("--open", type=int, default=200, dest="open_cases", help="cases that are not signed")
        parser.add_argument("--seed", type=int, default=1, help="the same number makes the same cases")

    def handle(self, *, cases: int, cells: int, open_cases: int, seed: int, **options: Any) -> None:
        started = time.monotonic()
        try:
            fill(Plan(cases=cases, cells=cells, open_cases=open_cases, seed=seed))
        except Refused as reason:
            raise CommandError(str(reason)) from None
        self.stdout.write(
            f"{cases:,} cases, {3 * cases:,} slides and {cases * cells:,} cells in {time.monotonic() - started:.0f} s. "
            "The accounts seeded-technologist, seeded-pathologist and seeded-admin have no password: "
            "leukoweb reset_account gives one."
        )
