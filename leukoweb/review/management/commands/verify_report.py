"""Verify exported report bundles offline, or the whole chain of signed reports in the database; it changes nothing."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.accounts.models import Laboratory
from leukoweb.review.models import Report
from leukoweb.review.reports.ledger import general_problems, problems_of_report
from leukoweb.review.reports.seal import FIRST, bundle_of, canonical, problems_of


class Command(BaseCommand):
    """`manage.py verify_report FILE...` or `manage.py verify_report --all`; exit code 1 when something differs."""

    help = (
        "Verify sealed report bundles (no database is asked), or with --all every signed report of this installation."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", type=Path, help="bundles that “Sealed bundle” on a report saved")
        parser.add_argument("--seal", help="the seal as printed on paper: unmasks a bundle that was sealed anew")
        parser.add_argument("--all", action="store_true", help="verify all reports and hold them against the audit")

    def handle(self, *, files: list[Path], seal: str | None, **options: Any) -> None:
        if not files and not options["all"]:
            raise CommandError("Name a bundle, or use --all.")
        problems = []
        for file in files:
            try:
                found = problems_of(file.read_bytes(), expected_seal=seal)
            except OSError as error:
                found = [f"The file cannot be read: {error.strerror}."]
            problems += self._say(str(file), found)
        if options["all"]:
            for laboratory in Laboratory.objects.order_by("pk"):
                problems += self._chain(laboratory)
            if found := general_problems():
                problems += self._say("the audit and the reports", found)
        if problems:
            raise CommandError(f"{len(problems)} problem{'s' if len(problems) != 1 else ''} found.")

    def _chain(self, laboratory: Laboratory) -> list[str]:
        """Verify every signed report of a laboratory and that each follows the one before it."""
        previous, problems = (0, FIRST), []
        signed = Report.objects.filter(case__laboratory=laboratory, state=Report.State.SIGNED).order_by("sequence")
        signed = signed.select_related("case__patient")
        for report in signed.iterator(chunk_size=50):
            found = problems_of(canonical(bundle_of(
                report.content, sequence=report.sequence, previous_seal=report.previous_seal, seal=report.seal
            )))  # fmt: skip
            if (report.sequence, report.previous_seal) != (previous[0] + 1, previous[1]):
                found.append("It does not follow the report signed before it: one is missing or was replaced.")
            found += problems_of_report(report)
            previous = report.sequence, report.seal
            problems += self._say(f"report {report.pk}, version {report.version}", found)
        return problems

    def _say(self, name: str, found: list[str]) -> list[str]:
        self.stdout.write(f"{name}: {'unchanged' if not found else 'NOT what was signed'}")
        for problem in found:
            self.stdout.write(f"  {problem}")
        return found
