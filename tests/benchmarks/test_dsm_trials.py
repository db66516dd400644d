"""benchmarks/dsm_trials.py: its table, and a run of a few seconds from end to end."""

import json
import re
import sys

import datasets
import dsm_trials
import numpy as np
import pytest
from controlled_settings import TUNING_SEEDS, Backbone
from scipy.stats import ttest_rel
from sklearn.metrics import balanced_accuracy_score

TINY = Backbone(
    data={
        "difficulty": 0.5, "image_size": 32, "duration": 0.8, "num_frames": 4, "num_train": 21, "num_validation": 7,
        "num_test": 7, "num_shifted": 7, "num_shifts": 3, "train_clips": 14, "seed": 0,
    },
    backbone={
        "model_type": "hdf_x3d", "stem_channels": 4, "stage_channels": [4, 8], "stage_depths": [1, 1],
        "stage_strides": [2, 2], "head_channels": 16,
    },
    training={"num_train_epochs": 1, "per_device_train_batch_size": 7, "learning_rate": 1e-3},
)  # fmt: skip


def made_up(trial: str, seed: int, num_right: int, condition: str = "plain") -> dict:
    """A record with 10 clips of each of two classes, of which the first class is right `num_right` times."""
    answers = "0" * num_right + "1" * (10 - num_right) + "1" * 10
    about = {"condition": condition, "trial": trial, "seed": seed}
    people = {"validation": [str(number % 4) for number in range(20)]}
    return about | {"answers": {"validation": answers}, "truth": {"validation": "0" * 10 + "1" * 10}, "people": people}


def test_differences_are_paired_by_seed_within_a_condition():
    records = [made_up("none", seed, number) for seed, number in zip(TUNING_SEEDS, (4, 6, 8), strict=True)]
    records += [made_up("ratio_0.3", seed, number) for seed, number in zip(TUNING_SEEDS, (5, 8, 9), strict=True)]
    records += [made_up("none", 100, 0, "long_tail"), made_up("ratio_0.3", 101, 0, "long_tail")]
    rows = dsm_trials.trials_table(records).splitlines()[2:]
    # UAR 70, 80, 90 and 75, 90, 95: differences 5, 10, 5; t(0.975, 2) = 4.303, times 2.887 / sqrt(3).
    assert rows == [
        "| balanced | none | 3 | 80.0 |  |",
        "| balanced | ratio_0.3 | 3 | 86.7 | +6.7 (-0.5 to +13.8) |",
        "| long tail, 50:1 | none | 1 | 50.0 |  |",
        "| long tail, 50:1 | ratio_0.3 | 1 | 50.0 |  |",
    ]


def test_a_run_is_measured_on_the_validation_split_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "rendered"))

    def call(*arguments: str) -> str:
        folders = ("--results", str(tmp_path / "results"), "--clip-cache", str(tmp_path / "decoded"))
        chosen = ("--seeds", "100", "--trials", "none", "ratio_1", "--conditions", "long_tail")
        monkeypatch.setattr(sys, "argv", ["dsm_trials.py", *folders, *chosen, *arguments])
        dsm_trials.main(TINY)
        return capsys.readouterr().out

    assert "2 of 2 runs to do" in call()
    (record,) = (dsm_trials.record_of(run) for run in planned(tmp_path) if run["about"]["trial"] == "ratio_1")
    assert record["settings"]["training"]["dsm_ratio"] == 1.0
    assert record["settings"]["training"]["num_train_epochs"] == 2
    assert {name: len(text) for name, text in record["answers"].items()} == {"validation": 7}
    assert "0 of 2 runs to do" in call()
    table = call("--table")
    assert "ratio_1 | 1 |" in table and "missing" not in table


PAGE = (dsm_trials.RESULTS.parents[2] / "docs" / "results.md").read_text()


def recorded_scores(name: str, seeds: tuple[int, ...] = TUNING_SEEDS) -> list[float]:
    """UAR of committed runs on the validation split, in points."""
    (clips,) = (json.loads(path.read_text()) for path in dsm_trials.RESULTS.glob("clips_*.json"))
    files = [dsm_trials.RESULTS / f"{name}_{seed}.json" for seed in seeds]
    answers = [list(json.loads(file.read_text())["answers"]["validation"]) for file in files]
    return [100 * balanced_accuracy_score(list(clips["truth"]["validation"]), each) for each in answers]


@pytest.mark.parametrize("condition", dsm_trials.EPOCH_FACTORS)
def test_the_page_shows_the_recorded_trials(condition):
    reference = recorded_scores(f"{condition}_none")
    for trial in dsm_trials.TRIALS:
        row = rf"^\| {re.escape(dsm_trials.TITLES[condition])} \| {trial} \| 3 \| ([\d.]+) \| (.*) \|$"
        ((mean, difference),) = re.findall(row, PAGE, re.MULTILINE)
        scores = recorded_scores(f"{condition}_{trial}")
        assert float(mean) == pytest.approx(np.mean(scores), abs=0.051)
        if trial != "none":
            expected = ttest_rel(scores, reference)
            middle = np.mean(scores) - np.mean(reference)
            shown = [float(number) for number in re.findall(r"[-+][\d.]+", difference)]
            assert shown == pytest.approx([middle, *expected.confidence_interval()], abs=0.051)


def test_the_page_corrects_the_two_intervals_off_zero():
    reference = recorded_scores("noise_none")
    p = [9 * ttest_rel(recorded_scores(f"noise_{trial}"), reference).pvalue for trial in ("ratio_0.3", "ratio_1")]
    (shown,) = re.findall(r"Bonferroni: p ([\d.]+) and ([\d.]+\d)", " ".join(PAGE.split()))
    assert [float(number) for number in shown] == pytest.approx(p, abs=0.0051)


def test_the_page_shows_the_runs_of_what_was_removed():
    rows = {
        "cross-entropy": "long_tail_none",
        "ratio 0.3": "long_tail_ratio_0.3",
        "ratio 0.3, head and queue": "removed/long_tail_ratio_0.3_head_queue",
    }
    for title, name in rows.items():
        (shown,) = re.findall(rf"^\| {re.escape(title)} \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
        assert [float(number) for number in shown] == pytest.approx(recorded_scores(name, TUNING_SEEDS[:2]), abs=0.051)


def planned(folder) -> list[dict]:
    """The runs that the command above does."""
    arguments = dsm_trials.argparse.Namespace(
        results=folder / "results", seeds=[100], trials=["none", "ratio_1"], conditions=["long_tail"]
    )
    return dsm_trials.planned_runs(arguments, TINY)
