"""Pushed by one process, loaded by another: the real client on both sides, the emulator between them."""

import pytest
from hub_emulator import Fault
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from round_trip import compare
from video_files import write_video

from modeling_hdf.cli.main import main

PUSH = ("-m", "modeling_hdf", "push")
LOADER = __file__.replace("test_round_trip", "load_from_hub")
EXAMPLE = __file__.replace("tests/hub/test_round_trip", "examples/push_to_hub")


def test_a_pushed_model_loads_with_remote_code(online, folder, run_client, tmp_path):
    pushed = run_client(*PUSH, folder, "org/hdf-dfew", "--private", "--revision", "fold2")
    assert pushed.returncode == 0, pushed.stderr
    video = write_video(tmp_path / "clip.mp4", 20)
    loaded = run_client(LOADER, "org/hdf-dfew", video, "fold2")
    assert loaded.returncode == 0, loaded.stderr
    assert compare(loaded.stdout, folder, video)["card"].encode() == online.files("org/hdf-dfew", "fold2")["README.md"]
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info("org/hdf-dfew")


def test_the_example_does_what_the_command_does(folder, run_client, tmp_path):
    run = run_client(EXAMPLE, folder, "org/hdf-dfew", "--dry-run", tmp_path / "example")
    assert run.returncode == 0, run.stderr
    assert main(["push", str(folder), "org/hdf-dfew", "--dry-run", str(tmp_path / "command")]) == 0
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("example", "command")
    ]
    assert written[0] == written[1] and "model.safetensors" in written[0]


def test_a_command_that_fails_prints_one_line_and_no_traceback(hub, folder, run_client):
    hub.faults = [Fault("POST", "/commit/", "cut")]
    failed = run_client(*PUSH, folder, "org/hdf-dfew")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr and failed.stderr.splitlines()[-1].startswith(
        "hdf push: error: The connection"
    )
    hub.faults = []
    assert run_client(*PUSH, folder, "org/hdf-dfew").returncode == 0
    assert "model.safetensors" in hub.files("org/hdf-dfew")
