"""WAR, UAR and the other metrics against numpy loops and scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_fscore_support

from modeling_hdf.evaluation.metrics import (
    classification_scores,
    expected_calibration_error,
    reliability,
    uar,
    war,
)

NUM_CLASSES = 7
NAMES = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
# Classes that occur among the labels, and among the predictions.
CASES = {
    "all classes": (range(7), range(7)),
    "classes missing from labels": ([0, 2, 5], range(7)),
    "classes missing from predictions": (range(7), [1, 4]),
    "no class in common": ([0, 1], [2, 3]),
    "one class": ([3], [3, 6]),
}


def draw(case: str, num_clips: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    label_classes, predicted_classes = CASES[case]
    labels, predictions = generator.choice(label_classes, num_clips), generator.choice(predicted_classes, num_clips)
    # Right more often than by chance, and more so for some classes: WAR and UAR then differ.
    right = (generator.random(num_clips) < 0.3) & np.isin(labels, predicted_classes) & (labels % 2 == 0)
    return labels, np.where(right, labels, predictions)


def count_matrix(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    matrix = np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        matrix[label, prediction] += 1
    return matrix


def recalls(labels: np.ndarray, predictions: np.ndarray) -> list[float | None]:
    matrix = count_matrix(labels, predictions)
    return [matrix[c, c] / matrix[c].sum() if matrix[c].sum() else None for c in range(NUM_CLASSES)]


@pytest.mark.parametrize("case", CASES)
def test_war_is_the_share_of_clips_that_are_right(case):
    labels, predictions = draw(case)
    right = sum(label == prediction for label, prediction in zip(labels, predictions, strict=True))
    assert war(labels, predictions) == pytest.approx(right / len(labels), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_uar_is_the_mean_recall_of_the_classes_present(case):
    labels, predictions = draw(case)
    present = [recall for recall in recalls(labels, predictions) if recall is not None]
    assert uar(labels, predictions) == pytest.approx(sum(present) / len(present), abs=1e-12)
    assert uar(labels, predictions) == pytest.approx(balanced_accuracy_score(labels, predictions), abs=1e-12)


def test_war_follows_the_frequent_class_and_uar_does_not():
    labels, predictions = np.array([0] * 9 + [1]), np.zeros(10, dtype=int)
    assert war(labels, predictions) == pytest.approx(0.9)
    assert uar(labels, predictions) == pytest.approx(0.5)


@pytest.mark.parametrize("case", CASES)
def test_scores_agree_with_counting(case):
    labels, predictions = draw(case)
    scores = classification_scores(labels, predictions, NAMES)
    assert scores["confusion_matrix"] == count_matrix(labels, predictions).tolist()
    assert scores["num_clips"] == 60
    assert list(scores["recall"]) == NAMES
    expected = recalls(labels, predictions)
    for name, recall in zip(NAMES, expected, strict=True):
        assert scores["recall"][name] == (None if recall is None else pytest.approx(recall, abs=1e-12))
    assert scores["war"] == pytest.approx((labels == predictions).mean(), abs=1e-12)
    assert scores["uar"] == pytest.approx(np.mean([recall for recall in expected if recall is not None]), abs=1e-12)


def test_scores_are_plain_json_and_take_lists():
    labels, predictions = draw("classes missing from labels")
    scores = classification_scores(labels.tolist(), predictions.tolist(), NAMES)
    assert json.loads(json.dumps(scores)) == classification_scores(labels, predictions, NAMES)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([], []), ([0, 1], [0]), ([[0], [1]], [[0], [1]])],
    ids=["no clips", "different lengths", "two-dimensional"],
)
def test_scores_refuse_labels_and_predictions_that_do_not_pair_up(labels, predictions):
    with pytest.raises(ValueError, match="one prediction per label"):
        classification_scores(np.array(labels), np.array(predictions), NAMES)


@pytest.mark.parametrize(("labels", "predictions"), [([0, 7], [0, 1]), ([0, 1], [0, 7]), ([-100, 1], [0, 1])])
def test_scores_refuse_classes_without_a_name(labels, predictions):
    (unnamed,) = set(labels + predictions) - set(range(7))
    with pytest.raises(ValueError, match=rf"\[{unnamed}\] have no name"):
        classification_scores(labels, predictions, NAMES)


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of up to 80 clips, with a random choice of classes missing from either."""
    generator = np.random.default_rng(seed)
    classes = generator.choice(NUM_CLASSES, generator.integers(1, NUM_CLASSES + 1), replace=False)
    labels = generator.choice(classes, generator.integers(1, 80))
    probabilities = generator.dirichlet(np.full(NUM_CLASSES, 0.5), len(labels))
    probabilities[:, generator.integers(NUM_CLASSES)] = 0.0  # a class that is never predicted
    return labels, probabilities / probabilities.sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_equal_those_of_scikit_learn_with_classes_missing(seed):
    labels, probabilities = random_case(seed)
    predictions = probabilities.argmax(1)
    scores = classification_scores(labels, predictions, NAMES)
    present = np.unique(labels)
    expected = precision_recall_fscore_support(labels, predictions, labels=present, zero_division=0.0)
    assert scores["war"] == pytest.approx(accuracy_score(labels, predictions), abs=1e-12)
    assert scores["uar"] == pytest.approx(balanced_accuracy_score(labels, predictions), abs=1e-12)
    assert scores["macro_f1"] == pytest.approx(expected[2].mean(), abs=1e-12)
    assert scores["recall"] == {
        name: pytest.approx(expected[1][present.tolist().index(number)]) if number in present else None
        for number, name in enumerate(NAMES)
    }


@pytest.mark.parametrize("seed", range(25))
def test_calibration_error_equals_a_loop_over_bins_and_clips(seed):
    labels, probabilities = random_case(seed)
    error, counts = 0.0, []
    for bin_number in range(15):
        inside = [
            (row.max(), float(row.argmax() == label))
            for row, label in zip(probabilities, labels, strict=True)
            if bin_number / 15 < row.max() <= (bin_number + 1) / 15
        ]
        counts.append(len(inside))
        if inside:
            confidence, right = np.mean(inside, axis=0)
            error += len(inside) / len(labels) * abs(confidence - right)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(error, abs=1e-12)
    assert reliability(labels, probabilities)["num_clips"] == counts


def test_calibration_error_of_a_sure_model_is_its_error_rate():
    labels, probabilities = np.array([0, 0, 1, 1]), np.eye(2)[[0, 1, 1, 1]]
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.25)
    points = reliability(labels, probabilities)
    assert points["confidence"] == [None] * 14 + [1.0] and points["accuracy"] == [None] * 14 + [0.75]


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    labels, probabilities = np.array([0, 0]), np.full((2, 5), 0.2)  # 0.2 is 3 / 15
    assert reliability(labels, probabilities)["num_clips"] == [0, 0, 2] + [0] * 12
