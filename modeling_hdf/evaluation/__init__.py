"""
Evaluation of a trained model on a dataset, with intervals.

- [`classification_scores`], [`war`], [`uar`], [`macro_f1`], [`expected_calibration_error`]: the metrics.
- [`predict_rows`], [`predict_views`]: a model's probabilities on a dataset.
- [`read_predictions`]: the saved table of probabilities of an earlier run.
- [`evaluate_predictions`]: all numbers of one evaluation; [`bootstrap_intervals`]: their intervals;
  [`bootstrap_differences`]: those of the differences between two models.
- [`Results`], [`read_results`]: the `metrics.json` of one evaluation.
- [`aggregate_folds`]: the mean over folds; [`fit_temperature`]: calibration.
- [`measure_robustness`], [`mean_corruption_error`]: the metrics on corrupted clips.
- [`recorded_gates`]: the gates of DAM; [`gate_liveness`]: whether they act.
"""

from .bootstrap import bootstrap_differences, bootstrap_intervals
from .calibration import fit_temperature
from .folds import aggregate_folds, read_fold
from .gates import DAMGates, recorded_gates
from .liveness import gate_liveness
from .metrics import classification_scores, expected_calibration_error, macro_f1, reliability, uar, war
from .predictions import predictions_table, read_predictions, write_predictions
from .results import Results, read_results
from .robustness import mean_corruption_error, measure_robustness
from .running import clip_outputs, evaluation_trainer, predict_rows
from .shared_classes import SharedClasses
from .summary import evaluate_predictions
from .views import average_views, predict_views

__all__ = [
    "DAMGates",
    "Results",
    "SharedClasses",
    "aggregate_folds",
    "average_views",
    "bootstrap_differences",
    "bootstrap_intervals",
    "classification_scores",
    "clip_outputs",
    "evaluate_predictions",
    "evaluation_trainer",
    "expected_calibration_error",
    "fit_temperature",
    "gate_liveness",
    "macro_f1",
    "mean_corruption_error",
    "measure_robustness",
    "predict_rows",
    "predict_views",
    "predictions_table",
    "read_fold",
    "read_predictions",
    "read_results",
    "recorded_gates",
    "reliability",
    "uar",
    "war",
    "write_predictions",
]
