"""benchmarks/controlled_ablation.py: its statistics, its conditions, and a run of a few seconds from end to end."""

import json
import re
import sys

import controlled_ablation
import datasets
import numpy as np
import pytest
import torch
from controlled_analysis import (
    NUM_RESAMPLES,
    best_arm,
    chosen_dam,
    chosen_epochs,
    chosen_variant,
    contrast,
    contrasts_of,
    counts_by_person,
    holm,
    inference,
    liveness_table,
    results_table,
    uar_of,
    weighted_uar,
)
from controlled_conditions import ForeignFrames, long_tail_indices, noisy_labels, training_clips
from controlled_run import build_model, build_processor, build_rows, corrupted_answers
from controlled_settings import ARMS, BACKBONES, SEEDS, TUNING_SEEDS, Backbone, run_settings
from scipy.stats import t as student
from scipy.stats import ttest_rel
from sklearn.metrics import balanced_accuracy_score

from modeling_hdf.data.corruptions import CORRUPTIONS
from modeling_hdf.evaluation.robustness import measure_robustness

TINY_DATA = {
    "difficulty": 0.5, "image_size": 32, "duration": 0.8, "num_frames": 4, "num_train": 21, "num_validation": 7,
    "num_test": 7, "num_shifted": 7, "num_shifts": 3, "train_clips": 14, "seed": 0,
}  # fmt: skip
TINY_TRAINING = {"num_train_epochs": 1, "per_device_train_batch_size": 7, "learning_rate": 1e-3}
TINY = {
    "videomae": Backbone(
        data=TINY_DATA,
        backbone={
            **{"model_type": "videomae", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
            **{"intermediate_size": 8, "patch_size": 16, "tubelet_size": 2},
        },
        training=TINY_TRAINING,
        start={"train_clips": 21, "mask_ratio": 0.5, **TINY_TRAINING},
        epoch_factor=1,
    ),
    "x3d": Backbone(
        data=TINY_DATA,
        backbone={
            **{"model_type": "hdf_x3d", "stem_channels": 4, "stage_channels": [4, 8], "stage_depths": [1, 1]},
            **{"stage_strides": [2, 2], "head_channels": 16},
        },
        training=TINY_TRAINING,
        epoch_factor=1,
    ),
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controlled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "rendered"))
        yield folder / "decoded"


@pytest.fixture
def run(caches, tmp_path, monkeypatch, capsys):
    """Calls the command with some arguments, and gives back what it printed."""

    def call(*arguments: object, backbones: dict = TINY) -> str:
        folders = ("--results", tmp_path, "--clip-cache", caches)
        monkeypatch.setattr(sys, "argv", ["controlled_ablation.py", *map(str, (*folders, *arguments))])
        controlled_ablation.main(backbones)
        return capsys.readouterr().out

    return call


def made_up(arm: str, seed: int, accuracy: float, num_clips: int = 140, **about) -> dict:
    """A record whose answers are right with a probability; 7 classes, 14 people."""
    rng = np.random.default_rng([seed, int(1000 * accuracy)])
    truth = np.arange(num_clips) % 7

    def answers(share: float) -> str:
        wrong = (truth + rng.integers(1, 7, num_clips)) % 7
        return "".join(map(str, np.where(rng.random(num_clips) < share, truth, wrong)))

    text = "".join(map(str, truth))
    splits = ("validation", "test", "shifted")
    return {
        "arm": arm,
        "seed": seed,
        "backbone": "x3d",
        "condition": "plain",
        "truth": dict.fromkeys(splits, text),
        "people": dict.fromkeys(splits, [str(i % 14) for i in range(num_clips)]),
        "answers": {split: answers(accuracy) for split in splits},
        "corrupted": {f"{name} {level}": answers(accuracy - 0.2) for name in ("blur", "foreign") for level in (2, 4)},
        "liveness": {"trained": {"flipped": 0.25}},
        **about,
    }


def test_the_uar_is_the_balanced_accuracy_and_its_weights_repeat_people():
    rng = np.random.default_rng(0)
    truth, people = rng.integers(0, 5, 90), rng.integers(0, 8, 90)
    answers = np.where(rng.random((2, 90)) < 0.6, truth, (truth + 1) % 5)
    hits, clips = counts_by_person(answers == truth, truth, people)
    weights = rng.integers(0, 3, (4, 8))
    weights[0] = 1
    expected = []
    for weight in weights:
        kept = np.concatenate([np.flatnonzero(people == person) for person in range(8) for _ in range(weight[person])])
        expected.append(np.mean([balanced_accuracy_score(truth[kept], row[kept]) for row in answers]))
    assert weighted_uar(hits, clips, weights) == pytest.approx(np.array(expected))


def test_holm_is_that_of_a_hand_calculation():
    assert holm([0.01, 0.04, 0.03, 0.5], 4) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.4, 0.9], 2) == pytest.approx([0.8, 0.9])


def test_missing_tests_of_the_family_count_as_p_1():
    whole = holm([0.01, 0.002, 1.0, 0.03, 1.0, 1.0, 1.0, 1.0], 8)
    assert holm([0.01, 0.002, 0.03], 8) == pytest.approx([whole[0], whole[1], whole[3]])
    assert whole[:2] == pytest.approx([0.07, 0.016])


def test_a_contrast_finds_a_large_difference_and_no_difference():
    better, worse = ([made_up("a", seed, accuracy) for seed in range(8)] for accuracy in (0.8, 0.6))
    found = contrast(better, worse, "test", 2000)
    expected = np.mean([uar_of(a, "test") - uar_of(b, "test") for a, b in zip(better, worse, strict=True)])
    assert found["difference"] == pytest.approx(expected) and found["num_seeds"] == 8
    assert found["low"] < found["difference"] < found["high"] and found["low"] > 0 and found["p"] < 0.01
    same = contrast(better, better, "test", 500)
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)


def test_the_interval_covers_seeds_and_people():
    """Against the spread of an average over seeds, and that over clips, of independent answers."""
    better, worse = ([made_up("a", seed, accuracy) for seed in range(8)] for accuracy in (0.71, 0.7))
    found = contrast(better, worse, "shifted", 4000)
    per_seed = [uar_of(a, "shifted") - uar_of(b, "shifted") for a, b in zip(better, worse, strict=True)]
    over_seeds = np.std(per_seed, ddof=1) / np.sqrt(8)
    over_clips = 100 * np.sqrt(2 * 0.7 * 0.3 / (140 * 8))
    half = (found["high"] - found["low"]) / 2 / student.ppf(0.975, 7)
    assert 0.95 * over_seeds < half < 1.5 * np.hypot(over_seeds, over_clips)
    assert found["p"] > 0.01


def test_five_percent_of_contrasts_without_an_effect_are_significant():
    """Eight seeds that differ by chance: the p-value holds what it promises, and percentiles do not."""
    rng = np.random.default_rng(0)
    found, expected = [], []
    for _ in range(2000):
        seeds, none = rng.standard_normal(8), np.zeros(8)
        found.append(inference(seeds.mean(), rng.choice(seeds, (400, 8)).mean(1), 8))
        expected.append(ttest_rel(seeds, none).pvalue)
    for level in (0.05, 0.05 / 8):
        rejected = np.mean([each["p"] < level for each in found])
        assert rejected == pytest.approx(level, abs=4 * np.sqrt(level / 2000))
    assert np.corrcoef([each["p"] for each in found], expected)[0, 1] > 0.99
    assert 0.09 < np.mean([each["p_percentile"] < 0.05 for each in found]) < 0.14


def test_corrupted_and_foreign_are_separate_test_sets():
    record = made_up("none", 0, 0.9)
    for name, expected in (("corrupted", "blur"), ("foreign", "foreign")):
        truth = np.array(list(record["truth"]["test"]))
        answers = [np.array(list(record["corrupted"][f"{expected} {level}"])) for level in (2, 4)]
        mean = np.mean([balanced_accuracy_score(truth, row) for row in answers])
        assert uar_of(record, name) == pytest.approx(100 * mean)


def test_the_table_chooses_dam_on_validation_and_corrects_one_family():
    levels = {"none": 0.6, "static": 0.62, "temporal": 0.63, "normalized": 0.7, "dsm": 0.6}
    levels |= {"temporal_dsm": 0.6, "normalized_dsm": 0.8}
    records = [made_up(arm, seed, level) for arm, level in levels.items() for seed in range(3)]
    arms = {arm: {r["seed"]: r for r in records if r["arm"] == arm} for arm in levels}
    assert chosen_dam(arms) == "normalized"
    assert contrasts_of("normalized")["DAM - static"] == ("normalized", "static")
    table = results_table(records, 200)
    assert "DAM is normalized. The best arm on validation is normalized_dsm." in table
    assert f"The default is {chosen_variant(arms, 200)}." in table
    assert "| temporal - static | 3 |" in table
    assert "| normalized - static" not in table and "| best - none" not in table  # named "DAM" and "DAM + DSM" above
    assert "4 of the 8 tests" in table
    tests = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| x3d: ")]
    raw = [float(cells[2]) for cells in tests]
    assert [float(cells[3]) for cells in tests] == pytest.approx(holm(raw, 8), abs=1e-3)
    assert holm(raw, 8) != pytest.approx(holm(raw, 4), abs=1e-2)
    assert "| DAM + DSM - none | 3 | +" in table and "| none | 3 |" in table and "| 25.0 |" in table


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"none": 0.7, "static": 0.7, "temporal": 0.7, "normalized": 0.9}, "normalized"),
        ({"none": 0.8, "static": 0.95, "temporal": 0.6, "normalized": 0.8}, "static"),
        ({"none": 0.71, "static": 0.7, "temporal": 0.705, "normalized": 0.7}, "temporal"),
        ({"none": 0.5, "static": 0.5, "temporal": 0.8, "normalized": 0.5}, "temporal"),
    ],
)
def test_the_default_changes_only_for_a_variant_that_is_surely_better(levels, expected):
    records = [made_up(arm, seed, level) for arm, level in levels.items() for seed in range(4)]
    arms = {arm: {r["seed"]: r for r in records if r["arm"] == arm} for arm in levels}
    assert chosen_variant(arms, 300) == expected
    highest = max(levels, key=lambda arm: np.mean([uar_of(record, "validation") for record in arms[arm].values()]))
    assert best_arm(arms) == highest


def test_the_best_arm_is_compared_with_none_in_every_condition():
    levels = {"none": 0.6, "static": 0.8, "temporal": 0.63, "normalized": 0.7}
    records = [made_up(arm, seed, level) for arm, level in levels.items() for seed in range(3)]
    records += [made_up(arm, seed, levels[arm], condition="noise") for arm in ("none", "static") for seed in range(3)]
    table = results_table(records, 200)
    assert "The best arm on validation is static." in table and table.count("| best - none | 3 | +") == 2


def test_the_gain_of_the_augmentation_compares_two_conditions():
    records = [made_up("none", seed, 0.6) for seed in range(3)]
    records += [made_up("none", seed, 0.8, condition="augmented") for seed in range(4)]
    assert re.search(r"^\| none: augmented - plain \| 3 \| \+[12]\d\.", results_table(records, 200), re.MULTILINE)


def trials(**scores: float) -> list[dict]:
    """Trials of the number of epochs, whose base is 10, with `none_10=0.5` as validation UAR of an arm."""
    records = []
    for name, score in scores.items():
        arm, epochs = name.split("_")
        for seed in TUNING_SEEDS:
            record = made_up(arm, seed, 0.5, settings={"training": {"num_train_epochs": int(epochs)}})
            right = round(score * 140)
            truth = record["truth"]["validation"]
            record["answers"]["validation"] = truth[:right] + "".join(str((int(d) + 1) % 7) for d in truth[right:])
            records.append(record | {"epoch_factor": int(epochs) // 10})
    return records


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param({"none_10": 0.5, "normalized_10": 0.5}, None, id="twice-the-base-is-missing"),
        pytest.param({"none_10": 0.5, "normalized_10": 0.5, "none_20": 0.5}, None, id="one-arm-is-missing"),
        pytest.param(
            {"none_10": 0.5, "normalized_10": 0.6, "none_20": 0.5, "normalized_20": 0.6}, 10, id="the-base-is-enough"
        ),
        pytest.param(
            {"none_10": 0.5, "normalized_10": 0.6, "none_20": 0.5, "normalized_20": 0.65}, None, id="one-arm-changes"
        ),
        pytest.param(
            {"none_10": 0.5, "normalized_10": 0.6, "none_20": 0.5, "normalized_20": 0.55, "none_40": 0.5}
            | {"normalized_40": 0.55},
            20,
            id="twice-the-base-is-enough",
        ),
        pytest.param(
            {"none_10": 0.5, "normalized_10": 0.6, "none_20": 0.6, "normalized_20": 0.7, "none_40": 0.7}
            | {"normalized_40": 0.7},
            40,
            id="never-enough",
        ),
    ],
)
def test_the_number_of_epochs_is_the_least_that_twice_as_many_do_not_change(scores, expected):
    records = trials(**scores)
    assert chosen_epochs(records) == expected
    assert chosen_epochs(records[:-1]) is None  # a seed is missing


def test_the_liveness_of_every_layer_is_a_mean_over_seeds():
    def live(spread: float, flipped: float) -> dict:
        layers = {layer: {"temporal": spread, "frequency": spread / 2} for layer in ("2", "10")}
        return {"layers": layers, "flipped": flipped}

    records = [
        made_up(
            "static", seed, 0.5, liveness={"start": live(0.0, 0.0), "trained": live(0.1 * (seed + 1), 0.25 * seed)}
        )
        for seed in range(2)
    ]
    records.append(made_up("none", 0, 0.5, liveness={"start": {"layers": {}}}))
    table = liveness_table(records)
    assert "| x3d | plain | static | 2 | start | 0, 0 | 0, 0 | 0.0 |" in table
    assert "| x3d | plain | static | 2 | trained | 15, 15 | 7.5, 7.5 | 12.5 |" in table
    assert "none" not in table


def test_the_long_tail_falls_to_the_ratio_and_keeps_every_class():
    labels = np.repeat(np.arange(7), 100)
    counts = np.bincount(labels[long_tail_indices(labels, 50)])
    assert counts[0] == 100 and counts[-1] == 2 and list(counts) == sorted(counts, reverse=True)
    ratios = counts[:-2] / counts[1:-1]
    assert ratios == pytest.approx(50 ** (1 / 6), rel=0.15)
    assert long_tail_indices(labels, 1.0) == list(range(700))


def test_a_share_of_the_labels_is_wrong():
    labels = [number % 7 for number in range(700)]
    noisy = noisy_labels(labels, 0.2, 7, 3)
    wrong = [b for a, b in zip(labels, noisy, strict=True) if a != b]
    assert len(wrong) == 140 and set(noisy) == set(range(7)) and len(set(wrong)) == 7
    assert noisy_labels(labels, 0.0, 7, 3) == labels


def test_foreign_frames_come_from_a_clip_of_another_class():
    clips = [torch.full((8, 3, 4, 4), 10 * number, dtype=torch.uint8) for number in range(6)]
    swap = ForeignFrames(clips, [0, 0, 1, 1, 2, 2], (0.25, 0.5))
    torch.manual_seed(0)
    shares = []
    for _ in range(200):
        values = swap(clips[2])[:, 0, 0, 0].tolist()
        foreign = [value for value in values if value != 20]
        assert set(foreign) <= {0, 10, 40, 50} and len(set(foreign)) <= 1
        shares.append(len(foreign) / 8)
    assert 60 < shares.count(0) < 140 and set(shares) - {0} == {0.25, 0.375, 0.5}


@pytest.mark.parametrize(("condition", "expected"), [("plain", False), ("augmented", True)])
def test_only_the_augmented_condition_trains_on_corrupted_clips(caches, condition, expected):
    settings = run_settings(TINY["x3d"], "none", condition, 1)
    clips = training_clips(TINY_DATA, settings["condition"], 0, 7, caches)
    changed = []
    for index in range(len(clips)):
        clip, shown = clips.cache[index][0], clips[index]["clip"]
        changed.append(not (shown.equal(clip) or shown.equal(clip.flip(-1))))
    assert any(changed) == expected and not all(changed)


def test_the_plan_is_that_of_the_protocol():
    assert SEEDS == tuple(range(8)) and len(ARMS) == 7 and set(BACKBONES) == {"videomae", "x3d"}
    settings = run_settings(BACKBONES["x3d"], "normalized_dsm", "plain", 2)
    assert settings["dam"]["dam_variant"] == "normalized" and settings["training"]["dsm_scaling"] == "ratio"
    assert settings["training"]["num_train_epochs"] == 2 * BACKBONES["x3d"].training["num_train_epochs"]
    assert NUM_RESAMPLES == 10_000


@pytest.mark.parametrize("backbone", ["videomae", "x3d"])
def test_a_run_measures_what_the_protocol_names_and_is_done_once(run, tmp_path, backbone):
    chosen = ("--backbones", backbone, "--arms", "normalized_dsm", "--seeds", 1, "--conditions", "foreign")
    run(*chosen)
    (file,) = tmp_path.glob(f"{backbone}*.json")
    record = json.loads(file.read_text())
    (clips,) = tmp_path.glob("clips_*.json")
    assert json.loads(clips.read_text())["truth"]["test"] == "".join(map(str, build_rows(TINY_DATA, "test")["label"]))
    assert {split: len(text) for split, text in record["answers"].items()} == dict.fromkeys(
        ("validation", "test", "shifted"), 7
    )
    assert set(record["corrupted"]) == {f"{name} {level}" for name in CORRUPTIONS for level in (2, 4)}
    assert record["liveness"]["start"]["flipped"] == 0 and set(record["liveness"]["trained"]["layers"])
    before = file.stat().st_mtime_ns
    assert "0 of 1 runs to do" in run(*chosen) and file.stat().st_mtime_ns == before
    assert "1 |" in run(*chosen, "--table")
    assert f"| {backbone} | foreign | normalized_dsm | 1 | trained |" in run(*chosen, "--liveness")


def test_the_trials_end_where_longer_ones_change_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("controlled_analysis.CONVERGED", 101.0)
    chosen = ("--backbones", "x3d", "--convergence")
    run(*chosen)
    assert len(list((tmp_path / "convergence").glob("x3d_*.json"))) == 2 * 2 * len(TUNING_SEEDS)
    table = run(*chosen, "--table")
    assert "x3d: 1 epochs." in table and "missing" not in table


def test_corrupted_clips_are_those_of_the_robustness_command_and_are_made_once(run, caches, monkeypatch):
    model = build_model(run_settings(TINY["x3d"], "none", "plain", 1), 0, caches).eval()
    answers = corrupted_answers(model, TINY_DATA, caches)
    rows = build_rows(TINY_DATA, "test")
    expected = measure_robustness(model, build_processor(TINY_DATA), rows, severities=(2, 4))["corruptions"]
    truth = np.array(rows["label"][:])
    for name, corruption in expected.items():
        for severity, scores in corruption["severities"].items():
            got = np.array([int(digit) for digit in answers[f"{name} {severity}"]])
            assert np.mean(got == truth) == pytest.approx(scores["war"]), (name, severity)
    monkeypatch.setattr("controlled_run.CorruptedClips", None)
    assert corrupted_answers(model, TINY_DATA, caches) == answers


def test_arms_of_a_seed_share_everything_but_dam(caches, run):
    run("--backbones", "videomae", "--arms", "none", "--seeds", 0, "--conditions", "plain", "--num-runs", 0)
    models = {arm: build_model(run_settings(TINY["x3d"], arm, "plain", 1), 4, caches) for arm in ARMS}
    reference = models["none"].state_dict()
    for arm, model in models.items():
        state = model.state_dict()
        assert all(state[name].equal(value) for name, value in reference.items()), arm
    other = build_model(run_settings(TINY["x3d"], "none", "plain", 1), 5, caches).state_dict()
    assert not other["classifier.weight"].equal(reference["classifier.weight"])
