"""`hdf report`."""

import argparse
from pathlib import Path
from typing import Any

import datasets

from ..data.arguments import DataArguments
from ..reports.page import read_metrics, write_report
from .evaluate import json_object


def add_report_parser(commands: Any) -> None:
    """Adds `report` to the commands of `hdf`."""
    parser = commands.add_parser(
        "report",
        help="write one HTML page of a run",
        description="Writes one page that loads nothing: command, environment, numbers with intervals, training "
        "curves, confusion matrix, reliability diagram, a t-SNE map of the features, and the gates of the DAM layers "
        "over a few clips. Clips are read again for the last two; for other datasets than the synthetic one that "
        "takes --data-dir, and their frames are drawn only with --frames.",
    )
    parser.add_argument("folder", type=Path, help="what training or `hdf evaluate --output` wrote")
    parser.add_argument("--model", help="folder or Hub repository of the model; default: the one that was measured")
    parser.add_argument("--data-dir", help="folder of the dataset, as it was unpacked")
    parser.add_argument("--max-missing", default="0", metavar="X", help="clips that may be missing, as in the run")
    parser.add_argument(
        "--overrides",
        type=json_object,
        default={},
        metavar="JSON",
        help="fields of the dataset's builder that the run does not record: folders",
    )
    parser.add_argument("--clips", type=int, default=4, metavar="N", help="clips to draw the gates of; default 4")
    parser.add_argument(
        "--frames",
        action="store_true",
        help="draw frames of clips that are not synthetic; the page may then not be handed on",
    )
    parser.add_argument("--output", type=Path, help="the file; default: report.html in the folder")
    parser.set_defaults(func=report)


def report(arguments: argparse.Namespace) -> int:
    """`hdf report`: writes the page and prints where."""
    if arguments.clips < 0:
        raise ValueError(f"--clips is {arguments.clips}; it must be 0 or more.")
    page = write_report(
        arguments.folder,
        _rows(read_metrics(arguments.folder), arguments),
        model=arguments.model,
        num_clips=arguments.clips,
        show_frames=arguments.frames,
        output=arguments.output,
    )
    print(f"report in {page}")
    return 0


def _rows(metrics: dict, arguments: argparse.Namespace) -> datasets.Dataset | None:
    """The split that was measured; None for a dataset that lies nobody knows where."""
    if metrics["dataset"] != "synthetic" and arguments.data_dir is None:
        return None
    # The peer protocol changes the validation split alone, which it leaves nobody to measure.
    data = DataArguments(
        dataset=metrics["dataset"],
        fold=metrics["fold"],
        data_dir=arguments.data_dir,
        max_missing=arguments.max_missing,
    )
    builder = data.builder(metrics["dataset_overrides"] | arguments.overrides, training=False)
    builder.download_and_prepare()
    return builder.as_dataset(split=metrics["split"])


__all__ = ["add_report_parser"]
