"""`hdf completion`: a shell completion script, written by shtab."""

import argparse

from ..data.extras import needs_module
from .commands import TRAINING_COMMANDS, build_parser
from .outcome import Outcome
from .training import whole_parser


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the script."""
    needs_module("shtab", "completion", "hdf completion")
    import shtab

    print(shtab.complete(_whole_parser(), shell=arguments.shell))
    return Outcome()


def _whole_parser() -> argparse.ArgumentParser:
    """The parser of all commands, with the training options; listing these imports torch."""
    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    commands.choices.update({name: whole_parser(name) for name in TRAINING_COMMANDS})
    return parser
