"""`hdf push`: publish a trained model."""

import argparse

from ..hub.client import push_files, write_files
from ..hub.release import REPLACES, model_release
from ..pretrained import checkpoint_path
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Checks the folder, then writes or pushes its files."""
    files = model_release(checkpoint_path(arguments.folder), arguments.repository, arguments.revision)
    if arguments.dry_run:
        print(f"wrote {len(files)} files to {write_files(files, arguments.dry_run)}; nothing was pushed")
        return Outcome({"folder": arguments.dry_run, "files": sorted(files), "commit": None})
    commit = push_files(
        files,
        arguments.repository,
        replaces=REPLACES,
        message=arguments.message,
        private=arguments.private,
        revision=arguments.revision,
    )
    print(f"pushed {len(files)} files: {commit.commit_url}")
    return Outcome({"repository": arguments.repository, "files": sorted(files), "commit": commit.commit_url})
