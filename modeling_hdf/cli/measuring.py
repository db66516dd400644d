"""Shared by the commands that measure a model: the chosen data, how to read them, and the exit code."""

import argparse

import datasets

from ..data.arguments import DataArguments, fold_of_all_clips
from ..data.builders.base import ExpressionBuilder
from ..evaluation.provenance import PROTOCOL, check_same_cut, check_unseen, chosen_protocol, selected_line
from ..evaluation.results import Results
from .parser import print_error


def chosen_data(arguments: argparse.Namespace, trained: Results, split: str) -> DataArguments:
    """The chosen data, prepared as in training; refuses clips that the model was trained on."""
    protocol, line = chosen_protocol({name: getattr(arguments, name) for name in PROTOCOL}, trained)
    data = DataArguments(
        dataset=arguments.dataset,
        data_dir=arguments.data_dir,
        fold=fold_of_all_clips(arguments.dataset) if split == "all" else arguments.fold,
        max_missing=str(arguments.max_missing),
        **protocol,
    )
    check_unseen(arguments.model, trained, data, arguments.overrides, split)
    print(line)
    return data


def prepared_builder(
    arguments: argparse.Namespace, trained: Results, data: DataArguments, split: str
) -> tuple[datasets.DatasetBuilder, bool]:
    """The prepared builder of `chosen_data`, and whether the model may have been selected on the split, which is
    printed too; refuses a split that is cut from clips that the model was trained on."""
    builder = data.builder(arguments.overrides, training=False, split=split)
    if not isinstance(builder, ExpressionBuilder):
        builder.download_and_prepare()
        return builder, False
    check_same_cut(arguments.model, trained, builder.config, data.dataset, split)
    builder.download_and_prepare()
    selected = selected_line(arguments.model, trained, builder.config, data.dataset, split)
    for line in (builder.left_out_line, selected):
        if line is not None:
            print(line)
    return builder, selected is not None


def missing_code(prog: str, data: DataArguments, builder: datasets.DatasetBuilder, num_unreadable: int) -> int:
    """The exit code after everything is written: 1, with an error line, if more clips are missing or unreadable than
    `max_missing` allows."""
    failure = data.too_many_missing(builder, num_unreadable)
    if failure is None:
        return 0
    print_error(prog, failure)
    return 1


def trainer_arguments(arguments: argparse.Namespace) -> dict:
    return {
        "per_device_eval_batch_size": arguments.batch_size,
        "dataloader_num_workers": arguments.num_workers,
    }
