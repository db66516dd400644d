"""benchmarks/pretraining.py: arms, tables, resuming, and a run of a few seconds from end to end."""

import json
import sys

import datasets
import pretraining
import pytest
from pretraining_settings import SEEDS, SETTINGS, TRIALS, TUNING_SEEDS, changed
from pretraining_table import results_table, tuning_table
from scipy.stats import ttest_rel

TINY = {
    "data": {
        "difficulty": 0.5, "image_size": 32, "duration": 0.8, "num_frames": 4, "num_train": 21, "num_validation": 7,
        "num_test": 7, "train_clips": 7, "seed": 0,
    },
    "backbone": {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "patch_size": 16,
        "tubelet_size": 2,
    },
    "fine_tuning": {"dsm": False, "num_train_epochs": 1, "per_device_train_batch_size": 7, "learning_rate": 1e-3},
    "start": {
        "train_clips": 21, "norm_pix_loss": True, "mask_ratio": 0.5, "num_train_epochs": 2,
        "per_device_train_batch_size": 7, "learning_rate": 1e-3,
    },
}  # fmt: skip


def record(arm: str, seed: int, uar: float, split: str = "test", settings: dict = SETTINGS) -> dict:
    return {
        "run": arm,
        "seed": seed,
        "settings": pretraining.run_settings(arm, settings),
        "results": {split: {"war": uar + 0.01, "uar": uar}},
        "pretraining": {"losses": [1.0, 0.5]} if arm == "pretrained" else {},
    }


def test_arms_differ_in_the_pretraining_alone_and_tuning_has_seeds_of_its_own():
    scratch, pretrained = (pretraining.run_settings(arm, SETTINGS) for arm in ("scratch", "pretrained"))
    assert scratch == {**pretrained, "start": None} and pretrained == SETTINGS
    assert not set(SEEDS) & set(TUNING_SEEDS) and len(SEEDS) >= 4


def test_the_table_gives_the_paired_interval():
    scratch, pretrained = [0.5, 0.6, 0.55], [0.62, 0.7, 0.66]
    records = [record("scratch", seed, uar) for seed, uar in enumerate(scratch)]
    records += [record("pretrained", seed, uar) for seed, uar in reversed(list(enumerate(pretrained)))]
    records.append(record("pretrained", 9, 0.1))  # without a partner
    low, high = ttest_rel(pretrained, scratch).confidence_interval(0.95)
    cell = f"+11.0 ({100 * low:+.1f} to {100 * high:+.1f})"
    lines = results_table(records).splitlines()
    assert lines[2] == "| from scratch | 3 | 56.0 | 55.0 |"
    assert lines[4] == f"| paired difference (95 %) | 3 | {cell} | {cell} |"


def test_the_page_has_the_gains_of_the_recorded_trials():
    records = [json.loads(path.read_text()) for path in (pretraining.RESULTS / "tuning").glob("*.json")]
    gains = {}
    for line in tuning_table(records).splitlines()[2:]:
        name, scratch, pretrained = (cell.strip() for cell in line.split("|")[1:4])
        if name in ("chosen", "epochs_8", "epochs_10"):
            gains[name] = f"{float(pretrained) - float(scratch):.1f}"
    page = " ".join((pretraining.ROOT / "docs" / "results.md").read_text().split())
    assert f"it was {gains['chosen']} points with 175 labelled clips and 16 epochs" in page
    assert f"{gains['epochs_8']} with 350 clips and 8 epochs, and {gains['epochs_10']} with 350 clips and 10" in page


def test_the_tuning_table_finds_the_runs_of_a_trial_by_their_settings():
    name = next(name for name, changes in TRIALS.items() if "start" in changes)
    settings = changed(TRIALS[name])
    records = [record(arm, 100, 0.5, "validation", settings) for arm in ("scratch", "pretrained")]
    lines = {line.split(" | ")[0]: line for line in tuning_table(records).splitlines()}
    assert lines[f"| {name}"].endswith("| 50.0 | 50.0 | 1.000 to 0.500 |")
    assert lines["| chosen"].endswith("| - | - | - |")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Calls the command with some arguments, and gives back what it printed."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "rendered"))
    monkeypatch.setattr(pretraining, "SETTINGS", TINY)

    def call(*arguments: object) -> str:
        folders = ("--results", tmp_path / "results", "--cache", tmp_path / "cache")
        monkeypatch.setattr(sys, "argv", ["benchmarks/pretraining.py", *map(str, (*folders, *arguments))])
        pretraining.main()
        return capsys.readouterr().out

    return call


def test_both_arms_run_from_end_to_end_and_a_finished_run_is_not_repeated(run, tmp_path, monkeypatch):
    shown = run("--seeds", 3)
    assert "scratch_3: test WAR" in shown and "pretrained_3: test WAR" in shown
    records = {arm: json.loads((tmp_path / "results" / f"{arm}_3.json").read_text()) for arm in pretraining.ARMS}
    assert records["scratch"]["pretraining"] == {} and len(records["pretrained"]["pretraining"]["losses"]) == 2
    assert all(record["results"]["test"]["num_clips"] == 7 for record in records.values())
    assert records["scratch"]["losses"] != records["pretrained"]["losses"]
    assert "_3: test WAR" not in run("--seeds", 3)

    monkeypatch.setitem(TINY["fine_tuning"], "learning_rate", 1e-2)
    with pytest.raises(SystemExit, match="fine_tuning.learning_rate was 0.001, is 0.01"):
        run("--seeds", 3)
