"""The way out where one administrator is all there is: `leukoweb reset_account USERNAME` on the server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.accounts.models import Reset, User
from leukoweb.accounts.resets import reset_on_server


class Command(BaseCommand):
    help = "Give an account a temporary password, or remove its second factor; its next signatures say so for a week."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--second-factor", action="store_true", help="remove the second factor instead")

    def handle(self, *args: Any, username: str, second_factor: bool, **options: Any) -> None:
        user = User.objects.filter(username__iexact=username).first()
        if user is None:
            raise CommandError(f"There is no account named {username}.")
        kind = Reset.Kind("second_factor" if second_factor else "password")
        password = reset_on_server(user, kind)
        said = (
            f"The temporary password is {password}   (shown only now)" if password else "The second factor is removed."
        )
        self.stdout.write(said)
