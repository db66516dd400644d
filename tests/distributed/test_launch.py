"""The launch configurations that ship, and a training launched by one of them."""

import json
import os
import subprocess
import sys

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from evaluated_models import save_model
from hand_written_training import common_arguments

from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import EXPRESSIONS
from modeling_hdf.data.locks import folder_lock
from modeling_hdf.training import arguments as training_arguments
from modeling_hdf.training.recipes import training_command


@pytest.mark.parametrize(
    ("name", "kind", "num_machines", "num_processes", "precision"),
    [
        ("single", "NO", 1, 1, "no"),
        ("multi_gpu", "MULTI_GPU", 1, 8, "bf16"),
        ("multi_node", "MULTI_GPU", 2, 16, "bf16"),
        ("cpu_2", "MULTI_GPU", 1, 2, "no"),
    ],
)
def test_launch_configurations_are_accelerates(name, kind, num_machines, num_processes, precision):
    loaded = load_config_from_file(str(configuration_path("accelerate", name)))  # refuses unknown keys
    assert (loaded.distributed_type.value, loaded.num_machines, loaded.num_processes) == (
        kind,
        num_machines,
        num_processes,
    )
    assert loaded.mixed_precision == precision and loaded.use_cpu == (name == "cpu_2")
    assert (loaded.main_process_ip is not None) == (name == "multi_node")


@pytest.mark.parametrize(("processes", "machines"), [(4, 1), (16, 2)])
def test_the_recorded_command_starts_the_processes_and_the_precision_of_the_run(
    tmp_path, monkeypatch, processes, machines
):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `--accelerate_config multi_gpu` does
    arguments = training_arguments.HDFTrainingArguments(**common_arguments(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setenv("GROUP_WORLD_SIZE", str(machines))
    command = training_command("train", ["--fold", "1"], arguments)
    assert command[:2] == ["accelerate", "launch"]
    read = launch_command_parser().parse_args(command[2:])
    assert read.multi_gpu  # or accelerate starts one process where it sees no GPUs
    assert (read.num_processes, read.num_machines or 1) == (processes, machines)
    assert (read.module, read.training_script) == (True, "modeling_hdf")
    assert read.training_script_args == ["train", "--fold", "1", "--bf16", "true"]
    arguments.bf16 = True  # it stands in the recipe, or among the arguments
    assert training_command("train", ["--fold", "1"], arguments)[-2:] == ["--fold", "1"]


def test_processes_that_would_train_alone_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training_arguments, "num_processes", lambda: 2)
    with pytest.raises(ValueError, match="2 processes were started.*`--use_cpu true`"):
        training_arguments.HDFTrainingArguments(**common_arguments(tmp_path))


@pytest.mark.distributed
@pytest.mark.xdist_group("distributed")
def test_two_processes_are_refused_together_where_another_run_works(tmp_path):
    out = tmp_path / "out"
    launch = ["-m", "modeling_hdf", "train", "--accelerate_config", "cpu_2", "--main_process_port", "0"]
    command = [sys.executable, *launch, "--use_cpu", "true", "--output_dir", str(out)]
    with folder_lock(out, "hdf other"):
        before = sorted(out.rglob("*"))
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert sorted(out.rglob("*")) == before
    assert done.returncode != 0
    refusal = f"{out}: `hdf other` (process {os.getpid()} on "
    assert done.stderr.count(f"hdf train: error: {refusal}") == 2, done.stderr[-4000:]


@pytest.mark.distributed
@pytest.mark.xdist_group("distributed")
def test_training_is_launched_in_two_processes_and_says_and_writes_all_once(tmp_path):
    start = save_model(tmp_path / "start", EXPRESSIONS[::-1])
    small = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
    launch = ["-m", "modeling_hdf", "train", "--accelerate_config", "cpu_2", "--main_process_port", "0"]
    script = ["--use_cpu", "true", "--output_dir", str(tmp_path), "--dataset_overrides", json.dumps(small)]
    script += ["--model_name_or_path", str(start)]
    short = ["--num_train_epochs", "2", "--per_device_train_batch_size", "7", "--logging_steps", "1"]
    done = subprocess.run(
        [sys.executable, *launch, *script, *short], capture_output=True, text=True, timeout=300, check=False
    )
    assert (tmp_path / "metrics.json").is_file(), done.stderr[-4000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["num_clips"] == 7
    begin = "accelerate launch --multi_gpu --num_processes 2 -m modeling_hdf train --use_cpu true"
    assert metrics["command"].startswith(begin)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in done.stdout.splitlines() if line]
    told = ("train: 14 clips", f"No metrics.json beside {start}", f"The classes of {start} are others", "results in ")
    assert [sum(line.startswith(begin) for line in lines) for begin in told] == [1, 1, 1, 1], done.stdout
    assert len(set(lines)) == len(lines), done.stdout
    assert len(list((tmp_path / "test_clips").glob("*.mp4"))) == 7
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["max_steps"] == 2  # 14 clips are one step of two processes with 7 each
    assert [entry["step"] for entry in state["log_history"] if "g" in entry] == list(
        range(1, state["global_step"] + 1)
    )
