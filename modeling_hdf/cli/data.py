"""`hdf data check` and `hdf data publish`."""

import argparse
import json
from typing import Any

from ..data.arguments import BUILDERS
from ..data.builders.base import ExpressionConfig
from ..data.builders.folder import VideoFolder
from ..data.synthetic.builder import SyntheticFaces
from ..hub.datasets import publish_dataset, refuse_gated


def _count_or_share(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _add_own_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metadata", help="own data: CSV or JSON-lines file with `path` and `label`, in the data dir")
    parser.add_argument("--labels", type=_names, help="own data: names of the classes, in order, with commas")
    parser.add_argument("--label-base", type=int, choices=(0, 1), help="whether numeric labels count from 0 or 1")
    parser.add_argument(
        "--max-missing",
        type=_count_or_share,
        default=0,
        metavar="X",
        help="listed clips that may be missing, empty or unreadable: a number (5) or a share (0.01); default 0",
    )


def add_check_parser(commands: Any) -> None:
    """Adds `check` to the commands of `hdf data`."""
    parser = commands.add_parser(
        "check",
        help="look at every clip of a dataset and compare its counts with the published ones",
        description="Lists clips per class and split beside the published counts, and every clip that is missing, "
        "empty, unreadable or short. Without --full it lists every folder of frames, reads the headers of every video "
        "and decodes the first frame of every clip; with --full it decodes every frame.",
    )
    parser.add_argument("dataset", choices=sorted(set(BUILDERS) - {"synthetic"}), help="folder: videos of your own")
    parser.add_argument("--data-dir", required=True, help="folder that holds the dataset")
    parser.add_argument("--fold", type=int, help="DFEW, MAFW: fold 1 to 5; default: all whose files are there")
    parser.add_argument("--full", action="store_true", help="decode every frame of every clip")
    parser.add_argument("--variant", help="which form of the dataset, where it lies there in several")
    parser.add_argument("--clips-dir", help="folder with the clips, in place of those in the data dir")
    parser.add_argument("--peer-protocol", action="store_true", help="cut no validation split; select on test")
    parser.add_argument("--names", type=int, default=10, help="clips to name per kind of problem; default 10")
    _add_own_data_options(parser)
    parser.set_defaults(func=check)


def check(arguments: argparse.Namespace) -> int:
    """`hdf data check`: prints the report of each fold; 0 if all pass."""
    passed, known = True, {}
    for config in _configs(arguments):
        report = config.check("full" if arguments.full else "quick", known)
        print("\n".join(report.lines(arguments.names)), end="\n\n")
        passed = passed and report.failure is None
    return 0 if passed else 1


def _configs(arguments: argparse.Namespace) -> list[ExpressionConfig]:
    """The configurations to check: one, or each fold whose split files are there."""
    make = BUILDERS[arguments.dataset].BUILDER_CONFIG_CLASS
    names = ("data_dir", "variant", "clips_dir", "peer_protocol", "max_missing", "metadata", "labels", "label_base")
    fields = _given(arguments, *names)
    unknown = sorted(set(fields) - set(make.__dataclass_fields__))
    if unknown:
        option = unknown[0].replace("_", "-")
        raise ValueError(f"--{option} has no meaning for {make.dataset}.")
    if make.folds == ("default",):
        if arguments.fold is not None:
            raise ValueError(f"--fold has no meaning for {make.dataset}, which has one split.")
        return [make(**fields)]
    if arguments.fold is not None:
        return [make(name=f"fold{arguments.fold}", **fields)]
    return _folds_that_are_there([make(name=name, **fields) for name in make.folds])


def _folds_that_are_there(configs: list[ExpressionConfig]) -> list[ExpressionConfig]:
    there = []
    for config in configs:
        try:
            config.split_file("train")
            there.append(config)
        except FileNotFoundError as error:
            missing = error
    if not there:
        raise missing
    if len(there) < len(configs):
        print(f"only {', '.join(config.name for config in there)} of {len(configs)} folds are there\n")
    return there


def add_publish_parser(commands: Any) -> None:
    """Adds `publish` to the commands of `hdf data`."""
    parser = commands.add_parser(
        "publish",
        help="write a dataset as Parquet with a card, and push it",
        description="Writes Parquet files with the videos in them and a dataset card, and pushes exactly these with "
        "--repo, in one commit; if the push breaks off, repeat the command. "
        "Videos are embedded as they are, folders of frames as H.264 (nearly lossless). For DFEW, FERV39k and MAFW, "
        "which are licence-gated, it refuses. Column `group` and the names of clips are published as they are.",
    )
    parser.add_argument("dataset", choices=sorted(BUILDERS), help="folder: videos of your own")
    parser.add_argument("out", help="folder to write; new, or written by the same command")
    parser.add_argument("--data-dir", help="own data: folder that holds it")
    parser.add_argument("--name", help="name of the dataset, for the card")
    parser.add_argument("--license", help="own data: licence identifier, such as cc-by-4.0")
    parser.add_argument("--description", default="", help="what the clips show, for the card")
    parser.add_argument("--overrides", type=json.loads, default={}, help="synthetic data: builder fields, as JSON")
    parser.add_argument("--fps", type=int, default=25, help="frames per second of folders of frames; default 25")
    parser.add_argument("--repo", help="dataset repository to push to, owner/name; created if need be")
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, created if need be; default: main")
    parser.add_argument("--dry-run", action="store_true", help="write OUT as with --repo, and push nothing")
    _add_own_data_options(parser)
    parser.set_defaults(func=publish)


def publish(arguments: argparse.Namespace) -> int:
    """`hdf data publish`: writes and pushes own or synthetic data."""
    refuse_gated(arguments.dataset, [arguments.data_dir] if arguments.data_dir else [])
    synthetic = arguments.dataset == "synthetic"
    if synthetic:
        builder = SyntheticFaces(**arguments.overrides)
        license = "cc0-1.0"
    else:
        if not arguments.license:
            raise ValueError("Your own data need --license: under which terms may others use the clips?")
        builder = VideoFolder(**_given(arguments, "data_dir", "metadata", "labels", "label_base", "max_missing"))
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
        repo_id=arguments.repo,
        private=arguments.private,
        revision=arguments.revision,
        dry_run=arguments.dry_run,
    )
    pushed = arguments.repo is not None and not arguments.dry_run
    print(f"wrote {folder}, " + (f"pushed to {arguments.repo}" if pushed else "nothing was pushed"))
    return 0
