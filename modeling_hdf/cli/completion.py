"""`hdf completion`: a shell completion script, written by shtab."""

import argparse

from ..data.extras import needs_module
from .commands import TRAINING_COMMANDS, build_parser
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the script."""
    needs_module("shtab", "completion", "hdf completion")
    import shtab

    print(shtab.complete(_whole_parser(), shell=arguments.shell))
    return Outcome()


def _whole_parser() -> argparse.ArgumentParser:
    """The parser of all commands, with the training options; listing these imports torch."""
    from .pretrain import training_parser as pretraining_parser
    from .train import training_parser

    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, build in zip(TRAINING_COMMANDS, (training_parser, pretraining_parser), strict=True):
        commands.choices[name] = build()
    return parser
