"""`hdf train` and `hdf pretrain` before torch is imported: early checks, and the launch of several processes.

hdf train --recipe dfew --data-dir DFEW --fold 1
hdf train --accelerate_config multi_gpu --num_processes 4 --recipe dfew --data-dir DFEW --fold 1
accelerate launch -m modeling_hdf train --recipe dfew --data-dir DFEW --fold 1  # by accelerate itself
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from .. import register_auto_classes
from ..configuration import configuration_path
from .outcome import Outcome
from .parser import existing_folder, print_error, take_common_options

# Of `accelerate launch`, what changes from machine to machine.
_LAUNCH_OPTIONS = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")


def prepare_training(name: str, arguments: list[str]) -> tuple[argparse.Namespace, Callable[[], Outcome]]:
    """
    Reads of a command line what can be told without torch.

    Args:
        name (`str`): `"train"` or `"pretrain"`.
        arguments (`list[str]`): the command line after it.

    Returns:
        The common options, and what runs the command: in this process or, with `--accelerate_config`, in those of a
        launch. Exits with a message for a recipe, a launch configuration or a data folder that does not exist.
    """
    prog = f"hdf {name}"
    launch = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    for option in ("accelerate_config", *_LAUNCH_OPTIONS):
        launch.add_argument(f"--{option}", f"--{option.replace('_', '-')}")
    launch_options, rest = launch.parse_known_args(arguments)
    common, own = take_common_options(rest)
    early = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    early.add_argument("--recipe", default="synthetic")
    early.add_argument("--data_dir", "--data-dir", type=existing_folder)
    known, _ = early.parse_known_args(own)
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


def _train(name: str, arguments: list[str]) -> Outcome:
    register_auto_classes()
    return import_module(f".{name}", __package__).run(arguments)


def _launch(arguments: list[str]) -> Outcome:
    command = [sys.executable, "-m", "accelerate.commands.launch", *arguments]
    return Outcome(code=subprocess.run(command).returncode)


__all__ = ["prepare_training"]
