"""Say in sentences what is wrong with this installation, and what to do about it."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from leukoweb.ops.doctor import examine

SHOWN = {"ok": "ok      ", "warning": "look at ", "failed": "ACT     "}


class Command(BaseCommand):
    help = "Examine this installation; exit code 1 where somebody must act, with --strict also for warnings."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--strict", action="store_true", help="warnings count as failures")
        parser.add_argument("--quiet", action="store_true", help="say only what is wrong")

    def handle(self, *, strict: bool, quiet: bool, **options: Any) -> None:
        found = examine()
        for check in found:
            if check.state != "ok" or not quiet:
                self.stdout.write(f"{SHOWN[check.state]}{check.name}: {check.words}")
        bad = {"failed", "warning"} if strict else {"failed"}
        if count := sum(check.state in bad for check in found):
            self.stdout.write(f"{count} of {len(found)} checks ask for somebody to act.")
            sys.exit(1)
        self.stdout.write(f"{len(found)} checks: nobody must act.")
