"""benchmarks/gpu.py on the CPU: the record of its parts, the gradient that it compares, and its speed tables."""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import gpu
import gpu_agreement
import gpu_speed
import pytest
import torch
from gpu_settings import Settings, model_config, random_clips
from torch.nn import functional as F
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification

SETTINGS = Settings(
    device="cpu", presets={"16x160": "tiny"}, agreement_preset="tiny", batch_size=4, warm_steps=1, steps=1, rounds=1,
    bf16=False, loader_clips=2, loader_frames=8, loader_size=32, loader_steps=2, loader_workers=1,
)  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_well():
    run = subprocess.run([sys.executable, gpu.__file__], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "no GPU: nothing measured\n")


def test_a_part_that_fails_or_hangs_or_comes_too_late_costs_no_other(monkeypatch, tmp_path):
    written = []

    def fails(settings):
        raise OSError("no such disk")

    def hangs(settings):
        try:
            time.sleep(60)
        except Exception:  # as a library might
            pass

    def reads(settings):
        written.append(json.loads((tmp_path / "gpu.json").read_text())["parts"])
        return {"value": 1}

    monkeypatch.setattr(gpu, "PARTS", {"fails": fails, "hangs": hangs, "reads": reads})
    record = gpu.run_parts(["fails", "hangs", "reads"], SETTINGS, tmp_path / "gpu.json", minutes=1, limit=0.5)
    assert written == [{name: record["parts"][name] for name in ("fails", "hangs")}]  # on disk before the next part
    assert record["parts"]["fails"]["error"] == "OSError: no such disk"
    assert record["parts"]["hangs"]["error"].startswith("not done after 0.") and record["parts"]["reads"]["value"] == 1
    assert json.loads((tmp_path / "gpu.json").read_text()) == record
    late = gpu.run_parts(["reads"], SETTINGS, None, minutes=0, limit=0.5)
    assert late["parts"]["reads"]["error"].startswith("not begun") and len(written) == 1


def test_the_record_holds_the_command_line(monkeypatch, tmp_path):
    options = ["--parts", "reads", "--json", str(tmp_path / "my gpu.json"), "--minutes", "20"]
    monkeypatch.setattr("sys.argv", ["gpu.py", *options])
    monkeypatch.setattr(gpu, "PARTS", {"reads": lambda settings: {"value": 1}})
    monkeypatch.setattr(gpu, "Settings", lambda: SETTINGS)
    monkeypatch.setattr(gpu, "environment", dict)  # it would ask for the card
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.main() == 0
    command = json.loads((tmp_path / "my gpu.json").read_text())["command"]
    assert shlex.split(command) == ["python", "benchmarks/gpu.py", *options]


def test_the_compared_gradient_is_that_of_the_loss_and_of_its_worst_point_nearby():
    config = model_config("tiny", dam_init="paper")
    set_seed(0)
    model = HDFForVideoClassification(config)
    rows = random_clips(config, SETTINGS.agreement_clips, "cpu")
    clips = torch.stack([row["pixel_values"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])

    def gradient() -> torch.Tensor:
        model.zero_grad()
        F.cross_entropy(model(clips).logits, labels).backward()
        return torch.cat([each.grad.flatten() for each in model.parameters()]).double()

    plain = gradient()
    with torch.no_grad():
        step = 0.05 * plain / plain.norm()
        for parameter, part in zip(
            model.parameters(), step.split([each.numel() for each in model.parameters()]), strict=True
        ):
            parameter += part.view_as(parameter).float()
    for expected, arguments in ((plain, {}), (gradient(), {"sam_rho": 0.05})):
        measured = gpu_agreement.gradient_of_step(SETTINGS, "cpu", "fp32", len(rows), dsm=False, **arguments)
        assert gpu_agreement.relative_error(measured, expected) < 1e-5
    assert gpu_agreement.relative_error(measured, plain) > 1e-3


def test_bf16_differs_within_its_bound_and_fp32_hardly():
    result = gpu_agreement.agreement(SETTINGS, ("fp32", "bf16"))
    assert result["fp32"]["agrees"] and result["bf16"]["agrees"]
    for name in ("logits", "gradient_dsm", "gradient_sam"):
        assert result["fp32"][name] < 1e-5 < result["bf16"][name]


def test_the_table_has_each_arm_against_plain_transformers():
    table = gpu_speed.speed(SETTINGS, "16x160")
    assert list(table["training"]) == list(gpu_speed.ARMS) and table["inference"].keys() == {
        "transformers", "plain", "hdf"
    }  # fmt: skip
    training = table["training"]
    for arm, row in training.items():
        ratio = training["transformers"]["clips_per_second"] / row["clips_per_second"]
        assert row["time / transformers"] == pytest.approx(ratio, rel=0.01), arm
    assert training["sam"]["time / transformers"] > 1.3  # two passes


def test_waiting_is_a_share_of_the_time_for_both_kinds_of_files():
    results = gpu_speed.loader(SETTINGS)
    for kind in ("frames", "mp4"):
        assert 0 < results[kind]["waiting_share"] < 1 and results[kind]["clips_per_second"] > 0


def test_the_page_shows_the_recorded_run():
    root = Path(gpu.__file__).parents[1]
    page = (root / "docs" / "results.md").read_text().split("\n### On a GPU\n")[1]
    parts = json.loads((root / "benchmarks" / "results" / "gpu.json").read_text())["parts"]
    rows = {
        "training step without DAM and DSM": ("training", "plain"),
        "with DAM": ("training", "dam"),
        "with DAM and DSM": ("training", "dsm"),
        "with DAM, DSM and SAM": ("training", "sam"),
        "inference without DAM": ("inference", "plain"),
        "inference with DAM": ("inference", "hdf"),
    }
    for title, (kind, arm) in rows.items():
        speeds = [
            [parts[part][kind][name]["clips_per_second"] for name in ("transformers", arm)]
            for part in ("16x160", "16x224")
        ]
        cells = " | ".join(f"{stock / ours:.2f}" for stock, ours in speeds)
        assert f"\n| {title} | {cells} |\n" in page
    dsm = [parts[part]["training"]["dsm"] for part in ("16x160", "16x224")]
    speeds, memory = ([each[name] for each in dsm] for name in ("clips_per_second", "peak_gib"))
    waiting = [100 * parts["loader"][kind]["waiting_share"] for kind in ("frames", "mp4")]
    text = " ".join(page.split())
    assert f"takes {speeds[0]:.0f} clips a second at 160 pixels and {speeds[1]:.0f} at 224" in text
    (shown,) = re.findall(r"in ([\d.]+) and ([\d.]+) GiB", text)
    assert [float(number) for number in shown] == pytest.approx(memory, abs=0.051)
    assert f"{waiting[0]:.1f} % of the time with folders of JPEG frames, and in {waiting[1]:.1f} % with MP4" in text
