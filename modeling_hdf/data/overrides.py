"""Checks the fields of a builder that a recipe or a command line sets."""

import dataclasses
import types
import typing

# Builder fields that `dataset_overrides` cannot set: fields of `datasets`, and arguments below.
_NO_OVERRIDES = (
    "name",
    "version",
    "data_dir",
    "data_files",
    "description",
    "peer_protocol",
    "max_missing",
    "cut_splits",
    "splits",
    "depth",
)


def check_overrides(config: type, dataset: str, overrides: dict) -> None:
    """
    Checks names and types of fields of a builder's configuration.

    Args:
        config (`type`): the class of the configuration.
        dataset (`str`): its name, for messages.
        overrides (`dict`): the fields.

    Raises:
        ValueError: for a field that the configuration does not have, or a value of another type.
    """
    kinds = {each.name: each.type for each in dataclasses.fields(config) if each.name not in _NO_OVERRIDES}
    kinds["cache_dir"] = str
    for name, value in overrides.items():
        if name not in kinds:
            raise ValueError(f"`dataset_overrides` has {name!r}; {dataset} has the fields {', '.join(sorted(kinds))}.")
        kind = kinds[name]
        choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if not any(_is_of(value, choice) for choice in choices):
            raise ValueError(f"`dataset_overrides` has {name!r} of {value!r}; it must be {_told(kind)}.")


def _told(kind: type) -> str:
    """A type in words, for messages."""
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    return f"of type {kind.__name__ if isinstance(kind, type) else kind}"


def _is_of(value: object, kind: type) -> bool:
    """Whether a JSON value fits a type: a whole number fits a float, a list fits a tuple of strings."""
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


__all__ = ["check_overrides"]
