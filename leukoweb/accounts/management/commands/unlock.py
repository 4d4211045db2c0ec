"""The way out when the only administrator is locked out: `leukoweb unlock USERNAME` on the server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.accounts.models import User
from leukoweb.accounts.services import unlock


class Command(BaseCommand):
    help = "Lift the lock that failed sign-ins set on an account."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username__iexact=username).first()
        if user is None:
            raise CommandError(f"There is no account named {username}.")
        unlock(user, by=None)
        self.stdout.write(f"{user.username} is unlocked.")
