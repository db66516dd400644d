"""`hdf data publish`: a dataset as Parquet with a card."""

import argparse
from collections.abc import Mapping

import datasets

from ..data.arguments import BUILDERS, PUBLISHED_DATASETS
from ..data.builders.folder import VideoFolder
from ..data.locks import folder_lock
from ..data.synthetic.builder import SyntheticFaces
from ..hub.datasets import publish_dataset, refuse_forbidden
from .check import given
from .outcome import Outcome
from .parser import WrongCallError


def run(arguments: argparse.Namespace) -> Outcome:
    """Writes and pushes the user's own data, open data or synthetic data."""
    with folder_lock(arguments.out, "hdf data publish", beside=True):
        return _publish(arguments)


# Options that each kind of dataset uses, of those that not all do.
_USED = {
    "synthetic": ("overrides",),
    "open": ("data_dir", "max_missing", "license"),
    "own": ("data_dir", "max_missing", "license", "metadata", "labels", "label_base"),
}
_NOT_GIVEN = {"overrides": {}, "max_missing": 0}  # all others: None


def _refuse_unused(arguments: argparse.Namespace, kind: str) -> None:
    for name in {name for names in _USED.values() for name in names} - set(_USED[kind]):
        if getattr(arguments, name) != _NOT_GIVEN.get(name):
            raise WrongCallError(f"--{name.replace('_', '-')} has no meaning for {arguments.dataset}: leave it out.")


def _publish(arguments: argparse.Namespace) -> Outcome:
    refuse_forbidden(arguments.dataset, [arguments.data_dir] if arguments.data_dir else [])
    synthetic = arguments.dataset == "synthetic"
    title, terms = PUBLISHED_DATASETS.get(arguments.dataset, ("Facial expressions", None))
    _refuse_unused(arguments, "synthetic" if synthetic else "own" if terms is None else "open")
    license, description, places = arguments.license, arguments.description, {}
    if synthetic:
        builder, license, title = SyntheticFaces(**arguments.overrides), "cc0-1.0", "Synthetic faces"
    elif terms is not None:
        if license not in (None, terms.license):
            raise WrongCallError(f"{title} is under {terms.license}, which its authors chose: leave --license out.")
        make = BUILDERS[arguments.dataset]
        config = make.BUILDER_CONFIG_CLASS
        options = given(arguments, "data_dir", "max_missing")
        builder = make(config_name=config.folds[0], cut_splits=(), **config.whole, **options)
        license, description = terms.license, f"{terms.notice} {description}".strip()
    else:
        if not license:
            raise WrongCallError("Your own data need --license: under which terms may others use the clips?")
        builder = VideoFolder(**given(arguments, "data_dir", "metadata", "labels", "label_base", "max_missing"))
        places = {clip.clip_id: clip.place for clip in builder.config.listing.clips}
    builder.download_and_prepare()
    splits = builder.as_dataset()
    folder = publish_dataset(
        splits if terms is None else _without_folds(splits),
        arguments.out,
        name=arguments.name or title,
        license=license,
        description=description,
        synthetic=synthetic,
        fps=arguments.fps,
        data_dir=None if synthetic else builder.config.data_dir,
        places=places,
        repo_id=arguments.repo,
        private=arguments.private,
        revision=arguments.revision,
        dry_run=arguments.dry_run,
    )
    pushed = arguments.repo is not None and not arguments.dry_run
    if terms is not None:
        print(f"{title} may be handed on under {license}: {terms.notice}")
    print(f"wrote {folder}, " + (f"pushed to {arguments.repo}" if pushed else "nothing was pushed"))
    return Outcome({"folder": str(folder), "repository": arguments.repo if pushed else None})


def _without_folds(splits: Mapping[str, datasets.Dataset]) -> dict[str, datasets.Dataset]:
    """All clips in one split, because the authors publish none; the people are in the column `group`."""
    rows = datasets.concatenate_datasets([splits[name] for name in sorted(splits)])
    return {"train": rows.remove_columns("fold").sort("clip_id")}
