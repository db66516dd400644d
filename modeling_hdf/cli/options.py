"""Options that several commands share."""

import argparse

from .parser import DATASETS, at_least, count_or_share, existing_folder, json_object, model_name, names


def add_model_and_data(parser: argparse.ArgumentParser, data_required: bool = True) -> None:
    """A trained model, a dataset, and how its clips are read."""
    parser.add_argument("model", type=model_name, help="folder or Hub repository of a trained model")
    parser.add_argument("--dataset", required=data_required, choices=DATASETS, help="folder: videos of your own")
    add_data_dir(parser)
    parser.add_argument("--fold", type=at_least(1), help="fold 1 to 5, for a dataset with folds")
    parser.add_argument(
        "--max-missing",
        type=count_or_share,
        default=0,
        metavar="X",
        help="clips that may be missing or unreadable, without an exit code of 1: a number, or a share such as 0.01",
    )
    add_overrides(parser, "builder fields, as in training")
    parser.add_argument("--batch-size", type=at_least(1), default=16, help="clips per batch; default 16")
    parser.add_argument("--num-workers", type=at_least(0), default=0, help="processes that read clips; default 0")


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """Fields of a dataset's builder, also under the names that `hdf train` has for them."""
    names = ("--overrides", "--dataset-overrides", "--dataset_overrides")
    parser.add_argument(*names, type=json_object, default={}, metavar="JSON", help=text)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How frames are sampled."""
    parser.add_argument(
        "--temporal-sampling", help="uniform, segments or dense; default: as the training run tested, else uniform"
    )
    parser.add_argument(
        "--sampling-stride",
        type=int,
        help="distance of the frames of dense sampling; default: as the training run tested, else 1",
    )


def add_data_dir(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The folder of the dataset."""
    text = "folder of the dataset, as it was unpacked"
    parser.add_argument("--data-dir", type=existing_folder, required=required, metavar="DIR", help=text)


def add_own_data(parser: argparse.ArgumentParser) -> None:
    """What a dataset of one's own needs."""
    parser.add_argument("--metadata", help="own data: CSV or JSON-lines file with `path` and `label`, in the data dir")
    parser.add_argument("--labels", type=names, help="own data: names of the classes, in order, with commas")
    parser.add_argument("--label-base", type=int, choices=(0, 1), help="whether numeric labels count from 0 or 1")
    parser.add_argument(
        "--max-missing",
        type=count_or_share,
        default=0,
        metavar="X",
        help="listed clips that may be missing, empty or unreadable: a number (5) or a share (0.01); default 0",
    )


def add_push_options(parser: argparse.ArgumentParser) -> None:
    """Where and how a repository of the Hub is written."""
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, created if need be; default: main")
