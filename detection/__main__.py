"""`python -m detection COMMAND`: the command line of the detection package.
It knows only which module owns which command; torch is imported when a command that needs it runs.
"""

import argparse
import sys

from detection import bench, covering, finding, gate, pseudo, speed


def main(arguments=None):
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m detection", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    finding.add_command(commands)
    gate.add_command(commands)
    pseudo.add_command(commands)
    covering.add_command(commands)
    speed.add_command(commands)
    bench.add_commands(commands)
    options = parser.parse_args(arguments)
    return options.run(options) or 0


if __name__ == "__main__":
    sys.exit(main())
