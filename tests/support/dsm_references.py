"""DSM as loops in float64 numpy written from its equations, and what its tests share."""

import math

import numpy as np
import torch
from torch import nn

SCALINGS = ("parameters", "features", "ratio", "fixed")
LABELS = {
    "pairs and a class of one": [0, 0, 1, 1, 2],
    "uneven classes": [0, 1, 0, 0, 2, 1, 0, 2],
    "one class": [3, 3, 3, 3],
}


def draw(num_samples: int, num_channels: int = 6, seed: int = 0) -> torch.Tensor:
    """Features that are not normalised: rows of different lengths around a common mean."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(0.3, 1.0, (num_samples, num_channels)) * generator.uniform(0.5, 4.0, (num_samples, 1))
    return torch.tensor(rows, dtype=torch.float32)


def cosines(features: np.ndarray) -> np.ndarray:
    units = [row / math.sqrt(sum(value**2 for value in row)) for row in features]
    return np.array([[sum(a * b for a, b in zip(first, second, strict=True)) for second in units] for first in units])


def log_sum_exp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def figure_loss(features, labels, temperature, eta, weights_at) -> float:
    """The figure's loss; its weights are those of the features `weights_at`."""
    cosine, frozen = cosines(features), cosines(weights_at)
    anchors = []
    for i in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        denominator = log_sum_exp(
            [
                cosine[i, a] / temperature - (frozen[i, a] - eta) ** 2 / (2 * eta**2)
                for a in range(len(labels))
                if a != i
            ]
        )
        anchors.append(-sum(cosine[i, p] / temperature - denominator for p in positives) / len(positives))
    return sum(anchors) / len(anchors) if anchors else 0.0


def bottleneck(features) -> float:
    """Trace of the covariance (1/N) of the normalised features."""
    units = np.array([row / math.sqrt(sum(value**2 for value in row)) for row in features])
    return sum(((units[:, c] - units[:, c].mean()) ** 2).mean() for c in range(units.shape[1]))


def class_bottleneck(features, labels) -> float:
    """Mean squared distance of the normalised features to the mean of their class."""
    units = np.array([row / math.sqrt(sum(value**2 for value in row)) for row in features])
    distances = []
    for unit, label in zip(units, labels, strict=True):
        others = [other for other, its_label in zip(units, labels, strict=True) if its_label == label]
        distances.append(sum((unit - sum(others) / len(others)) ** 2))
    return sum(distances) / len(distances)


def head(num_channels: int = 6, num_labels: int = 7) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(num_channels, num_labels)


def numerical_gradient(function, features: np.ndarray, step: float = 1e-6) -> np.ndarray:
    gradient = np.zeros_like(features)
    for index in np.ndindex(features.shape):
        shift = np.zeros_like(features)
        shift[index] = step
        gradient[index] = (function(features + shift) - function(features - shift)) / (2 * step)
    return gradient


def value_and_gradient(function, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = features.clone().requires_grad_()
    value = function(features)
    value.backward()
    return value.detach(), features.grad


def assert_close(actual: torch.Tensor, expected, tolerance: float) -> None:
    """Equal to `tolerance` of the largest expected value."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual.double().numpy() - expected).max() <= tolerance * np.abs(expected).max()
