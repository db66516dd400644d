"""A Hub of the test's own, clients that talk to it, and a model folder to push."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from hub_emulator import WRITE_TOKEN, HubEmulator
from tiny_models import move_dam_weights, tiny_config
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.evaluation.metrics import classification_scores
from modeling_hdf.evaluation.trainings import training_results
from modeling_hdf.reports.plots import plot_confusion_matrix, plot_training_curves


@pytest.fixture
def hub() -> Iterator[HubEmulator]:
    with HubEmulator() as emulator:
        yield emulator


@pytest.fixture
def online(hub, monkeypatch) -> HubEmulator:
    """The emulator, as the Hub of the client in this process."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its retries
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made for another endpoint
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    return hub


@pytest.fixture
def run_client(hub, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs Python in a process of its own, with an empty cache, whose Hub is the emulator."""

    def run(*arguments: object, token: str | None = WRITE_TOKEN) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf_home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            **({"HF_TOKEN": token} if token else {}),
        }
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory) -> Path:
    """What a training run leaves: model, processor, metrics, pictures; and what must never be pushed."""
    set_seed(0)
    folder = tmp_path_factory.mktemp("run") / "hdf-tiny"
    move_dam_weights(HDFForVideoClassification(tiny_config())).save_pretrained(folder)
    size = {"height": 16, "width": 24}
    HDFVideoProcessor(num_frames=4, size={"shortest_edge": 24}, crop_size=size).save_pretrained(folder)
    rng = np.random.default_rng(0)
    scores = classification_scores(
        rng.integers(0, 7, 50), rng.integers(0, 7, 50), list(tiny_config().id2label.values())
    )
    about = {"dataset": "dfew", "fold": 2, "split": "test", "peer_protocol": False}
    about |= {"temporal_sampling": "uniform", "num_views": 1, "seed": 17, **scores}
    command = ["examples/train.py", "--data-dir", "/home/me/DFEW", "--fold", "2"]
    training_results(folder, None, command, **about).write(folder)
    plot_confusion_matrix(scores, folder / "confusion_matrix.png", "dfew fold 2")
    plot_training_curves([], folder / "training_curves.png")
    for name in (
        "training_args.bin",
        "optimizer.pt",
        "checkpoint-5/model.safetensors",
        "test_clips/a.mp4",
        "notes.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not for others")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nWAR 0.99, hand-written\n")
    return folder


@pytest.fixture
def folder(trained_folder, tmp_path) -> Path:
    """A copy of the model folder for the test to change."""
    return Path(shutil.copytree(trained_folder, tmp_path / "hdf-tiny"))
