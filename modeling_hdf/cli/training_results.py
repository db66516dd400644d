"""The part of `hdf train` that tests the trained model on each dataset and writes the results."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.clips import ClipDataset
from ..data.files import whole_or_absent
from ..evaluation.environment import environment
from ..evaluation.liveness import liveness_on_rows
from ..evaluation.predictions import pooled_predictions, predictions_table, write_predictions
from ..evaluation.results import Results
from ..evaluation.shared_classes import SharedClasses
from ..evaluation.summary import evaluate_predictions
from ..evaluation.trainings import training_results
from ..evaluation.unreadable import unreadable_clips
from ..evaluation.views import predict_views
from ..hub.trainer import HDFTrainer
from ..reports.plots import plot_confusion_matrix
from .text import total_lines
from .training_data import Part


@dataclass
class Measured:
    """What a trained model answers on the test split of one dataset.

    Attributes:
        part: the dataset.
        probabilities: of the model's classes, `(N, num_labels)`.
        unreadable: error message by index of the clips that could not be read.
        controls: WAR on changed clips; `None` if it was not asked for.
    """

    part: Part
    probabilities: np.ndarray
    unreadable: dict[int, str]
    controls: dict[str, float] | None

    @property
    def classes(self) -> SharedClasses:
        """The classes of model and dataset."""
        return SharedClasses(self.part.model_names, self.part.names)

    @property
    def num_unreadable(self) -> int:
        """Number of clips of validation and test that could not be read."""
        return len(self.unreadable) + self.part.num_left_out

    def table(self) -> pd.DataFrame:
        """The predictions, of the classes that the dataset has."""
        return predictions_table(self.part.rows["test"], self.probabilities, self.classes, self.unreadable)

    def table_of_all_classes(self) -> pd.DataFrame:
        """The predictions, of all classes of the model."""
        names = self.part.model_names
        return predictions_table(
            self.part.clips["test"].rows, self.probabilities, SharedClasses(names, names), self.unreadable
        )

    def readable(self) -> list[int]:
        """Indices of the clips that could be read."""
        return [index for index in range(len(self.part.rows["test"])) if index not in self.unreadable]


def measure(trainer: HDFTrainer, part: Part, frame_controls: bool) -> Measured:
    """Tests the model on one dataset, in all processes."""
    clips = part.clips["test"]
    probabilities, _ = predict_views(trainer, clips, part.data.num_views)
    measured = Measured(part, probabilities, unreadable_clips(clips), None)
    if frame_controls:
        rows = clips.rows.select(measured.readable())
        measured.controls = {}
        for order in ("first", "shuffled"):
            control = ClipDataset(rows, trainer.processing_class, sampling=clips.sampling, frame_order=order)
            measured.controls[f"{order}_war"] = trainer.predict(control).metrics["test_war"]
    return measured


def write_test(folder: Path, trainer: HDFTrainer, measured: Measured, **told) -> Results:
    """Writes predictions, results and confusion matrix of one dataset into a folder, and returns the results. `told`
    are fields of [`Results`]."""
    part, clips = measured.part, measured.part.clips["test"]
    rows = clips.rows.select(measured.readable())
    told |= part.data.described(part.overrides) | {
        "cut_splits": {part.data.dataset: part.cut_splits},
        "controls": measured.controls,
        "gate_liveness": liveness_on_rows(trainer.model, trainer.processing_class, rows, clips.sampling),
        "across_datasets": measured.classes.described(),
    }
    return _write(folder, trainer, measured.table(), told)


def write_mixture(folder: Path, trainer: HDFTrainer, parts: dict[str, Measured], described: dict, **told) -> Results:
    """
    Writes the results on each dataset into a folder of its name, and those on all datasets together beside the
    weights, where `groups` has the figures of each `dataset`. Prints the former and returns the latter.

    Args:
        described (`dict`): result of [`DataArguments.described`].
    """
    for name, measured in parts.items():
        (folder / name).mkdir(exist_ok=True)
        results = write_test(folder / name, trainer, measured, **told)
        print(results.title, *total_lines(results), sep="\n")
    pooled = pooled_predictions({name: measured.table_of_all_classes() for name, measured in parts.items()})
    cut_splits = {name: measured.part.cut_splits for name, measured in parts.items()}
    return _write(folder, trainer, pooled, described | told | {"cut_splits": cut_splits})


def _write(folder: Path, trainer: HDFTrainer, table: pd.DataFrame, told: dict) -> Results:
    write_predictions(table, folder)
    scores = evaluate_predictions(table)
    results = training_results(
        trainer.args.output_dir,
        told.pop("start"),
        told.pop("command"),
        **told,
        **scores,
        split="test",
        calibration_temperature=trainer.model.config.calibration_temperature,
        seed=trainer.args.seed,
        environment=environment(),
    )
    results.write(folder)
    with whole_or_absent(folder / "confusion_matrix.png") as part:
        plot_confusion_matrix(scores, part, results.title)
    return results


__all__ = ["Measured", "measure", "write_mixture", "write_test"]
