"""Shared parts of training scripts: arguments from a recipe and the command line, and a model's video processor."""

import argparse
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import yaml
from transformers import AutoConfig, HfArgumentParser, PreTrainedConfig, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.utils import IMAGE_PROCESSOR_NAME, VIDEO_PROCESSOR_NAME, cached_file

from ..backbone_hdf import as_pair
from ..configuration import configuration_path
from ..configuration_hdf import BACKBONES
from ..data.files import unique_fields
from ..video_processing_hdf import HDFVideoProcessor
from .checkpointing import CheckpointError
from .runs import run_record


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the defaults, and keeps the line breaks of the description."""


class RecipeParser(HfArgumentParser):
    """`HfArgumentParser` whose errors name the recipe, because the wrong value may come from it, and not the more than
    a hundred options."""

    recipe: str | None = None

    def error(self, message: str) -> NoReturn:
        usage = f"usage: {self.prog} [--recipe RECIPE] [--ARGUMENT VALUE ...]  (--help lists them)"
        recipe = "" if self.recipe is None else f" (recipe {self.recipe})"
        self.exit(2, f"{usage}\n{self.prog}: error: {message}{recipe}\n")


def recipe_parser(kind: str, dataclasses: Sequence[type], description: str | None = None) -> RecipeParser:
    """
    The parser of a command that takes a recipe.

    Args:
        kind (`str`): `"train"` or `"pretrain"`, see [`configuration_path`].
        dataclasses (`Sequence[type]`): as for [`~transformers.HfArgumentParser`]; one has a field `recipe`.
        description (`str`, *optional*): for `--help`.
    """
    return RecipeParser(
        dataclasses,
        prog=f"hdf {kind}",
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )


def parse_with_recipe(parser: RecipeParser, kind: str, arguments: Sequence[str]) -> tuple:
    """
    Parses the command line into dataclasses; the values of a recipe replace their defaults. `--preset` on the command
    line also replaces the recipe's `model_name_or_path`.

    Args:
        parser ([`RecipeParser`]): see [`recipe_parser`].
        kind (`str`): `"train"` or `"pretrain"`.
        arguments (`Sequence[str]`): the command line after the name of the command.

    Returns the dataclasses' instances. Exits with a message if the recipe is not a mapping or has arguments that the
    dataclasses do not have, or if the command line names both a preset and a checkpoint.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=parser.get_default("recipe"))
    first.add_argument("--preset")
    first.add_argument("--model_name_or_path", "--model-name-or-path")
    given = first.parse_known_args(arguments)[0]
    name = given.recipe
    if given.preset and given.model_name_or_path:
        parser.error("--preset starts from scratch and --model_name_or_path from a checkpoint: give one of them")
    try:
        recipe = yaml.load(configuration_path(kind, name).read_text(encoding="utf-8"), Loader=_RecipeLoader)
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        parser.error(f"recipe {name!r} is no YAML file: {' '.join(str(error).split())}")
    if not isinstance(recipe, dict):
        parser.error(f"recipe {name!r} holds no arguments: it must be a mapping of argument to value")
    unknown = sorted(map(str, set(recipe) - {action.dest for action in parser._actions}))
    if unknown:
        parser.error(f"recipe {name!r} has unknown arguments {unknown}")
    for action in parser._actions:
        if action.dest in recipe:
            _check_kind(parser, name, action, recipe[action.dest])
    parser.recipe = name
    if given.preset:
        recipe.pop("model_name_or_path", None)  # a model from scratch, in place of the recipe's checkpoint
    parser.set_defaults(**recipe)
    try:
        return parser.parse_args_into_dataclasses(arguments)
    except ValueError as error:
        raise ValueError(f"{error} (recipe {name})") from error


class _RecipeLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, which YAML forbids and PyYAML takes the last of."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in written]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"it gives {twice!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


# By the type of an argument: the types that its value in a recipe can have (texts are parsed as on the command line).
_KINDS = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    string_to_bool: ((bool,), "true or false"),
}


def _check_kind(parser: RecipeParser, name: str, action: argparse.Action, value: object) -> None:
    """Exits with a message if a value of a recipe does not fit its argument."""
    kinds, text = _KINDS.get(action.type, (None, ""))
    if kinds is None or value is None or isinstance(value, str) or action.nargs in ("+", "*"):
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        parser.error(f"recipe {name!r} sets `{action.dest}` to {value!r}; it must be {text}")


def training_command(kind: str, arguments: Sequence[str], training: TrainingArguments) -> list[str]:
    """The command line that repeats this run, for its record; with `accelerate launch` for several processes. A mixed
    precision that the launcher chose becomes an argument."""
    precision = training.mixed_precision
    if precision in ("bf16", "fp16") and not getattr(training, precision):
        arguments = [*arguments, f"--{precision}", "true"]
    count, machines = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if count == 1:
        return ["hdf", kind, *arguments]
    # Without `--multi_gpu`, accelerate starts a single process on a machine without several GPUs.
    launch = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(count)]
    if machines > 1:
        launch += ["--num_machines", str(machines)]
    return [*launch, "-m", "modeling_hdf", kind, *arguments]


def as_fields(option: str, overrides: str | dict) -> dict:
    """Parses overrides: a mapping from a recipe, or JSON from the command line. Raises a `ValueError` otherwise."""
    try:
        fields = json.loads(overrides, object_pairs_hook=unique_fields) if isinstance(overrides, str) else overrides
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--{option} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"--{option} is {overrides!r}; it must be a JSON object of field to value.")
    return fields


def deciding_arguments(training: TrainingArguments, others: Sequence, free: Collection[str]) -> dict:
    """
    The arguments of a script that decide the trained weights, as [`run_record`] gives them.

    Args:
        training (`TrainingArguments`): see [`run_record`].
        others (`Sequence`): the script's other dataclasses; they have `data_dir`, `model_overrides` and
            `dataset_overrides`.
        free (`Collection[str]`): fields of `others` that do not change the weights.
    """
    fields = {name: value for part in others for name, value in asdict(part).items() if name not in free}
    for name in ("model_overrides", "dataset_overrides"):
        fields[name] = as_fields(name, fields[name])
    if fields["data_dir"] is not None:
        fields["data_dir"] = str(Path(fields["data_dir"]).resolve())
    foreign = _foreign_checkpoint(training)
    fields["started_from"] = None if foreign is None else str(Path(foreign).resolve())
    return run_record(training, **fields)


def start_of(training: TrainingArguments, name_or_path: str | None) -> str | None:
    """
    The checkpoint whose weights a run starts from; `None` for random weights.

    Args:
        training (`TrainingArguments`): its `resume_from_checkpoint` replaces all weights if it is of another run.
        name_or_path (`str`, *optional*): the checkpoint that the model is built on.

    Raises:
        CheckpointError: if the checkpoint of another run does not exist.
    """
    foreign = _foreign_checkpoint(training)
    if foreign is not None and not Path(foreign).is_dir():
        raise CheckpointError(f"--resume_from_checkpoint {foreign} is not a folder.")
    return foreign or name_or_path or None


def _foreign_checkpoint(training: TrainingArguments) -> str | None:
    """The checkpoint of another run that `resume_from_checkpoint` names, if it names one."""
    start = training.resume_from_checkpoint
    if not start or Path(training.output_dir).resolve() in Path(start).resolve().parents:
        return None
    return start


def checkpoint_config(start: str) -> PreTrainedConfig:
    """
    The configuration of the checkpoint that a training starts from.

    Args:
        start (`str`): a folder or a Hub repository.

    Raises:
        ValueError: if it cannot be loaded; names the checkpoint.
    """
    try:
        return AutoConfig.from_pretrained(start)
    except (OSError, ValueError) as error:
        place = "" if Path(start).is_dir() else "there is no such folder, and on the Hub: "
        reason = " ".join(str(error).split())
        raise ValueError(f"--model_name_or_path {start} cannot be loaded: {place}{reason}") from error


def build_processor(config: PreTrainedConfig, start: str | None = None) -> HDFVideoProcessor:
    """
    Video processor for the `image_size` and `num_frames` of a backbone: scales the shorter side of a frame to the
    longer side of `image_size`, then crops. All else, such as the mean and the standard deviation of pixels, is as in
    the processor of the checkpoint; without one, as the backbone's published checkpoints are trained.

    Args:
        config (`PreTrainedConfig`): configuration of the backbone.
        start (`str`, *optional*): the checkpoint that the training starts from, a folder or a Hub repository.
    """
    height, width = as_pair(config.image_size)
    sizes = {
        "num_frames": config.num_frames,
        "size": {"shortest_edge": max(height, width)},
        "crop_size": {"height": height, "width": width},
    }
    if start and any(_has_file(start, name) for name in (VIDEO_PROCESSOR_NAME, IMAGE_PROCESSOR_NAME)):
        return HDFVideoProcessor.from_pretrained(start, **sizes)
    kind = BACKBONES[config.model_type]
    return HDFVideoProcessor(image_mean=kind.pixel_mean, image_std=kind.pixel_std, **sizes)


def _has_file(checkpoint: str, name: str) -> bool:
    return cached_file(checkpoint, name, _raise_exceptions_for_missing_entries=False) is not None


__all__ = [
    "RecipeParser",
    "as_fields",
    "build_processor",
    "checkpoint_config",
    "deciding_arguments",
    "parse_with_recipe",
    "recipe_parser",
    "start_of",
    "training_command",
]
