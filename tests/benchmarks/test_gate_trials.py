"""benchmarks/gate_trials.py: its rule and table, and a run of a few seconds that measures foreign frames."""

import sys

import datasets
import gate_trials
import numpy as np
import pytest
from controlled_run import build_model, build_processor, build_rows, corrupted_answers
from controlled_settings import Backbone
from sklearn.metrics import balanced_accuracy_score

from modeling_hdf.evaluation.robustness import measure_robustness

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


def made_up(condition: str, arm: str, seed: int, clean: int, foreign: int = 0) -> dict:
    """A record of two classes with 20 clips each; the first is right `clean`, with foreign frames `foreign` times."""
    texts = ["0" * number + "1" * (20 - number) + "1" * 20 for number in (clean, foreign - 1, foreign + 1)]
    corrupted = dict(zip(("foreign 2", "foreign 4"), texts[1:], strict=True)) if condition == "foreign" else {}
    return {
        "condition": condition, "arm": arm, "seed": seed, "answers": {"validation": texts[0]}, "corrupted": corrupted,
        "truth": {"validation": "0" * 20 + "1" * 20}, "liveness": {"trained": {"layers": {}, "flipped": None}},
    }  # fmt: skip


def foreign_records(clean: tuple[int, int], foreign: tuple[int, int]) -> list[dict]:
    """none and normalized, right on 16 clean and 10 foreign clips, and suppress as given, by seed."""
    others = [made_up("foreign", arm, seed, 16, 10) for arm in ("none", "normalized") for seed in (100, 101)]
    chosen = zip((100, 101), clean, foreign, strict=True)
    return others + [made_up("foreign", "suppress", *numbers) for numbers in chosen]


@pytest.mark.parametrize(
    ("clean", "foreign", "stays"),
    [
        ((16, 16), (11, 11), True),
        ((16, 16), (15, 10), False),  # level with one seed
        ((15, 15), (15, 15), False),  # 2.5 points of UAR lost on clean clips
        ((15, 17), (11, 11), True),  # none lost on average
    ],
)
def test_foreign_frames_need_both_seeds_and_the_clean_clips(clean, foreign, stays):
    assert gate_trials.rule_says(foreign_records(clean, foreign)) == {"plain": None, "foreign": stays}


@pytest.mark.parametrize(("right", "stays"), [((17, 13, 19), True), ((18, 15, 15), False), ((17, 18), None)])
def test_plain_clips_need_a_mean_above_both_arms(right, stays):
    records = [made_up("plain", "none", seed, 15) for seed in (100, 101, 102)]
    records += [made_up("plain", "normalized", seed, number) for seed, number in ((100, 20), (101, 14), (102, 14))]
    records += [made_up("plain", "suppress", 100 + index, number) for index, number in enumerate(right)]
    assert gate_trials.rule_says(records)["plain"] is stays


def test_the_table_has_the_uar_of_every_seed_and_their_mean():
    rows = gate_trials.trials_table(foreign_records((14, 16), (11, 12))).splitlines()
    assert "| foreign | foreign | none | 75.0 | 75.0 |  | 75.0 |" in rows
    assert "| foreign | clean | suppress | 85.0 | 90.0 |  | 87.5 |" in rows
    assert "| foreign | foreign | suppress | 77.5 | 80.0 |  | 78.8 |" in rows


def test_runs_are_measured_on_validation_clips_with_foreign_frames(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "rendered"))
    monkeypatch.setattr(gate_trials, "SEEDS", {"plain": (100,), "foreign": (100,)})
    folders = [tmp_path / name for name in ("results", "recorded", "decoded")]
    options = zip(("--results", "--recorded", "--clip-cache"), map(str, folders), strict=True)
    command = ["gate_trials.py", *(text for pair in options for text in pair)]
    monkeypatch.setattr(sys, "argv", command)
    gate_trials.main(TINY)
    assert "6 of 6 runs to do" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--table"])
    gate_trials.main(TINY)
    table = capsys.readouterr().out
    assert "missing" not in table and "| foreign | suppress | 100 |" in table

    runs = gate_trials.planned_runs(*folders[:2], TINY)
    assert sorted(run["path"].parent.name for run in runs) == ["recorded"] * 2 + ["results"] * 4
    records = {(run["about"]["condition"], run["about"]["arm"]): gate_trials.record_of(run) for run in runs}
    assert records["foreign", "suppress"]["settings"]["dam"]["dam_gate"] == "suppress"
    assert records["plain", "suppress"]["corrupted"] == {}
    record = records["foreign", "suppress"]
    assert {name: len(text) for name, text in record["corrupted"].items()} == {"foreign 2": 7, "foreign 4": 7}
    check_against_the_robustness_command(folders[2])


def check_against_the_robustness_command(cache) -> None:
    model = build_model(
        {"start": None, "dam": {"dam_layers": []}, "data": TINY.data, "backbone": TINY.backbone}, 0, cache
    )
    answers = corrupted_answers(model.eval(), TINY.data, cache, split="validation", names=["foreign"], num_clips=7)
    rows = build_rows(TINY.data, "validation")
    expected = measure_robustness(model, build_processor(TINY.data), rows, names=["foreign"], severities=(2, 4))
    for level, scores in expected["corruptions"]["foreign"]["severities"].items():
        predicted = np.array(list(map(int, answers[f"foreign {level}"])))
        assert scores["uar"] == pytest.approx(balanced_accuracy_score(rows["label"][:], predicted))
