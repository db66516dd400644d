"""The record that tells whose output folder it is."""

import json
import re

import pytest

from modeling_hdf import HDFTrainingArguments
from modeling_hdf.training.checkpointing import CheckpointError
from modeling_hdf.training.runs import RECORD_NAME, check_output_dir, run_record, write_record


def record(**options):
    return run_record(HDFTrainingArguments(output_dir="outputs", use_cpu=True, **options), dataset="synthetic")


@pytest.fixture
def folder(tmp_path):
    """Output folder of a run that has saved a checkpoint."""
    (tmp_path / "run" / "checkpoint-3").mkdir(parents=True)
    write_record(tmp_path / "run", record())
    return tmp_path / "run"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"logging_steps": 7, "report_to": "none", "disable_tqdm": True, "log_level": "error"},
        {"dataloader_num_workers": 3, "dataloader_prefetch_factor": 4, "dataloader_persistent_workers": True},
        {"per_device_eval_batch_size": 3, "save_total_limit": 4},
        {"torch_empty_cache_steps": 5, "include_for_metrics": ["loss"], "prediction_loss_only": True},
        {"debug": "underflow_overflow"},
    ],
)
def test_a_call_may_change_what_does_not_change_the_weights(folder, options):
    check_output_dir(folder, record(**options))


@pytest.mark.parametrize(
    ("name", "value", "was"),
    [
        ("learning_rate", 1e-3, 5e-05),
        ("seed", 3, 42),
        ("sam_rho", 0.05, 0.0),
        ("dsm", False, True),
        ("per_device_train_batch_size", 4, 8),
        ("num_train_epochs", 5, 3.0),
        ("save_steps", 50, 500),
        ("dataloader_drop_last", True, False),
        ("optim", "sgd", "adamw_torch_fused"),
    ],
)
def test_other_arguments_are_refused_by_name(folder, name, value, was):
    with pytest.raises(CheckpointError, match=re.escape(f"{name} (was {was!r}, is {value!r})")):
        check_output_dir(folder, record(**{name: value}))


def test_another_number_of_processes_and_other_data_are_refused(folder):
    for name, value in (("num_processes", 2), ("dataset", "dfew")):
        with pytest.raises(CheckpointError, match=f"{name} \\(was .*another --output_dir"):
            check_output_dir(folder, {**record(), name: value})


def test_the_mixed_precision_of_the_launcher_is_part_of_the_record(folder, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(CheckpointError, match="mixed_precision \\(was 'no', is 'bf16'\\)"):
        check_output_dir(folder, record())
    launched = record()
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    assert record(bf16=True) == launched  # however it was asked for


@pytest.mark.parametrize("content", ["", '{"seed": 4', "[]"])
def test_a_damaged_record_is_named(folder, content):
    (folder / RECORD_NAME).write_text(content)
    with pytest.raises(CheckpointError, match=f"{RECORD_NAME} is damaged"):
        check_output_dir(folder, record())


def test_a_folder_with_a_model_of_unknown_origin_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=f"no {RECORD_NAME}"):
        check_output_dir(tmp_path, record())


def test_a_run_that_left_nothing_but_its_record_binds_nobody(folder):
    (folder / "checkpoint-3").rmdir()
    check_output_dir(folder, record(seed=3))


def test_the_record_is_json_and_written_in_one_piece(folder):
    assert json.loads((folder / RECORD_NAME).read_text()) == record()
    assert {path.name for path in folder.iterdir()} == {RECORD_NAME, "checkpoint-3"}


def test_a_folder_that_cannot_be_written_raises_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run", "/proc/run"):
        with pytest.raises(OSError, match=str(path)):
            check_output_dir(path, record())
