"""The metric `dfer` of the library `evaluate`, loaded from the package without a network."""

import evaluate
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score

import modeling_hdf.evaluation.dfer
from modeling_hdf.evaluation.metrics import expected_calibration_error


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Loads the metric with an empty cache of its own."""
    cache = str(tmp_path_factory.mktemp("metrics"))
    return lambda: evaluate.load(modeling_hdf.evaluation.dfer.PATH, cache_dir=cache)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_classes_give_the_metrics_of_scikit_learn(load, seed):
    generator = np.random.default_rng(seed)
    labels, predictions = generator.choice([0, 2, 5], 50), generator.integers(0, 7, 50)
    names = [f"class {number}" for number in range(7)]
    result = load().compute(predictions=predictions, references=labels, names=names)
    assert result["war"] == pytest.approx(np.mean(labels == predictions))
    assert result["uar"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    present = {"labels": [0, 2, 5], "average": "macro", "zero_division": 0.0}
    assert result["macro_f1"] == pytest.approx(f1_score(labels, predictions, **present))
    assert result["confusion_matrix"] == confusion_matrix(labels, predictions, labels=range(7)).tolist()
    recalls = recall_score(labels, predictions, labels=[0, 2, 5], average=None)
    assert [result["recall"][f"class {number}"] for number in (0, 2, 5)] == pytest.approx(recalls)
    assert result["recall"]["class 1"] is None and "ece" not in result


def test_probabilities_give_the_calibration_error_too(load):
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(0, 3, 40), generator.dirichlet(np.ones(4), 40)
    metric = load()
    for start in range(0, 40, 8):  # as a loop over batches does
        metric.add_batch(predictions=probabilities[start : start + 8], references=labels[start : start + 8])
    result = metric.compute()
    assert result["ece"] == pytest.approx(expected_calibration_error(labels, probabilities))
    assert result["war"] == pytest.approx(np.mean(probabilities.argmax(1) == labels))
    assert list(result["recall"]) == ["0", "1", "2", "3"] and result["recall"]["3"] is None
    with pytest.raises(ValueError, match=r"Classes \[3\] have no name"):
        load().compute(predictions=probabilities, references=labels, names=["a", "b", "c"])


@pytest.mark.parametrize("row", [[9.0, -3.0], [1.5, -0.5], [0.7, 0.7], [np.nan, 0.5], [np.inf, 0.0]])
def test_rows_that_are_no_probabilities_are_named(load, row):
    with pytest.raises(ValueError, match=r"1 clips have invalid probabilities, such as \[.* of clip 1\..*softmax"):
        load().compute(predictions=[[0.2, 0.8], row], references=[1, 0])


def test_two_classes_of_one_name_are_refused(load):
    with pytest.raises(ValueError, match="must differ; 'a' occurs more than once"):
        load().compute(predictions=[0, 1], references=[1, 0], names=["a", "a"])
