"""`hdf folds`: the mean over the folds of a dataset."""

import argparse

from ..evaluation.folds import aggregate_folds, read_fold
from .outcome import Outcome
from .text import fold_lines


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints each fold, the mean and the standard deviation."""
    result = aggregate_folds([read_fold(folder) for folder in arguments.folders], arguments.allow_missing_folds)
    print("\n".join(fold_lines(result)))
    return Outcome(result)
