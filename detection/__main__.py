"""`leukocytes COMMAND`, in a checkout also `python -m detection COMMAND`: the command line of the detection package.

It maps commands to the modules that own them; only the module of the command that is run is imported.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

# Command: the module with its `add_command`, and what it is for.
COMMANDS = {
    "find": ("detection.lab.finding", "find and type the leukocytes of one image"),
    "quantise": ("detection.lab.quantising", "write the int8 form of a detector beside its weights"),
    "gate": (
        "detection.lab.measuring.gate",
        "try bfloat16 and int8 against float32 here; the fastest that passes is used by the product",
    ),
    "pseudo": ("detection.lab.data.pseudo", "label tiles of whole fields with a detector, checked by the stain"),
    "looks": (
        "detection.lab.measuring.looking",
        "how many findings a person must look at, and how many errors slip through",
    ),
    "cover": ("detection.lab.measuring.covering", "nuclei in boxes and boxes without nucleus, on unlabelled fields"),
    "bench": (
        "detection.lab.measuring.speed",
        "speed and training against plain ultralytics, cost of the worker path, peak memory",
    ),
    "prepare": ("detection.lab.data.prepare", "make one checked, split and hashed data set of several sources"),
    "boxes": ("detection.lab.data.derive_boxes", "compare derived boxes (stain, detector) with drawn ones"),
    "train": ("detection.lab.training.training", "train a detector, or resume a run that was stopped"),
    "average": (
        "detection.lab.training.averaging",
        "average the weights of two checkpoints, the second trained on from the first",
    ),
    "evaluate": (
        "detection.lab.measuring.report",
        "measure a detector: AP with intervals, precision, recall, confusion, reliability, speed",
    ),
    "compare": (
        "detection.lab.training.comparison",
        "train and measure the five YOLO generations on one split (the seed's Table 2)",
    ),
    "leave-out": ("detection.lab.training.leave_out", "what is lost on each source that was not trained on"),
    "calibrate": (
        "detection.lab.measuring.calibration",
        "fit a detector to a laboratory's stain from 30 to 500 labelled cells",
    ),
    "release": ("detection.lab.measuring.release", "make a detector version: weights and card"),
    "release-film": ("detection.lab.measuring.film", "the same for a detector of red cells and platelets"),
}


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of the one that is asked for."""
    parser = argparse.ArgumentParser(prog="leukocytes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traceback", action="store_true", help="show where in the program an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((argument for argument in arguments if argument in COMMANDS), None)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if name == asked:
            importlib.import_module(module).add_command(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2, and one sentence, where what was asked for cannot be done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = build_parser(arguments).parse_args(arguments)
        return options.run(options) or 0
    except Exception as error:
        # DetectorRefused and ImageRefused are recognised by name: commands that do without them do not import them.
        refusals = {"DetectorRefused", "ImageRefused"}
        is_refusal = isinstance(error, ValueError | OSError | ModuleNotFoundError) or type(error).__name__ in refusals
        if "--traceback" in arguments or not is_refusal:
            raise
        asked = next((argument for argument in arguments if argument in COMMANDS), "")
        print(f"leukocytes {asked}: {sentence(error)}", file=sys.stderr)
        return 2


def sentence(error: Exception) -> str:
    """Say in one line what was wrong: for a file its name, for anything else the error's own words."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed. Install what this command needs: pip install 'leukoweb[lab]'"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
