"""Make an installation ready to run: database, static files, and on its first day accounts and cases."""

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from leukoweb.analysis.services import release_left_runs, release_lost_runs
from leukoweb.ops.demo import first_cases, make_accounts, password_file
from leukoweb.ops.demo_orders import order_film
from leukoweb.ops.tasks import ask_readers
from leukoweb.refusals import Refused


class Command(BaseCommand):
    help = "Migrate, collect static files, make the demo accounts and the first cases; safe to repeat."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--images", type=Path, help="register a case from these images, no demonstration")
        parser.add_argument("--only-worker", action="store_true", help="no other worker runs: what runs now is lost")

    def handle(self, *args: Any, images: Path | None = None, only_worker: bool = False, **options: Any) -> None:
        call_command("upgrade", verbosity=0, stdout=StringIO())
        call_command("collectstatic", interactive=False, verbosity=0)
        if only_worker:
            release_left_runs()
            release_lost_runs(silent_since=timezone.now() + timedelta(seconds=1))
        try:
            password = make_accounts(settings.DEMO_PASSWORD)
        except ValidationError as error:
            raise CommandError(f"LEUKOWEB_DEMO_PASSWORD is too weak: {' '.join(error.messages)}") from None
        if password:
            shown = "the one in LEUKOWEB_DEMO_PASSWORD" if settings.DEMO_PASSWORD else password
            self.stdout.write(
                f"Accounts: technologist, pathologist, admin. Their password: {shown}   (kept in {password_file()})"
            )
        try:
            cases = first_cases(images)
        except Refused as reason:
            raise CommandError(str(reason)) from None
        for case in cases:
            self.stdout.write(f"Case {case.accession_number} is registered; the detector reads it now.")
        if cases and images is None:
            self.stdout.write(f"Case {order_film().accession_number} is ordered and has a blood count, no slide yet.")
        ask_readers()
