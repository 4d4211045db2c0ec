"""`python -m detection COMMAND`: the command line of the detection package.
It knows only which module owns which command; torch is imported when a command that needs it runs.
"""

import argparse
import sys

from detection.lab import bench, finding
from detection.lab.data import pseudo
from detection.lab.measuring import covering, gate, speed


def build_parser():
    """Return the parser of all commands; each command's carries its function as `run`."""
    parser = argparse.ArgumentParser(prog="python -m detection", description=__doc__.splitlines()[0])
    parser.add_argument("--traceback", action="store_true", help="show where in the program an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    finding.add_command(commands)
    gate.add_command(commands)
    pseudo.add_command(commands)
    covering.add_command(commands)
    speed.add_command(commands)
    bench.add_commands(commands)
    return parser


def main(arguments=None):
    """Run one command and return its exit code: 2, and one sentence, where what was asked for cannot be done."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except Exception as error:
        # DetectorRefused is known by its name: its module is not imported for commands that do without.
        is_refusal = isinstance(error, ValueError | OSError) or type(error).__name__ == "DetectorRefused"
        if options.traceback or not is_refusal:
            raise
        print(f"{parser.prog} {options.command}: {sentence(error)}", file=sys.stderr)
        return 2


def sentence(error):
    """Say in one line what was wrong: for a file its name, for anything else the error's own words."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
