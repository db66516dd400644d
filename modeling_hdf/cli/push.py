"""`hdf push FOLDER owner/name`: publish a trained model."""

import argparse
from typing import Any

from ..hub.client import push_files, write_files
from ..hub.release import REPLACES, model_release


def add_push_parser(commands: Any) -> None:
    """Adds `push` to the commands of `hdf`."""
    parser = commands.add_parser(
        "push",
        help="publish a trained model on the Hub",
        description="Checks the folder of a trained model and publishes weights (safetensors), configuration, video "
        "processor, code, metrics.json, pictures and a model card, in one commit. Nothing else of the folder is "
        "published: no checkpoints, no optimizer states, no README.md; the card is written from metrics.json, whose "
        "numbers must be of these very weights. Without metrics.json the card says that the model was not evaluated. "
        "If a push breaks off, repeat the command.",
    )
    add_push_arguments(parser)


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `hdf push`, and [`push`] as what to do with them."""
    parser.add_argument("folder", help="output folder of a training run, or one of its checkpoints")
    parser.add_argument("repository", help="owner/name on the Hub; created if need be")
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, created if need be; default: main")
    parser.add_argument("--message", default="Publish the model", help="commit message")
    parser.add_argument(
        "--dry-run", metavar="DIR", help="push nothing, and write what would be pushed into DIR, a new folder"
    )
    parser.set_defaults(func=push)


def push(arguments: argparse.Namespace) -> int:
    """`hdf push`: checks, then writes or pushes."""
    files = model_release(arguments.folder, arguments.repository, arguments.revision)
    if arguments.dry_run:
        print(f"wrote {len(files)} files to {write_files(files, arguments.dry_run)}; nothing was pushed")
        return 0
    commit = push_files(
        files,
        arguments.repository,
        replaces=REPLACES,
        message=arguments.message,
        private=arguments.private,
        revision=arguments.revision,
    )
    print(f"pushed {len(files)} files: {commit.commit_url}")
    return 0


__all__ = ["add_push_arguments", "add_push_parser", "push"]
