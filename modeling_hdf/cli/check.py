"""`hdf data check`: compare a dataset with its published counts."""

import argparse
from typing import Any

from ..data.arguments import BUILDERS
from ..data.builders.base import ExpressionConfig
from ..data.builders.listing import count_labels
from ..data.overrides import check_overrides
from .outcome import Outcome
from .parser import WrongCallError


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options with these names that the user set."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the check of each fold; the exit code is 0 if all pass."""
    results, known = [], {}
    for config in _configs(arguments):
        check = config.check("full" if arguments.full else "quick", known)
        print("\n".join(check.lines(arguments.names)), end="\n\n")
        results.append(
            {
                "name": check.name,
                "clips": count_labels(check.clips, check.labels),
                "problems": {kind: [clip.clip_id for clip in clips] for kind, clips in check.problems.items()},
                "failure": check.failure,
            }
        )
    return Outcome(results, code=0 if all(result["failure"] is None for result in results) else 1)


def _configs(arguments: argparse.Namespace) -> list[ExpressionConfig]:
    """The configurations to check: the given fold, or each fold whose split files exist."""
    make = BUILDERS[arguments.dataset].BUILDER_CONFIG_CLASS
    names = ("data_dir", "variant", "clips_dir", "peer_protocol", "max_missing", "metadata", "labels", "label_base")
    fields = given(arguments, *names)
    unknown = sorted(set(fields) - set(make.__dataclass_fields__))
    if unknown:
        option = unknown[0].replace("_", "-")
        raise WrongCallError(f"--{option} has no meaning for {make.dataset}.")
    fields |= _overrides(arguments, make, fields)
    if make.folds == ("default",):
        if arguments.fold is not None:
            raise WrongCallError(f"--fold has no meaning for {make.dataset}, which has one split.")
        return [make(**fields)]
    if arguments.fold is not None and arguments.fold > len(make.folds):
        raise WrongCallError(f"--fold is {arguments.fold}; {make.dataset} has folds 1 to {len(make.folds)}.")
    if arguments.fold is not None:
        return [make(name=f"fold{arguments.fold}", **fields)]
    return _folds_that_are_there([make(name=name, **fields) for name in make.folds])


def _overrides(arguments: argparse.Namespace, make: type[ExpressionConfig], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of --overrides, which may be those of a training."""
    check_overrides(make, arguments.dataset, arguments.overrides)
    twice = sorted(set(fields) & set(arguments.overrides))
    if twice:
        raise WrongCallError(f"--{twice[0].replace('_', '-')} and --overrides both give `{twice[0]}`: give it once.")
    return {name: value for name, value in arguments.overrides.items() if name != "cache_dir"}  # nothing is prepared


def _folds_that_are_there(configs: list[ExpressionConfig]) -> list[ExpressionConfig]:
    there, missing = [], []
    for config in configs:
        try:
            config.require_annotation()
            there.append(config)
        except FileNotFoundError as error:
            missing.append(error)
    if not there:
        raise missing[0]
    if len(there) < len(configs):
        print(f"only {', '.join(config.name for config in there)} of {len(configs)} folds are there\n")
    return there
