"""`manage.py recompute_flags`: work the stored flags of open cases out again, and say which ones were wrong."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.cases.models import Case
from leukoweb.review.urgency import cases_that_differ, work_out_flags


class Command(BaseCommand):
    help = "Work out the flags that put open cases in order. With --check: only compare, and fail where one differs."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Change nothing; fail where a stored flag differs.")

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = cases_that_differ()
        if options["check"]:
            if wrong:
                numbers = ", ".join(str(case.pk) for case in wrong[:20])
                raise CommandError(f"{len(wrong)} cases have other flags than are stored: number {numbers}.")
            self.stdout.write("Every stored flag is that of the cells.")
            return
        Case.objects.filter(pk__in=[case.pk for case in wrong]).forget_flags()
        self.stdout.write(f"{len(wrong)} cases were wrong; the flags of {work_out_flags()} cases were worked out.")
