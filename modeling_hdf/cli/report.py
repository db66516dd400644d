"""`hdf report`: the report of a run, an HTML page."""

import argparse

import datasets

from ..data.arguments import DataArguments, fold_of_all_clips
from ..evaluation.results import Results, read_results
from ..reports.page import NEEDED, write_report
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Writes the report and prints its path."""
    page = write_report(
        arguments.folder,
        _rows(read_results(arguments.folder, require=NEEDED), arguments),
        model=arguments.model,
        num_clips=arguments.clips,
        show_frames=arguments.frames,
        output=arguments.output,
    )
    print(f"report in {page}")
    return Outcome({"page": str(page)})


def _rows(results: Results, arguments: argparse.Namespace) -> datasets.Dataset | None:
    """The measured split; `None` if the folder of the dataset is unknown."""
    if results.dataset != "synthetic" and arguments.data_dir is None:
        return None
    if "," in results.dataset:
        raise ValueError(
            f"{arguments.folder} holds the results on {results.dataset} together; a report reads the clips of one. "
            f"Give the folder of one in it, such as {results.dataset.partition(',')[0]}, with --data-dir and --model."
        )
    # The peer protocol changes only the validation split and leaves it without clips to measure.
    data = DataArguments(
        dataset=results.dataset,
        fold=fold_of_all_clips(results.dataset) if results.split == "all" else results.fold,
        data_dir=arguments.data_dir,
        max_missing=arguments.max_missing,
    )
    builder = data.builder(results.dataset_overrides | arguments.overrides, training=False, split=results.split)
    builder.download_and_prepare()
    return builder.as_dataset(split=results.split)
