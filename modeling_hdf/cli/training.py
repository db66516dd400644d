"""The part of `hdf train` and `hdf pretrain` before torch is imported: early checks, and the launch of processes.

hdf train --recipe dfew --data-dir DFEW --fold 1
hdf train --accelerate_config multi_gpu --num_processes 4 --recipe dfew --data-dir DFEW --fold 1
accelerate launch -m modeling_hdf train --recipe dfew --data-dir DFEW --fold 1  # by accelerate itself
"""

import argparse
import ast
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..configuration import configuration_path
from .outcome import Outcome
from .parser import common_options, existing_folder, near_names, print_error, take_common_options
from .start import prepare_transformers

_DEFINED_IN = {
    "train": {
        "modeling_hdf.cli.train": ("ScriptArguments",),
        "modeling_hdf.data.arguments": ("DataArguments",),
        "modeling_hdf.training.arguments": ("HDFTrainingArguments",),
        "transformers.training_args": ("TrainingArguments",),
    },
    "pretrain": {
        "modeling_hdf.cli.pretrain": ("ScriptArguments",),
        "modeling_hdf.training.pretraining": ("PretrainingDataArguments", "PretrainingArguments"),
        "transformers.training_args": ("TrainingArguments",),
    },
}
# Options of `accelerate launch` that differ from machine to machine.
_LAUNCH_OPTIONS = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")


def prepare_training(name: str, arguments: list[str]) -> tuple[argparse.Namespace, Callable[[], Outcome]]:
    """
    Reads the parts of a command line that do not need torch.

    Args:
        name (`str`): `"train"` or `"pretrain"`.
        arguments (`list[str]`): the command line after it.

    Returns:
        The common options, and a function that runs the command: in this process or, with `--accelerate_config`, in
        launched processes. Exits with a message for a recipe, a launch configuration or a data folder that does not
        exist, and for an unknown option.
    """
    prog = f"hdf {name}"
    launch = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    _add_launch_options(launch)
    launch_options, rest = launch.parse_known_args(arguments)
    common, own = take_common_options(rest)
    usage = f"{prog} [--recipe RECIPE] [--ARGUMENT VALUE ...]  (--help lists them)"
    early = argparse.ArgumentParser(prog=prog, usage=usage, add_help=False, allow_abbrev=False)
    early.add_argument("--recipe", default="synthetic")
    early.add_argument("--data_dir", "--data-dir", type=existing_folder)
    known, _ = early.parse_known_args(own)
    fields = field_names(name)
    for option in (argument.partition("=")[0] for argument in own if argument.startswith("--")):
        field = option[2:].replace("-", "_")
        if field not in fields | {"help"} and field.removeprefix("no_") not in fields:
            near = near_names(f"--{field}", (f"--{each}" for each in fields))
            early.error(f"unrecognized argument {option}{near}")
    try:
        configuration_path(name, known.recipe)
        config = launch_options.accelerate_config
        path = None if config is None else configuration_path("accelerate", config)
    except FileNotFoundError as error:
        print_error(prog, str(error))
        raise SystemExit(2) from error
    if path is None:
        return common, partial(_train, name, own)
    given = {option: getattr(launch_options, option) for option in _LAUNCH_OPTIONS}
    options = [f"--{option}={value}" for option, value in given.items() if value is not None]
    return common, partial(_launch, ["--config_file", str(path), *options, "-m", "modeling_hdf", name, *rest])


def field_names(name: str) -> set[str]:
    """
    The options of `hdf train` or `hdf pretrain`, without their dashes. They are read from the source of the
    dataclasses that define them, because importing these imports torch. A test compares them with the parser's.
    """
    fields = set()
    for module, classes in _DEFINED_IN[name].items():
        package, _, rest = module.partition(".")
        file = Path(find_spec(package).origin).parent.joinpath(*rest.split(".")).with_suffix(".py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in classes:
                fields |= {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
    return fields


def whole_parser(name: str) -> argparse.ArgumentParser:
    """All options of `hdf train` or `hdf pretrain`, which the command itself reads in three steps. Imports torch."""
    parser = import_module(f".{name}", __package__).training_parser()
    _add_launch_options(parser)
    for action in common_options()._actions:
        if action.option_strings[0] not in parser._option_string_actions:  # transformers has its own --debug
            parser.add_argument(*action.option_strings, action="store_true", help=action.help)
    return parser


def _add_launch_options(parser: argparse.ArgumentParser) -> None:
    for option in ("accelerate_config", *_LAUNCH_OPTIONS):
        parser.add_argument(f"--{option}", f"--{option.replace('_', '-')}")


def _train(name: str, arguments: list[str]) -> Outcome:
    prepare_transformers()
    return import_module(f".{name}", __package__).run(arguments)


def _launch(arguments: list[str]) -> Outcome:
    command = [sys.executable, "-m", "accelerate.commands.launch", *arguments]
    return Outcome(code=subprocess.run(command).returncode)


__all__ = ["prepare_training", "whole_parser"]
