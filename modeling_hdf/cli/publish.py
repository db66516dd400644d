"""`hdf data publish`: a dataset as Parquet with a card."""

import argparse

from ..data.builders.folder import VideoFolder
from ..data.locks import folder_lock
from ..data.synthetic.builder import SyntheticFaces
from ..hub.datasets import publish_dataset, refuse_gated
from .check import given
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Writes and pushes the user's own data or synthetic data."""
    with folder_lock(arguments.out, "hdf data publish", beside=True):
        return _publish(arguments)


def _publish(arguments: argparse.Namespace) -> Outcome:
    refuse_gated(arguments.dataset, [arguments.data_dir] if arguments.data_dir else [])
    synthetic, places = arguments.dataset == "synthetic", {}
    if synthetic:
        builder = SyntheticFaces(**arguments.overrides)
        license = "cc0-1.0"
    else:
        if not arguments.license:
            raise ValueError("Your own data need --license: under which terms may others use the clips?")
        builder = VideoFolder(**given(arguments, "data_dir", "metadata", "labels", "label_base", "max_missing"))
        places = {clip.clip_id: clip.place for clip in builder.config.listing.clips}
        license = arguments.license
    builder.download_and_prepare()
    folder = publish_dataset(
        builder.as_dataset(),
        arguments.out,
        name=arguments.name or ("Synthetic faces" if synthetic else "Facial expressions"),
        license=license,
        description=arguments.description,
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
    print(f"wrote {folder}, " + (f"pushed to {arguments.repo}" if pushed else "nothing was pushed"))
    return Outcome({"folder": str(folder), "repository": arguments.repo if pushed else None})
