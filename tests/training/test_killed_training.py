"""The example script, killed and started again by the same command."""

import json
import random
import time

import pytest
from hand_written_training import steps
from killed_training import finish, kill_when, start

from modeling_hdf.training.checkpointing import CheckpointError, check_checkpoint, last_checkpoint
from modeling_hdf.training.resumable import is_finished

DATASET = {"num_train": 28, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
MODEL = {
    "image_size": 32,
    "classifier_dropout": 0.3,
    "backbone_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
}
ARGUMENTS = [
    *("--use_cpu", "true", "--disable_tqdm", "true", "--frame_controls", "false", "--logging_steps", 1),
    *("--dataset_overrides", json.dumps(DATASET), "--model_overrides", json.dumps(MODEL)),
    *("--augmentation", "strong", "--mixup_alpha", 0.8, "--sampler", "per_class", "--clips_per_class", 2),
    *("--dsm_scaling", "parameters", "--sam_rho", 0.05, "--dataloader_num_workers", 1),
    *("--per_device_train_batch_size", 4, "--num_train_epochs", 3, "--warmup_steps", 2),
    *("--eval_strategy", "steps", "--eval_steps", 3, "--save_strategy", "steps", "--save_steps", 3),
]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Folder of a run that was not killed, and the cache with its dataset."""
    folder = tmp_path_factory.mktemp("straight")
    process = start([*ARGUMENTS, "--output_dir", folder / "run"], folder / "cache", folder / "log")
    assert finish(process) == 0, (folder / "log").read_text()
    return folder


def torn(folder):
    """Checkpoint folders that a kill has left incomplete."""
    found = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            check_checkpoint(checkpoint)
        except CheckpointError:
            found.append(checkpoint)
    return found


def is_saving(folder, since):
    """Whether a save has begun after the time `since`, in seconds, and not ended."""
    weights = [path / "model.safetensors" for path in folder.glob("checkpoint-*")]
    return any(
        path.exists() and path.stat().st_mtime > since and not path.with_name("trainer_state.json").exists()
        for path in weights
    )


def test_a_run_killed_five_times_ends_with_the_weights_of_the_one_that_was_not(straight, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    generator = random.Random(0)

    def kill(happened, delay=0.0):
        process = start([*ARGUMENTS, "--output_dir", run], straight / "cache", log)
        assert kill_when(process, happened, delay), log.read_text()

    def reached(number):
        return lambda: max(steps(run), default=0) >= number

    kill((run / "_training_run.json").exists, generator.uniform(0, 0.3))  # before the first checkpoint, maybe
    kill(reached(6), generator.uniform(0, 0.3))
    now = time.time()
    kill(lambda: is_saving(run, now))
    assert len(torn(run)) == 1 and last_checkpoint(run) is not None  # the kill came during the save
    kill(reached(12), generator.uniform(0, 0.3))
    kill((run / "model.safetensors").exists)  # while the result is written
    assert not (run / "metrics.json").exists()
    assert finish(start([*ARGUMENTS, "--output_dir", run], straight / "cache", log)) == 0, log.read_text()

    expected = straight / "run"
    assert (run / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert is_finished(run) and not torn(run) and steps(run) == steps(expected)
    assert dsm_state(run) == dsm_state(expected) != 1
    assert results(run) == results(expected)
    assert "is not used" in log.read_text()


def dsm_state(folder):
    state = json.loads((folder / "trainer_state.json").read_text())
    return state["stateful_callbacks"]["DSMStateCallback"]["attributes"]["grad_norm"]


def results(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    return {name: metrics[name] for name in ("war", "uar", "confusion_matrix", "recall")}


def test_a_finished_run_is_evaluated_again_and_not_trained(straight, tmp_path):
    run = straight / "run"
    before = (run / "model.safetensors").stat().st_mtime_ns, results(run)
    (run / "metrics.json").unlink()
    log = tmp_path / "log"
    arguments = [*ARGUMENTS, "--output_dir", run, "--logging_steps", 2, "--per_device_eval_batch_size", 3]
    assert finish(start(arguments, straight / "cache", log)) == 0, log.read_text()
    assert ((run / "model.safetensors").stat().st_mtime_ns, results(run)) == before
    assert "grad_norm" not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rate", "1e-3", "--mixup_alpha", "0.4"], "mixup_alpha (was 0.8, is 0.4)"),
        (["--learning_rate", "1e-3", "--mixup_alpha", "0.4"], "learning_rate (was 0.0005, is 0.001)"),
        (["--model_overrides", "{}"], "model_overrides"),
    ],
)
def test_the_folder_of_a_run_with_other_arguments_is_refused(straight, tmp_path, arguments, message):
    log = tmp_path / "log"
    process = start([*ARGUMENTS, "--output_dir", straight / "run", *arguments], straight / "cache", log)
    assert finish(process) == 1
    assert message in log.read_text() and "another --output_dir" in log.read_text()
