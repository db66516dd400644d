"""Metric `dfer`: WAR, UAR, macro F1, recall per class, confusion matrix and calibration error."""

# `evaluate` copies this file, so its imports must name the package. It reads these lines to find the requirements, so
# each import needs its own line.
import datasets
import evaluate
import numpy as np

from modeling_hdf.evaluation.metrics import check_probabilities, classification_scores, expected_calibration_error

_DESCRIPTION = """Metrics of dynamic facial expression recognition. WAR, weighted average recall, is the accuracy; UAR,
unweighted average recall, and macro F1 are means over the classes present in the references."""

_CITATION = """@inproceedings{cui2025hdf,
  title = {Learning from Heterogeneity: Generalizing Dynamic Facial Expression Recognition via
    Distributionally Robust Optimization},
  author = {Cui and others},
  booktitle = {ACM Multimedia},
  year = {2025},
}"""

_INPUTS = """
Args:
    predictions: predicted classes as numbers from 0, or for each clip the probabilities of all classes.
    references: true classes, as numbers from 0.
    names (`list[str]`, *optional*): names of the classes; needed if predictions are classes and the last classes may
        not occur. By default `"0"`, `"1"`, ...

Returns:
    `war`, `uar`, `macro_f1`, `num_clips`, `recall` (by name; None for a class without clips), `confusion_matrix` (rows
    are true classes), and with probabilities `ece`, the expected calibration error in 15 bins.

Raises:
    ValueError: for invalid probabilities (logits need a softmax first), classes without a name, and two classes with
        the same name.

Example:

    >>> import evaluate
    >>> import modeling_hdf.evaluation.dfer
    >>> metric = evaluate.load(modeling_hdf.evaluation.dfer.PATH)
    >>> metric.compute(predictions=[0, 1, 1], references=[0, 1, 0])["uar"]
    0.75
"""


class DFER(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": label, "references": label}),
                datasets.Features({"predictions": datasets.List(datasets.Value("float64")), "references": label}),
            ],
        )

    def _compute(self, predictions, references, names: list[str] | None = None) -> dict:
        predictions, references = np.asarray(predictions), np.asarray(references)
        has_probabilities = predictions.ndim == 2
        if has_probabilities:
            check_probabilities(predictions)
        if names is None:
            count = predictions.shape[1] if has_probabilities else max(predictions.max(), references.max()) + 1
            names = [str(number) for number in range(count)]
        classes = predictions.argmax(1) if has_probabilities else predictions
        scores = classification_scores(references, classes, names)
        if has_probabilities:
            scores["ece"] = expected_calibration_error(references, predictions)
        return scores
