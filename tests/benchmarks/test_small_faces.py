import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor

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
    command = [sys.executable, str(COMMAND), "--output", str(folder), "--device", "cpu", "--steps", "4", "2", "2"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=600)


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
    torch.testing.assert_close(weights[0][name], 0.1 * before[name] + 0.9 * after[name])

    model = HDFForVideoClassification.from_pretrained(straight / "checkpoint")
    assert model.config.calibration_temperature > 0
    assert len(model.hdf.dam) == 4
    steps = [(entry["stage"], entry["step"]) for entry in json.loads((straight / "curve.json").read_text())]
    assert steps == [("small", 4), ("stills", 2), ("clips", 2)]

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
