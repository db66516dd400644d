"""Reports of tables of predictions: the numbers, the groups, the unit of the bootstrap."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from modeling_hdf.cli.text import evaluation_lines
from modeling_hdf.evaluation.bootstrap import bootstrap_intervals
from modeling_hdf.evaluation.metrics import classification_scores, expected_calibration_error, reliability
from modeling_hdf.evaluation.predictions import class_probabilities
from modeling_hdf.evaluation.results import Results
from modeling_hdf.evaluation.summary import clip_groups, evaluate_predictions

NAMES = ["calm", "glad", "sad"]
ABOUT = {"model": "m", "dataset": "d", "fold": None, "split": "test", "num_views": 1, "peer_protocol": False}
ABOUT |= {"temporal_sampling": "uniform", "sampling_stride": 1}


def build_table(num_clips: int = 60, **columns) -> pd.DataFrame:
    """Clips of two of three classes, predicted at random."""
    generator = np.random.default_rng(0)
    labels = generator.choice(2, num_clips)
    probabilities = generator.dirichlet(np.ones(3), num_clips)
    return pd.DataFrame(
        {
            "clip_id": [f"{index:03d}" for index in range(num_clips)],
            "label": [NAMES[label] for label in labels],
            "predicted": [NAMES[number] for number in probabilities.argmax(1)],
            **{f"probability_{name}": probabilities[:, number] for number, name in enumerate(NAMES)},
            **columns,
        }
    )


def numbers(column: pd.Series) -> np.ndarray:
    return np.array([NAMES.index(name) for name in column])


def assert_alike(actual, expected) -> None:
    """Equal, but for the last bits of floats."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_alike(actual[name], expected[name])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_alike(one, other)
    else:
        assert actual == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_the_numbers_hold_the_metrics_their_intervals_and_the_points_of_the_diagram():
    table = build_table()
    scores = evaluate_predictions(table, num_resamples=50, seed=3)
    labels, probabilities = numbers(table["label"]), class_probabilities(table)
    assert_alike({**scores, **classification_scores(labels, probabilities.argmax(1), NAMES)}, scores)
    assert scores["ece"] == pytest.approx(expected_calibration_error(labels, probabilities))
    assert_alike(scores["reliability"], reliability(labels, probabilities))
    expected = bootstrap_intervals(labels, probabilities, num_resamples=50, seed=3)
    expected["recall"] = dict(zip(NAMES, expected["recall"], strict=True))
    for name in ("war", "ece", "recall"):
        assert_alike(scores["intervals"][name], expected[name])
    assert scores["recall"]["sad"] is None and scores["intervals"]["recall"]["sad"] is None
    assert scores["bootstrap"] == {
        "unit": "clip",
        "num_units": 60,
        "level": 0.95,
        "num_resamples": 50,
        "seed": 3,
    }
    assert scores["groups"] == {}
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize("column", ["identity", "group"])
def test_people_are_the_unit_of_the_bootstrap_where_they_are_known(column):
    people = np.repeat(np.arange(12), 5)
    table = build_table(**{column: people})
    scores = evaluate_predictions(table, num_resamples=50)
    assert (scores["bootstrap"]["unit"], scores["bootstrap"]["num_units"]) == (column, 12)
    labels, probabilities = numbers(table["label"]), class_probabilities(table)
    expected = bootstrap_intervals(labels, probabilities, people, num_resamples=50)
    assert_alike(scores["intervals"]["war"], expected["war"])
    assert scores["groups"] == {}  # people are no factor
    partly = table.assign(**{column: np.where(people == 3, None, people)})
    assert evaluate_predictions(partly, num_resamples=5)["bootstrap"]["unit"] == "clip"


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_groups_hold_their_own_metrics_and_name_the_worst():
    scenes = np.array(["War", "Action", "School"])[np.arange(60) % 3]
    table = build_table(scene=scenes, same="x")
    wrong = np.array(["calm" if label == "glad" else "glad" for label in table["label"]])
    bad = scenes == "School"
    for name in NAMES:  # the clips of one scene are all wrong
        table.loc[bad, f"probability_{name}"] = (wrong[bad] == name).astype(float)
    table.loc[bad, "predicted"] = wrong[bad]
    scores = evaluate_predictions(table, num_resamples=20)
    assert list(scores["groups"]) == ["scene"]  # one value only tells nothing
    groups = scores["groups"]["scene"]
    assert groups["worst"] == "School" and list(groups["groups"]) == ["Action", "School", "War"]
    for scene in ("Action", "School", "War"):
        part = table[scenes == scene]
        group = groups["groups"][scene]
        assert group["num_clips"] == 20
        assert group["war"] == pytest.approx(accuracy_score(part["label"], part["predicted"]))
        assert group["uar"] == pytest.approx(balanced_accuracy_score(part["label"], part["predicted"]))
        labels, probabilities = numbers(part["label"]), class_probabilities(part)
        expected = bootstrap_intervals(labels, probabilities, num_resamples=20)
        assert_alike(group["intervals"], {"war": expected["war"], "uar": expected["uar"]})


def test_a_small_group_is_never_the_worst():
    table = build_table(scene=["small"] * 9 + ["large"] * 30 + ["right"] * 21)
    table["label"] = table["predicted"].where(table["scene"] != "small", "sad")
    table.loc[9, "label"] = "sad" if table.loc[9, "predicted"] != "sad" else "calm"
    table.loc[:8, [f"probability_{name}" for name in NAMES]] = [1.0, 0.0, 0.0]
    table.loc[:8, "predicted"] = "calm"
    groups = evaluate_predictions(table, num_resamples=5)["groups"]["scene"]
    assert groups["groups"]["small"]["war"] == 0 and groups["worst"] == "large"
    # Neither is a large one that no other can be compared with.
    for count in (9, 39):
        part = evaluate_predictions(table[:count], ["scene"], num_resamples=5)["groups"]["scene"]
        assert part["worst"] is None


def test_lines_show_values_without_an_interval_where_all_resamples_agree():
    table = build_table(scene=["a", "b"] * 30)
    table["label"] = table["predicted"]
    table.loc[table.index[table["scene"] == "a"][:2], "label"] = ["glad", "calm"]
    metrics = {**ABOUT, **evaluate_predictions(table, num_resamples=20), "across_datasets": None}
    assert metrics["groups"]["scene"]["groups"]["b"]["intervals"] == {"war": None, "uar": None}
    lines = evaluation_lines(Results(**metrics), all_groups=True)
    assert "  b: WAR 1.000, UAR 1.000, 30 clips" in lines
    assert metrics["intervals"]["recall"]["sad"] is None
    assert f"  sad              1.000  {(table['label'] == 'sad').sum()} clips" in lines


def test_a_single_clip_in_a_group_has_no_interval():
    table = build_table(11, scene=["a"] + ["b"] * 10)
    groups = evaluate_predictions(table, num_resamples=5)["groups"]["scene"]["groups"]
    assert groups["a"]["intervals"] is None and groups["b"]["intervals"] is not None


def test_numbers_are_binned_at_their_quartiles_and_few_values_are_groups():
    values = np.random.default_rng(1).normal(size=101)
    groups = clip_groups(pd.Series(values))
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    expected = [0 if v <= low else 1 if v <= middle else 2 if v <= high else 3 for v in values]
    assert groups.cat.codes.tolist() == expected
    assert groups[values.argmin()] == f"{values.min():.3g} to {low:.3g}"
    assert groups[values.argmax()] == f"{high:.3g} to {values.max():.3g}"
    assert clip_groups(pd.Series([2, 0, 1, 2])).tolist() == ["2", "0", "1", "2"]
    # Most clips at one value: equal quartiles are one.
    silent = clip_groups(pd.Series([0.0] * 6 + [0.1, 0.2, 0.3, 0.4]))
    assert silent.nunique() == 2 and silent.notna().all()


def test_bins_that_three_digits_do_not_tell_apart_get_more():
    groups = clip_groups(pd.Series([1.0001, 1.0002, 1.0003, 1.0004, 1.0005])).tolist()
    bins = ["1.0001 to 1.0002", "1.0002 to 1.0003", "1.0003 to 1.0004", "1.0004 to 1.0005"]
    assert groups == [bins[0], *bins]


def test_a_missing_value_is_a_group_of_its_own():
    assert clip_groups(pd.Series(["War", None, "Action"])).tolist() == ["War", "unknown", "Action"]
    assert clip_groups(pd.Series([1.0, np.nan, 2.0, 3.0, 4.0, 5.0]))[1] == "unknown"
    assert clip_groups(pd.Series(["unknown", "War", None])).tolist() == ["unknown", "War", "unknown"]


def test_an_unknown_factor_and_a_damaged_table_are_named():
    with pytest.raises(ValueError, match="no column colour to group by; their factors: scene"):
        evaluate_predictions(build_table(scene=["a", "b"] * 30), ["colour"])
    with pytest.raises(ValueError, match="invalid probabilities"):
        evaluate_predictions(build_table().assign(probability_sad=np.nan))


def test_lines_show_every_number_the_worst_groups_and_what_has_no_clips():
    table = build_table(scene=["a", "b"] * 30)
    across = {"shared": NAMES, "only_in_model": ["fear"], "left_out": {"contempt": 4}}
    metrics = {**ABOUT, **evaluate_predictions(table, num_resamples=20), "across_datasets": across}
    text = "\n".join(evaluation_lines(Results(**metrics)))
    low, high = metrics["intervals"]["war"]
    assert f"WAR                {metrics['war']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "  sad              no clips: left out of UAR and macro F1" in text
    assert "clips left out, of classes that the model lacks: 4 contempt" in text
    assert "classes that the dataset lacks: fear" in text
    assert "95% bootstrap intervals, 20 resamples of 60 clips, seed 0" in text
    worst = metrics["groups"]["scene"]["worst"]
    assert f"worst by scene: {worst}: WAR" in text and "\n  a: WAR" not in text
    text = "\n".join(evaluation_lines(Results(**metrics), all_groups=True))
    assert f"by scene; worst: {worst}\n  a: WAR" in text and "\n  b: WAR" in text
    alone = {**ABOUT, **evaluate_predictions(build_table(1)), "across_datasets": None}
    assert "no intervals: all clips are of one clip" in "\n".join(evaluation_lines(Results(**alone)))
