"""benchmarks/ablation.py: arms, statistics, resuming, and a run of a few seconds from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import ablation
import datasets
import numpy as np
import pytest
import synthetic_runs
import torch
from ablation_settings import ARMS, BASELINE, SEEDS, SETTINGS, TRIALS, TUNING_SEEDS, Settings, Trial
from ablation_table import paired_interval, results_table, tuning_table
from scipy.stats import ttest_rel
from transformers import VideoMAEForPreTraining

from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ShiftedFacesConfig
from modeling_hdf.data.synthetic.shifted import shifted_clip_factors

TINY_DATA = {
    "difficulty": 0.5, "image_size": 32, "duration": 0.8, "num_frames": 4, "num_train": 21, "num_validation": 7,
    "num_test": 7, "train_clips": 14, "seed": 0,
}  # fmt: skip
TINY_TRAINING = {"num_train_epochs": 1, "per_device_train_batch_size": 7, "learning_rate": 1e-3}
TINY = Settings(
    data={**TINY_DATA, "num_shifted": 7, "num_shifts": 3},
    backbone={
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "patch_size": 16,
        "tubelet_size": 2,
    },
    training=TINY_TRAINING,
    start={"train_clips": 21, "mask_ratio": 0.5, **TINY_TRAINING},
)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Folders of the rendered and of the decoded clips."""
    folder = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "rendered"))
        yield folder / "decoded"


@pytest.fixture
def run(caches, tmp_path, monkeypatch, capsys):
    """Calls the command with some arguments, and gives back what it printed."""

    def call(*arguments: object, settings: Settings = TINY, trials: dict[str, Trial] = TRIALS) -> str:
        folders = ("--results", tmp_path, "--clip-cache", caches)
        monkeypatch.setattr(sys, "argv", ["benchmarks/ablation.py", *map(str, (*folders, *arguments))])
        ablation.main(settings, trials)
        return capsys.readouterr().out

    return call


def record(run: str, seed: int, **uar: float) -> dict:
    return {
        "run": run,
        "seed": seed,
        "seconds": 10.0,
        "results": {name: {"uar": value} for name, value in uar.items()},
        "start_digest": "a",
    }


def test_the_paired_interval_is_that_of_a_paired_t_test():
    rng = np.random.default_rng(0)
    reference = rng.normal(60, 5, size=5)
    values = reference + rng.normal(2, 1, size=5)
    interval = ttest_rel(values, reference).confidence_interval(0.95)
    assert paired_interval(values, reference) == pytest.approx((np.mean(values - reference), *interval))
    # Differences 1, 2 and 3: 2 -+ 4.3027 * 1 / sqrt(3).
    assert paired_interval([1, 2, 3], [0, 0, 0]) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)


def test_the_table_pairs_runs_by_seed():
    records = [record(BASELINE, seed, test=0.5 + seed / 10, shifted=0.4) for seed in (0, 1, 2)]
    # One point above the baseline of the same seed, listed in another order; a fourth seed has no partner.
    records += [record("dam", seed, test=0.51 + seed / 10, shifted=0.4) for seed in (2, 0, 1)]
    records.append(record("dam", 3, test=0.9, shifted=0.4))
    line = next(line for line in results_table(records).splitlines() if "DAM both" in line)
    assert line == "| + DAM both | 4 | 68.2 | +1.0 (+1.0 to +1.0) | 40.0 | +0.0 (+0.0 to +0.0) |"


def test_the_table_refuses_runs_that_started_from_different_backbones():
    records = [{**record(BASELINE, 0, validation=0.5), "start_digest": digest} for digest in ("a", "b")]
    for table in (tuning_table, results_table):
        with pytest.raises(SystemExit, match="different backbones"):
            table(records)


def test_the_tuning_table_says_what_each_trial_changes():
    name = next(name for name, trial in TRIALS.items() if trial.changes)
    table = tuning_table([record(run, seed, validation=0.5) for run in (BASELINE, name) for seed in TUNING_SEEDS])
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    key, value = next(iter(next(iter(TRIALS[name].changes.values())).items()))
    assert f"{key} {value}" in line and "+0.0 (+0.0 to +0.0)" in line


TRIALS_ON_THE_PAGE = {
    "VideoMAE + cross-entropy": ["baseline"],
    "DAM, `dam_init` identity / paper": ["dam_identity", "dam_paper"],
    "DSM, `dsm_scaling` features, 10 and 0.1": ["dsm_features_10_0.1"],
    "DSM, `dsm_scaling` parameters, 10 and 0.1": ["dsm_parameters_10_0.1"],
    "DSM, `dsm_scaling` fixed, 1 and 0.1": ["dsm_fixed_1_0.1"],
    "DSM, features, `dsm_alpha` 1 instead of 10": ["dsm_features_1_0.1"],
    "DSM, features, `dsm_beta` 1 instead of 0.1": ["dsm_features_10_1"],
    "DSM, features, `dsm_ib_weight` -0.5 instead of 0.1": ["dsm_features_10_0.1_ib_-0.5"],
    "DSM, features, `dsm_eta` 1 instead of 0.2": ["dsm_features_10_0.1_eta_1"],
    "SAM, `sam_rho` 0.01 / 0.05": ["sam_0.01", "sam_0.05"],
    "DAM + DSM": ["dam_dsm"],
    "DAM + DSM + SAM, `sam_rho` 0.005": ["hdf_features_0.005"],
}


def test_the_page_shows_the_recorded_trials_and_every_trial_has_its_records():
    def uar_of(name: str) -> float:
        files = [ablation.RESULTS / "tuning" / f"{name}_{seed}.json" for seed in TUNING_SEEDS]
        return np.mean([100 * json.loads(file.read_text())["results"]["validation"]["uar"] for file in files])

    assert sorted(TRIALS) == sorted(name for names in TRIALS_ON_THE_PAGE.values() for name in names)
    page = (ablation.ROOT / "docs" / "results.md").read_text().split("\n## What the paper leaves open\n")[1]
    reference = uar_of(BASELINE)
    for title, names in TRIALS_ON_THE_PAGE.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {title} | "))
        means, differences = (
            [float(number) for number in cell.split("/") if number.strip()] for cell in row.split("|")[2:4]
        )
        expected = [uar_of(name) for name in names]
        assert means == pytest.approx(expected, abs=0.051)
        assert differences == pytest.approx([mean - reference for mean in expected if names != [BASELINE]], abs=0.051)


def test_arms_differ_only_in_what_they_name():
    plain = ARMS[BASELINE].run_settings(SETTINGS)
    assert plain["dam"] == {"dam_layers": []}
    assert plain["training"] == SETTINGS.training | {"dsm": False, "sam_rho": 0.0}
    for arm in ARMS.values():
        settings = arm.run_settings(SETTINGS)
        for group in ("data", "backbone", "start"):
            assert settings[group] == plain[group]
        changed = {key for key in settings["training"] if settings["training"][key] != plain["training"].get(key)}
        assert changed - {"sam_rho"} == ({"dsm"} | SETTINGS.dsm.keys() if arm.dsm else set())
        assert (settings["training"]["sam_rho"] > 0) == arm.sam
        for branch in ("temporal", "frequency"):
            assert settings["dam"].get(f"dam_{branch}", False) == (branch in arm.dam)
    parts = [(arm.dam, arm.dsm, arm.sam) for arm in ARMS.values()]
    both = ("temporal", "frequency")
    assert parts == [
        ((), False, False), (("temporal",), False, False), (("frequency",), False, False), (both, False, False),
        ((), True, False), ((), False, True), (both, True, False), (both, True, True),
    ]  # fmt: skip


def test_numbers_of_a_part_concern_the_arms_that_have_it():
    changed = SETTINGS.changed(dsm={"dsm_eta": 0.77}, sam={"sam_rho": 0.123})
    moved = {name for name, arm in ARMS.items() if arm.run_settings(SETTINGS) != arm.run_settings(changed)}
    assert moved == {"dsm", "sam", "dam_dsm", "hdf"}


def test_tuning_never_uses_a_seed_of_the_table_nor_its_test_clips(run, monkeypatch):
    assert set(TUNING_SEEDS).isdisjoint(SEEDS) and len(SEEDS) >= 5
    asked = []
    monkeypatch.setattr(ablation, "run", lambda *entry: asked.append(entry))
    run("--tune")
    assert {entry[1] for entry in asked} == set(TRIALS)
    assert {entry[5] for entry in asked} == {("validation",)}
    assert {entry[3] for entry in asked} == set(TUNING_SEEDS)


def test_arms_of_one_seed_start_from_the_same_weights_and_seeds_from_different_classifiers(caches):
    models = {name: ablation.build_model(arm.run_settings(TINY), 3, caches) for name, arm in ARMS.items()}
    plain = models[BASELINE].state_dict()
    for name, model in models.items():
        weights = model.state_dict()
        assert all(torch.equal(weights[key], plain[key]) for key in plain), name
        assert bool(weights.keys() - plain.keys()) == bool(ARMS[name].dam)
    other = ablation.build_model(ARMS[BASELINE].run_settings(TINY), 4, caches)
    assert not torch.equal(other.classifier.weight, models[BASELINE].classifier.weight)


def test_runs_start_from_the_encoder_that_was_pretrained(caches):
    settings = ARMS[BASELINE].run_settings(TINY)
    model = ablation.build_model(settings, 3, caches)
    folder = synthetic_runs.pretrained_checkpoint(settings, 0, caches)
    assert len(json.loads((folder / "pretraining.json").read_text())["losses"]) == 1
    encoder = VideoMAEForPreTraining.from_pretrained(folder).videomae.state_dict()
    weights = sorted(value.flatten().tolist() for name, value in encoder.items() if name.endswith("fc1.weight"))
    ours = [value.flatten().tolist() for name, value in model.state_dict().items() if name.endswith("fc1.weight")]
    assert sorted(ours) == weights
    other = {**settings, "start": {**TINY.start, "learning_rate": 0.5}}
    assert synthetic_runs.pretrained_checkpoint(other, 0, caches) != folder


def test_a_run_is_written_skipped_and_repeated_to_the_last_bit(run, tmp_path):
    printed = run("--only", BASELINE, "hdf", "--seeds", 1)
    assert printed.startswith("2 of 2 runs to do") and "hdf seed 1: validation UAR" in printed
    files = sorted(tmp_path.glob("*.json"))
    assert [file.name for file in files] == ["baseline_1.json", "hdf_1.json"]
    written = json.loads(files[1].read_text())
    assert written["run"] == "hdf" and written["seed"] == 1 and written["seconds"] > 0
    assert written["settings"] == ARMS["hdf"].run_settings(TINY)
    assert set(written["versions"]) == {"python", "torch", "transformers"}
    assert "benchmarks/ablation.py" in written["command"]
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ablation.ROOT, capture_output=True, text=True)
    assert (written["commit"] or "").removesuffix("-dirty") == git.stdout.strip()
    for split in ("validation", "test", "shifted"):
        report = written["results"][split]
        assert report["num_clips"] == 7 and set(report["recall"]) == set(EMOTIONS)
        assert report["uar"] == pytest.approx(np.mean(list(report["recall"].values())))
    assert written["log"][-1]["epoch"] == 1.0 and "lambda_ce" in written["log"][-1]

    files[0].unlink()
    before = files[1].stat().st_mtime_ns
    assert run("--only", BASELINE, "hdf", "--seeds", 1).startswith("1 of 2 runs to do")
    assert files[1].stat().st_mtime_ns == before
    files[1].unlink()
    run("--only", "hdf", "--seeds", 1)
    again = json.loads(files[1].read_text())
    for name in ("start_digest", "results", "log"):
        assert again[name] == written[name]


def test_trials_are_measured_on_validation_alone(run, tmp_path):
    run("--tune", "--seeds", 7, trials={BASELINE: Trial(BASELINE), "dsm": Trial("dsm", {"dsm": {"dsm_eta": 0.5}})})
    for name in (BASELINE, "dsm"):
        record = json.loads((tmp_path / "tuning" / f"{name}_7.json").read_text())
        assert list(record["results"]) == ["validation"]
    assert record["settings"]["training"]["dsm_eta"] == 0.5


def test_an_interrupted_write_leaves_no_file_behind_its_name(tmp_path):
    def interrupted(part: Path) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic_runs.write_whole(tmp_path / "run.json", interrupted)
    assert not (tmp_path / "run.json").exists()


def test_a_file_of_other_settings_stops_the_command_before_any_run(run, tmp_path):
    run("--only", BASELINE, "--seeds", 0)
    changed = TINY.changed(training={"learning_rate": 0.5})
    with pytest.raises(SystemExit, match=r"baseline_0\.json.*training\.learning_rate was 0\.001, is 0\.5"):
        run("--only", "dam", BASELINE, "--seeds", 0, settings=changed)
    assert [file.name for file in tmp_path.glob("*.json")] == ["baseline_0.json"]


def test_the_table_names_the_runs_that_are_missing_and_runs_nothing(run, tmp_path):
    run("--only", BASELINE, "--seeds", 0)
    printed = run("--table", "--only", BASELINE, "dam", "--seeds", 0, 1)
    assert "3 of 4 runs are missing: dam 0, baseline 1, dam 1." in printed
    assert "| VideoMAE + cross-entropy | 1 |" in printed
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_runs_train_on_the_first_clips_and_are_tested_on_shifted_ones(caches):
    train, shifted = (synthetic_runs.build_rows(TINY.data, split) for split in ("train", "shifted"))
    assert train["clip_id"][:] == [f"train_{index:05d}" for index in range(14)]
    config = ShiftedFacesConfig(num_test=7, difficulty=0.5, image_size=32, duration=0.8, num_shifts=3)
    for name in ("yaw", "zoom"):
        drawn = [getattr(shifted_clip_factors(config, index), name) for index in range(7)]
        assert shifted[name][:] == pytest.approx(drawn, rel=1e-12)


def test_an_unknown_arm_is_refused_by_name(run):
    with pytest.raises(SystemExit):
        run("--only", "dan")
