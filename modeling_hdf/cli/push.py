"""`hdf push`: publish a trained model, and a page that shows it."""

import argparse
from pathlib import Path

from ..data.extras import needs_module
from ..evaluation.results import METRICS, read_results
from ..hub.cards import LICENSE
from ..hub.client import push_files, write_files
from ..hub.origin import Origin
from ..hub.release import REPLACES, model_release
from ..hub.space import push_space, space_files, space_needs
from ..pretrained import SHIPPED, checkpoint_path
from .outcome import Outcome
from .parser import WrongCallError


def run(arguments: argparse.Namespace) -> Outcome:
    """Checks the folder, then writes or pushes its files, and those of the Space."""
    repository, space = arguments.repository, arguments.space
    ships = arguments.folder in SHIPPED
    if repository is None and not (space and ships):
        raise WrongCallError("Give the repository of the model, owner/name; only a model that ships can do without.")
    if repository is None and arguments.benchmark:
        raise WrongCallError("--benchmark needs the repository of the model, owner/name: the results lie there.")
    if space:
        needs_module("gradio", "demo", "A Space")
        if arguments.revision is not None:
            raise WrongCallError("The page of a Space loads the model's main branch: leave out --revision or --space.")
    result = {}
    if repository is not None:
        result = _push_model(arguments)
    if space:
        result["space"] = _push_space(arguments, repository or arguments.folder)
    return Outcome(result)


def _push_model(arguments: argparse.Namespace) -> dict:
    source = checkpoint_path(arguments.folder)
    files = model_release(source, arguments.repository, arguments.revision, benchmark=arguments.benchmark)
    if METRICS in files and LICENSE not in files and Origin.of(read_results(source)).is_partly_own:
        print(
            "the card calls a folder that the model was trained on videos of your own; if it holds clips of others, "
            f"such as of DFEW, their terms bind the weights: write them into {Path(source, LICENSE)} and push again"
        )
    if arguments.dry_run:
        folder = Path(arguments.dry_run, "model") if arguments.space else arguments.dry_run
        print(f"wrote {len(files)} files to {write_files(files, folder)}; nothing was pushed")
        return {"folder": str(folder), "files": sorted(files), "commit": None}
    commit = push_files(
        files,
        arguments.repository,
        replaces=REPLACES,
        message=arguments.message,
        private=arguments.private,
        revision=arguments.revision,
    )
    print(f"pushed {len(files)} files: {commit.commit_url}")
    return {"repository": arguments.repository, "files": sorted(files), "commit": commit.commit_url}


def _push_space(arguments: argparse.Namespace, model: str) -> dict:
    """Pushes or writes the Space that shows `model`."""
    files = space_files(model)
    print(*space_needs(model, private=arguments.private), sep="\n")
    if arguments.dry_run:
        folder = Path(arguments.dry_run, "space") if arguments.repository else arguments.dry_run
        print(f"wrote {len(files)} files to {write_files(files, folder)}; nothing was pushed")
        return {"folder": str(folder), "files": sorted(files), "commit": None}
    commit = push_space(model, arguments.space, private=arguments.private)
    print(f"pushed the Space: {commit.commit_url}")
    return {"repository": arguments.space, "files": sorted(files), "commit": commit.commit_url}
