"""The `hdf` command.

    hdf data check dfew --data-dir DFEW --fold 1
    hdf evaluate outputs/dfew --dataset dfew --data-dir DFEW --fold 1
    hdf report outputs/synthetic
    hdf convert videomae.pth OUT
    hdf data publish folder OUT --data-dir my_videos --license cc-by-4.0 --name "My faces"
    hdf push outputs/dfew owner/hdf-dfew

`hdf COMMAND --help` explains each command. Exit codes: 0 if it went well, 1 if a check failed or the input is bad,
2 for a wrong call.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import register_auto_classes
from .convert import add_convert_parser
from .data import add_check_parser, add_publish_parser
from .evaluate import add_calibrate_parser, add_evaluate_parser, add_folds_parser
from .faces import add_faces_parser
from .push import add_push_parser
from .report import add_report_parser


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `func`, which takes the parsed arguments and returns the exit code."""
    parser = argparse.ArgumentParser(prog="hdf", description="HDF: dynamic facial expression recognition.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    data = commands.add_parser("data", help="check, prepare and publish datasets")
    data_commands = data.add_subparsers(metavar="COMMAND", required=True)
    add_check_parser(data_commands)
    add_faces_parser(data_commands)
    add_publish_parser(data_commands)
    add_evaluate_parser(commands)
    add_calibrate_parser(commands)
    add_folds_parser(commands)
    add_report_parser(commands)
    add_convert_parser(commands)
    add_push_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the `hdf` command and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    register_auto_classes()
    if arguments[:1] in (["train"], ["pretrain"], ["predict"]):
        return import_module(f".{arguments[0]}", __package__).main(arguments[1:])
    parsed = build_parser().parse_args(arguments)
    parsed.command = shlex.join(["hdf", *arguments])  # for the record of what was run
    try:
        return parsed.func(parsed)
    except (OSError, ValueError) as error:
        print(f"hdf: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
