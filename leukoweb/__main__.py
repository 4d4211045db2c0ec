"""`leukoweb COMMAND`: run the product on one machine, or one of Django's and LeukoWeb's management commands.

It only chooses who reads the rest of the command line; `python -m leukoweb` and `manage.py` are the same commands.
"""

import os
import sys


def main() -> None:
    """Hand the command line to `leukoweb run`, else to Django with LeukoWeb's settings."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")
    if sys.argv[1:2] == ["run"]:
        from leukoweb.run import main as run

        sys.exit(run(sys.argv[2:]))
    from django.core.management import execute_from_command_line

    if sys.argv[1:] in ([], ["help"], ["--help"], ["-h"]):
        print("leukoweb run: broker, worker and web together on one machine (leukoweb run --help says more).\n")
    try:
        execute_from_command_line(sys.argv)
    except Exception as error:
        from leukoweb.answers import is_disk_full

        if not is_disk_full(error):
            raise
        sys.exit("The disk is full: the command has stopped. Make room, then run it again.")


if __name__ == "__main__":
    main()
