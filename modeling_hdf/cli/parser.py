"""The parser of the command line: it refuses abbreviated options, suggests near names, and checks values early.

Nothing here imports torch, so that a wrong call gets its error at once.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn

from ..pretrained import SHIPPED

# Names of [`~modeling_hdf.data.arguments.BUILDERS`], whose module imports torch.
DATASETS = ("cremad", "dfew", "fer2013", "ferv39k", "folder", "mafw", "ravdess", "synthetic")


def near_names(wrong: str, known: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"`, or nothing."""
    near = get_close_matches(wrong, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


class CommandParser(argparse.ArgumentParser):
    """`argparse` without abbreviated options; its errors suggest options and commands with near names."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        # Sub-parsers use this method too: each refuses unknown options itself and suggests its own.
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            self.error(f"unrecognized argument {unknown[0]}{near_names(unknown[0].partition('=')[0], options)}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            known = ", ".join(map(str, action.choices))
            message = (
                f"invalid choice {value!r}{near_names(str(value), map(str, action.choices))} (choose from {known})"
            )
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {message}\n")


class WrongCallError(ValueError):
    """Options that do not fit each other or the dataset; the exit code is that of an unknown option, 2."""


def common_options() -> argparse.ArgumentParser:
    """Options of every command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="print errors alone")
    common.add_argument("--json", action="store_true", help="print the result as JSON on stdout, all else on stderr")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return common


def take_common_options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The common options of a command line, and its other arguments, which another parser reads."""
    chosen = argparse.Namespace(quiet=False, json=False, debug=False)
    rest = []
    for argument in arguments:
        name = argument.removeprefix("--")
        if argument.startswith("--") and hasattr(chosen, name):
            setattr(chosen, name, True)
        else:
            rest.append(argument)
    return chosen, rest


# ---- types ----


def existing_folder(text: str) -> str:
    """Type of an option that names a folder."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text}: there is no such folder")
    return text


def existing_file(text: str) -> str:
    """Type of an option that names a file."""
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{text}: there is no such file")
    return text


def model_name(text: str) -> str:
    """Type of an option that names a model: a folder, a Hub repository, a checkpoint in the package, or an `.onnx`
    file."""
    owner, slash, name = text.partition("/")
    is_repository = bool(owner and slash and name) and "/" not in name and not os.path.isdir(owner)
    is_onnx = text.endswith(".onnx") and os.path.isfile(text)
    if os.path.isdir(text) or text in SHIPPED or is_onnx or (is_repository and not text.endswith(".onnx")):
        return text
    raise argparse.ArgumentTypeError(
        f"{text}: there is no such folder (a repository of the Hub is written owner/name; "
        f"{' and '.join(SHIPPED)} ship)"
    )


def model_folder(text: str) -> str:
    """Type of an option that names the folder of a model, or a checkpoint that ships."""
    return text if text in SHIPPED else existing_folder(text)


def repository_name(text: str) -> str:
    """Type of an option that names a repository of the Hub."""
    owner, _, name = text.partition("/")
    if not (owner and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text}: a repository of the Hub is written owner/name")
    return text


def json_object(text: str) -> dict:
    """Type of an option that takes fields as JSON."""
    from ..data.files import unique_fields  # imports torch, as every command with such an option does

    try:
        fields = json.loads(text, object_pairs_hook=unique_fields)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise argparse.ArgumentTypeError("must be a JSON object of field to value")
    return fields


def names(text: str) -> tuple[str, ...]:
    """Type of an option that takes names separated by commas."""
    return tuple(name.strip() for name in text.split(","))


def at_least(low: int):
    """Type of an option that takes a whole number of `low` or more."""

    def whole_number(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is no whole number of {low} or more")
        return int(text)

    return whole_number


def seconds(text: str) -> float:
    """Type of an option that takes seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return value


def count_or_share(text: str) -> int | float:
    """Type of an option that takes a number of clips (5) or a share of the clips (0.01)."""
    try:
        value = float(text) if set(text) & set(".eE") else int(text)
    except ValueError:
        value = -1
    if value < 0 or (isinstance(value, float) and value > 1):
        raise argparse.ArgumentTypeError(f"{text} is neither a number of clips (5) nor a share of them (0.01)")
    return value


def print_error(prog: str, message: str) -> None:
    """Prints one line on stderr."""
    print(f"{prog}: error: {message}", file=sys.stderr)


__all__ = [
    "DATASETS",
    "CommandParser",
    "WrongCallError",
    "at_least",
    "common_options",
    "count_or_share",
    "existing_file",
    "existing_folder",
    "json_object",
    "model_folder",
    "model_name",
    "names",
    "near_names",
    "print_error",
    "repository_name",
    "seconds",
    "take_common_options",
]
