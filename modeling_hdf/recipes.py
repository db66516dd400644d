"""What the training scripts share: arguments from a recipe and the command line, and a model's video processor."""

import argparse
import json
from collections.abc import Sequence

import yaml
from transformers import HfArgumentParser, PreTrainedConfig

from .backbone_hdf import as_pair
from .configuration import configuration_path
from .video_processing_hdf import HDFVideoProcessor


def parse_with_recipe(kind: str, dataclasses: Sequence[type], description: str | None = None) -> tuple:
    """
    Parses the command line into dataclasses; a recipe's values take the place of their defaults.

    Args:
        kind (`str`): `"train"` or `"pretrain"`, see [`configuration_path`].
        dataclasses (`Sequence[type]`): as for [`~transformers.HfArgumentParser`]; one has a field `recipe`.
        description (`str`, *optional*): for `--help`.

    Returns the dataclasses' instances. Exits with a message for a recipe that is no mapping, or has arguments that the
    dataclasses have not.
    """
    parser = HfArgumentParser(dataclasses, description=description)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=parser.get_default("recipe"))
    name = first.parse_known_args()[0].recipe
    recipe = yaml.safe_load(configuration_path(kind, name).read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        parser.error(f"recipe {name!r} holds no arguments: it must be a mapping of argument to value")
    unknown = sorted(set(recipe) - {action.dest for action in parser._actions})
    if unknown:
        parser.error(f"recipe {name!r} has unknown arguments {unknown}")
    parser.set_defaults(**recipe)
    return parser.parse_args_into_dataclasses()


def as_fields(option: str, overrides: str | dict) -> dict:
    """Overrides: a mapping in a recipe, JSON on the command line. Exits with a message for anything else."""
    try:
        fields = json.loads(overrides) if isinstance(overrides, str) else overrides
    except json.JSONDecodeError as error:
        raise SystemExit(f"--{option} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SystemExit(f"--{option} is {overrides!r}; it must be a JSON object of field to value.")
    return fields


def build_processor(config: PreTrainedConfig) -> HDFVideoProcessor:
    """Frames as a model with this `image_size` and `num_frames` takes them: the longer of its sides fits, the rest is
    cropped."""
    height, width = as_pair(config.image_size)
    return HDFVideoProcessor(
        num_frames=config.num_frames,
        size={"shortest_edge": max(height, width)},
        crop_size={"height": height, "width": width},
    )


__all__ = ["as_fields", "build_processor", "parse_with_recipe"]
