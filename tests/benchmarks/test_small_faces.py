import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path

COMMAND = Path(__file__).parents[2] / "benchmarks/small_faces/train.py"


def pictures(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 48, 48), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def data() -> dict[str, torch.Tensor]:
    found = {"stills": pictures(0, 28), "validation_stills": pictures(1, 14)}
    found |= {"clips": pictures(2, 14, 8), "validation_clips": pictures(3, 7, 8)}
    return found | {f"{name}.labels": torch.arange(len(tensor)) % 7 for name, tensor in found.items()}


def train(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(COMMAND), "--output", str(folder), "--device", "cpu", "--divide", "128"]
    return subprocess.run([*command, "--steps", "3", "1", "1", *options], capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def training():
    sys.path.insert(0, str(COMMAND.parent))
    import training

    yield training
    sys.path.remove(str(COMMAND.parent))


class Fixed(torch.nn.Module):
    """Answers with the same logits to every clip."""

    def __init__(self, logits: list[float]):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, clips: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits.expand(len(clips), -1))


def test_the_teacher_answers_to_stills_alone(training):
    model, teacher = Fixed([0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]), Fixed([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    targets = torch.eye(7)[[1, 1, 4]]
    shares = torch.tensor([[1.0], [0.0], [0.25]])  # a still, a rendered clip, and a mixture of both
    part = training.Part(torch.zeros(3, 1, 3, 8, 8), targets, shares)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = training.take_step(model, optimizer, [part], teacher, taught=0.6)

    guess, answers = (np.exp(each) / np.exp(each).sum() for each in ([3.0, *[0] * 6], [0.0, 1.0, 2.0, *[0] * 4]))
    expected = 0.0
    for target, share in zip(np.eye(7)[[1, 1, 4]], (0.6, 0.0, 0.15), strict=True):
        expected -= ((1 - share) * target + share * guess) @ np.log(answers) / 3
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    assert teacher.logits.grad is None


def test_batches_know_which_clips_show_stills(training, data):
    stage = training.Stage("clips", 1, 1e-3, stills=4, moving=3, clips=2, mixed=0.0)
    config = HDFConfig.from_pretrained(configuration_path("model", "x3d_faces"))
    single, clips = next(iter(training.Batches(data, stage, config, torch.device("cpu"))))
    assert single.clips.shape == (4, 1, 3, 48, 48)
    assert single.stills.flatten().tolist() == [1.0] * 4
    assert clips.clips.shape == (5, 8, 3, 48, 48)
    assert clips.stills.flatten().tolist() == [1.0] * 3 + [0.0] * 2
    mixed = replace(stage, mixed=1.0, stills=2, moving=8, clips=8, smoothing=0.0)
    _, clips = next(iter(training.Batches(data, mixed, config, torch.device("cpu"))))
    assert ((clips.stills > 0) & (clips.stills < 1)).any()
    torch.testing.assert_close(clips.targets.sum(1), torch.ones(16))


def test_the_learning_rate_ends_where_its_decay_does(training):
    rates = [training._rate(step, training.Stage("", 100, 1.0, decay=200, warmup=50)) for step in (24, 50, 125, 200)]
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.5, 0.0], atol=1e-9)
    assert training._rate(99, training.Stage("", 100, 1.0, warmup=50)) < 0.01


def test_the_same_weights_come_out_of_a_straight_and_of_an_interrupted_run(tmp_path, data):
    straight, interrupted = tmp_path / "straight", tmp_path / "interrupted"
    for folder in (straight, interrupted):
        folder.mkdir()
        save_file(data, folder / "data.safetensors")
    finished = train(straight)
    assert finished.returncode == 0, finished.stderr
    stopped = 0
    while (run := train(interrupted, "--minutes", "0", "--save-every", "2")).returncode:
        assert "run the command again to go on" in run.stderr, run.stderr
        stopped += 1
    assert stopped == 1  # in the first stage; the others end at their first save
    weights = [load_file(folder / "checkpoint" / "model.safetensors") for folder in (straight, interrupted)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=0, atol=0, msg=name)

    # What ships lies between the weights before and after the last stage.
    before, after = (load_file(straight / f"{name}.safetensors") for name in ("stills", "clips"))
    name = "classifier.weight"
    assert not torch.equal(before[name], after[name])
    torch.testing.assert_close(weights[0][name], 0.25 * before[name] + 0.75 * after[name])

    # The teacher counts: with other weights of its, the same run ends elsewhere.
    other = tmp_path / "other"
    other.mkdir()
    save_file(data, other / "data.safetensors")
    teacher = load_file(straight / "teacher.safetensors")
    save_file(teacher | {"network.fc.bias": torch.arange(7.0)}, other / "teacher.safetensors")
    assert train(other).returncode == 0
    assert not torch.equal(load_file(other / "stills.safetensors")[name], before[name])

    model = HDFForVideoClassification.from_pretrained(straight / "checkpoint")
    assert model.config.calibration_temperature > 0
    assert len(model.hdf.dam) == 4
    steps = [(entry["stage"], entry["step"]) for entry in json.loads((straight / "curve.json").read_text())]
    assert steps == [("teacher", 3), ("stills", 1), ("clips", 1)]

    # A grey picture and its colours of the same luminance get the same answer.
    processor = HDFVideoProcessor.from_pretrained(straight / "checkpoint")
    colours = torch.rand(2, 8, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 255
    luminance = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    with torch.no_grad():
        answers = [
            model(**processor(list(clips), return_tensors="pt")).logits
            for clips in (colours, luminance.expand(-1, -1, 3, -1, -1))
        ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)
