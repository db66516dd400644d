"""Temperature scaling: one number, fitted on validation clips, that brings a model's confidence close to its accuracy.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2 (https://arxiv.org/abs/1706.04599).
"""

from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ..data.files import read_json, write_json
from .metrics import expected_calibration_error

_RANGE = (1e-3, 1e3)  # of temperatures; trained models lie far inside


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean over clips of `-log p(label)` with `p = softmax(logits / temperature)`, in nats: `(N, K)` and `(N,)`."""
    log_probabilities = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """
    The temperature that minimises the negative log-likelihood, which is convex in the inverse temperature.

    Args:
        logits (`np.ndarray` of shape `(N, num_labels)`): scores on validation clips, at temperature 1.
        labels (`np.ndarray` of shape `(N,)`): true classes.

    Returns:
        `float`: the temperature, above 0.

    Raises:
        ValueError: if there is no minimum, because every clip is classified correctly, or because the true classes do
            not score above the other classes on average.
    """
    logits = np.asarray(logits, dtype=np.float64)
    true = logits[np.arange(len(labels)), labels]
    problem = None
    if (true == logits.max(1)).all():
        problem = "the model classifies all of them correctly, so no confidence would be too high"
    elif true.mean() <= logits.mean():
        problem = "their true classes do not score above the other classes on average"
    if problem is not None:
        raise ValueError(
            f"No temperature fits these {len(labels)} validation clips: {problem}. Calibrate a trained model on a "
            "larger validation split."
        )
    result = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits, labels, np.exp(log_temperature)),
        bounds=np.log(_RANGE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))


def calibration_scores(logits: np.ndarray, labels: np.ndarray, before: float, after: float) -> dict:
    """
    Calibration on one split at two temperatures.

    Args:
        logits (`np.ndarray` of shape `(N, num_labels)`): scores at temperature 1.
        labels (`np.ndarray` of shape `(N,)`): true classes.
        before, after (`float`): the temperatures.

    Returns:
        `dict`: `num_clips`, and for `"before"` and `"after"` `ece` and `nll` (nats per clip).
    """
    scores: dict = {"num_clips": len(labels)}
    for name, temperature in (("before", before), ("after", after)):
        probabilities = np.exp(log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1))
        scores[name] = {
            "ece": expected_calibration_error(labels, probabilities),
            "nll": negative_log_likelihood(logits, labels, temperature),
        }
    return scores


def write_temperature(folder: str | Path, temperature: float) -> None:
    """
    Sets `calibration_temperature` in the `config.json` of a model folder and changes nothing else.

    Raises:
        OSError, ValueError: if the file cannot be read or written; it then stays unchanged.
    """
    path = Path(folder) / "config.json"
    config = read_json(path, "Save the model again.")
    write_json(path, config | {"calibration_temperature": temperature})


__all__ = ["calibration_scores", "fit_temperature", "negative_log_likelihood", "write_temperature"]
