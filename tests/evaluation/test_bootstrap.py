"""Bootstrap intervals against an explicit loop over resampled clips, and against scipy."""

import time

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score, recall_score

from modeling_hdf.evaluation.bootstrap import bootstrap_differences, bootstrap_intervals
from modeling_hdf.evaluation.metrics import expected_calibration_error


def draw(num_clips: int, seed: int = 0, classes: tuple = (0, 1, 3)) -> tuple[np.ndarray, np.ndarray]:
    """Labels of three of four classes, and probabilities that are right more often than by chance."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, num_clips, p=[0.7, 0.2, 0.1])
    return labels, generator.dirichlet(np.ones(4), num_clips) * 0.6 + 0.4 * np.eye(4)[labels]


def loop(labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, count: int, seed: int) -> dict[str, list]:
    """One resample after the other, of whole units, with the metrics of scikit-learn."""
    names = np.unique(units)
    drawn = np.random.default_rng(seed).integers(len(names), size=(count, len(names)))
    values = {"war": [], "uar": [], "macro_f1": [], "ece": [], "recall": []}
    for numbers in drawn:
        chosen = np.concatenate([np.flatnonzero(units == names[number]) for number in numbers])
        true, predicted = labels[chosen], probabilities[chosen].argmax(1)
        present = np.unique(true)
        options = {"labels": present, "average": "macro", "zero_division": 0.0}
        values["war"].append(np.mean(true == predicted))
        values["uar"].append(recall_score(true, predicted, **options))
        values["macro_f1"].append(f1_score(true, predicted, **options))
        values["ece"].append(expected_calibration_error(true, probabilities[chosen]))
        values["recall"].append(
            [np.mean(predicted[true == number] == number) if number in present else np.nan for number in range(4)]
        )

    def interval(resamples: list[float]) -> np.ndarray | None:
        return np.quantile(resamples, [0.025, 0.975]) if len(set(resamples)) > 1 else None

    intervals = {name: interval(value) for name, value in values.items() if name != "recall"}
    columns = zip(*values["recall"], strict=True)
    intervals["recall"] = [interval([value for value in column if not np.isnan(value)]) for column in columns]
    return intervals


def assert_equal(actual: dict, expected: dict) -> None:
    assert set(actual) == set(expected)
    for name, interval in expected.items():
        for one, other in zip(actual[name], interval, strict=True):
            assert (one is None) == (other is None), name
            if one is not None:
                np.testing.assert_allclose(one, other, atol=1e-9, err_msg=name)


def test_intervals_equal_a_loop_over_resampled_clips():
    labels, probabilities = draw(25)
    expected = loop(labels, probabilities, np.arange(25), 300, seed=4)
    assert expected["recall"][2] is None
    # More resamples than fit one block of memory.
    assert_equal(bootstrap_intervals(labels, probabilities, num_resamples=300, seed=4), expected)


def test_intervals_equal_a_loop_over_resampled_people():
    labels, probabilities = draw(30)
    people = np.array(["a", "b", "c", "d", "e", "f", "f", "f", "f", "f"] * 3)
    expected = loop(labels, probabilities, people, 100, seed=1)
    assert_equal(bootstrap_intervals(labels, probabilities, people, num_resamples=100, seed=1), expected)


def test_differences_equal_a_loop_that_draws_the_same_people_for_both_models():
    labels, first = draw(30)
    second = draw(30, seed=7)[1]
    people = np.arange(30) // 2
    differences = {"war": [], "uar": []}
    for drawn in np.random.default_rng(5).integers(15, size=(200, 15)):
        clips = np.concatenate([np.flatnonzero(people == number) for number in drawn])
        true, present = labels[clips], np.unique(labels[clips])
        one, other = first[clips].argmax(1), second[clips].argmax(1)
        differences["war"].append(np.mean(one == true) - np.mean(other == true))
        options = {"labels": present, "average": "macro", "zero_division": 0.0}
        differences["uar"].append(recall_score(true, one, **options) - recall_score(true, other, **options))
    found = bootstrap_differences(labels, first, second, people, num_resamples=200, seed=5)
    for name, values in differences.items():
        np.testing.assert_allclose(found[name], np.quantile(values, [0.025, 0.975]), atol=1e-9)


def test_differences_of_a_model_to_itself_are_zero_and_other_clips_are_refused():
    labels, probabilities = draw(40)
    assert bootstrap_differences(labels, probabilities, probabilities)["war"] is None
    with pytest.raises(ValueError, match="of the same clips"):
        bootstrap_differences(labels, probabilities, probabilities[:20])


def test_clips_that_come_in_pairs_widen_the_interval():
    labels, probabilities = draw(200)
    single = bootstrap_intervals(labels, probabilities)["war"]
    twice = np.concatenate([labels, labels]), np.concatenate([probabilities, probabilities])
    pairs = bootstrap_intervals(*twice, np.tile(np.arange(200), 2))["war"]
    naive = bootstrap_intervals(*twice)["war"]
    np.testing.assert_allclose(pairs, single)
    assert np.ptp(naive) < 0.85 * np.ptp(pairs)


def test_interval_of_war_agrees_with_scipy():
    labels, probabilities = draw(400)
    right = (labels == probabilities.argmax(1)).astype(float)
    expected = bootstrap((right,), np.mean, n_resamples=4000, method="percentile", random_state=1).confidence_interval
    actual = bootstrap_intervals(labels, probabilities, num_resamples=4000)["war"]
    np.testing.assert_allclose(actual, [expected.low, expected.high], atol=0.004)
    half = bootstrap_intervals(labels, probabilities, num_resamples=4000, level=0.5)["war"]
    assert actual[0] < half[0] < half[1] < actual[1]


def test_values_that_every_resample_repeats_have_no_interval():
    labels = np.array([0] * 9 + [1] * 2 + [2, 3])
    predictions = np.array([0] * 5 + [1] * 4 + [2] * 2 + [2, 0])  # recalls of 5 / 9, 0, 1 and 0
    intervals = bootstrap_intervals(labels, np.eye(4)[predictions])
    low, high = intervals["recall"][0]
    assert 0 < low < 5 / 9 < high < 1 and intervals["recall"][1:] == [None, None, None]
    assert intervals["war"] is not None
    # All right: each clip is 0.2 less sure than it should be, in sums that are rounded differently.
    labels = np.arange(30) % 2
    assert bootstrap_intervals(labels, np.where(np.eye(2)[labels] == 1, 0.8, 0.2)) == {
        "war": None,
        "uar": None,
        "macro_f1": None,
        "ece": None,
        "recall": [None, None],
    }


def test_seed_decides():
    labels, probabilities = draw(50)
    assert bootstrap_intervals(labels, probabilities) == bootstrap_intervals(labels, probabilities)
    assert bootstrap_intervals(labels, probabilities) != bootstrap_intervals(labels, probabilities, seed=1)


def test_a_test_split_of_a_large_dataset_takes_seconds_not_minutes():
    labels, probabilities = draw(8000)
    start = time.process_time()
    bootstrap_intervals(labels, probabilities)
    assert time.process_time() - start < 10  # 0.2 s on an idle core; a loop over metrics takes a minute


def test_too_little_to_draw_from_is_named():
    labels, probabilities = draw(3)
    with pytest.raises(ValueError, match="two units.*got 1"):
        bootstrap_intervals(labels, probabilities, np.zeros(3))
    with pytest.raises(ValueError, match="number of resamples is 0"):
        bootstrap_intervals(labels, probabilities, num_resamples=0)
