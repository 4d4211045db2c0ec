"""Make the first administrator of an installation, who then invites everybody else."""

import getpass
import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import ADMIN
from leukoweb.audit.services import record


class Command(BaseCommand):
    help = "Make an administrator with a password that must be changed at the first sign-in; it is shown once."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--laboratory", default="Central Laboratory")

    def handle(self, *args: Any, username: str, laboratory: str, **options: Any) -> None:
        password = "-".join(secrets.token_hex(2) for _ in range(5))
        try:
            with transaction.atomic():
                lab = Laboratory.objects.get_or_create(name=laboratory)[0]
                admin = User(username=username, role=ADMIN, laboratory=lab, must_change_password=True)
                admin.set_password(password)
                admin.full_clean()
                admin.save()
                by = f"{getpass.getuser()} at the command line"
                record("account.create", obj=admin, laboratory=lab, changes={"role": [None, ADMIN], "by": by})
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Administrator {username} of {laboratory}. Password until the first sign-in: {password}")
