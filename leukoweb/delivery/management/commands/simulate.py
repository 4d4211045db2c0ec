"""The command `simulate lis`: a hospital system and an analyser on loopback, to try the interfaces with."""

import asyncio
import sys
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from leukoweb.delivery.network import NotDelivered
from leukoweb.delivery.simulator import Places, play


class Command(BaseCommand):
    """Order films, send blood counts, receive results and print them with their acknowledgement."""

    help = "Play a hospital system and an analyser against a running `leukoweb listen`; all patients are invented."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which system is played, and where."""
        parser.add_argument("system", choices=["lis"])
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--orders", type=int, default=2575, help="port of the interface of orders; 0: none")
        parser.add_argument("--counts", type=int, default=2576, help="port of the ASTM interface; 0: none")
        parser.add_argument("--results", type=int, default=2577, help="port to receive results on; 0: none")
        parser.add_argument("--patients", type=int, default=3, help="how many orders are placed")
        parser.add_argument("--until", type=int, help="end after so many results; otherwise at Ctrl-C")
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args: object, **options: Any) -> None:
        """Play until the results are there, or Ctrl-C."""
        asked = {name: options[name] for name in ("host", "orders", "counts", "results")}
        until = options["until"] if options["until"] is not None else sys.maxsize

        def say(line: str) -> None:
            self.stdout.write(line)
            self.stdout.flush()

        playing = play(Places(**asked), count=options["patients"], results=until, seed=options["seed"], say=say)
        with suppress(KeyboardInterrupt):
            try:
                asyncio.run(playing)
            except NotDelivered as reason:
                raise CommandError(f"{reason} Is `leukoweb listen` running, and are the interfaces active?") from None
            except OSError as error:
                raise CommandError(f"Port {options['results']} cannot be opened: {error.strerror}.") from None
