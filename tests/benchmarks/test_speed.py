"""The timing in turn, and the tables of speed that stand in the documentation."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import checkpoint_speed
import exported
import pytest
import timing
import torch

from modeling_hdf.pretrained import SHIPPED

ROOT = Path(__file__).parents[2]


def test_calls_take_turns_and_the_ratio_is_that_of_their_times(monkeypatch):
    clock, order = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def takes(name, seconds):
        def call():
            order.append(name)
            clock.now += seconds * (10 if order.count(name) == 1 else order.count(name))  # the first call is slow

        return call

    seconds = timing.seconds_in_turn({"base": takes("base", 1.0), "twice": takes("twice", 2.0)}, 3)
    assert order == ["base", "twice"] * 4
    assert seconds == {"base": [2.0, 3.0, 4.0], "twice": [4.0, 6.0, 8.0]}
    ratio = timing.ratio_of_times([4.0, 9.0, 8.0], seconds["base"])
    assert [ratio["ratio"], *ratio["quartiles"]] == pytest.approx([2.0, 2.0, 3.0])
    assert timing.as_text(ratio) == "2.00 (2.00 to 3.00)"
    assert timing.as_text(timing.ratio_of_times([4.0], [2.0])) == "2.00"


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_every_checkpoint_that_ships_has_its_speed(capsys):
    checkpoint_speed.main(["--num-clips", "2", "--rounds", "2"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in SHIPPED]
    for row in rows:
        assert float(row[1]) > 0 and float(row[3]) > 0
    assert rows[0][2].startswith("1.00 (1.00 to 1.00)")
    assert torch.get_num_threads() == 1


def test_the_answer_of_the_web_page_is_timed_per_second_of_video(capsys):
    pytest.importorskip("gradio")
    pytest.importorskip("cv2")
    import demo_answer

    options = ["--model", "hdf-tiny-synthetic", "--seconds", "2.5", "--size", "360", "480", "--repeats", "1"]
    demo_answer.main(options)
    result = json.loads(capsys.readouterr().out)
    (answer,) = result["answers"]
    assert result["rows"] == 5 and answer["wall seconds"] > 0  # 2.5 seconds in steps of half a second
    share = answer["CPU seconds"] / 2.5
    assert result["CPU seconds per second of video, median"] == pytest.approx(share) and share > 0


@pytest.mark.usefixtures("threads")
def test_the_ways_to_run_a_model_are_compared(monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(torch, "compile", lambda model: model)  # takes a minute, and is PyTorch's own
    exported.main(["--model", "hdf-tiny-synthetic", "--batch-size", "1", "--rounds", "2"])
    lines = capsys.readouterr().out.splitlines()
    names = [re.match(r"\| ([^|]+) \| [\d.]+ \(", line)[1] for line in lines[-4:]]
    assert names == ["eager", "torch.compile", "onnxruntime", "onnxruntime, int8"]
    size, smaller = (float(line.split("|")[3]) for line in lines[-2:])
    assert 0 < smaller < size


def test_raw_video_is_timed_beside_a_plain_loop_and_its_memory_is_measured():
    pytest.importorskip("cv2")

    def measured(*options: str) -> dict:
        script, clip = ROOT / "benchmarks" / "raw_video.py", ROOT / "examples" / "face.mp4"
        command = [sys.executable, str(script), options[0], str(clip), *options[1:], "--model", "hdf-tiny-synthetic"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    speed = measured("speed", "--repeats", "1")
    assert speed["frames"] == 24 and speed["agreement with the loop"]["mean IoU of boxes"] > 0.8
    ratio = speed["hdf predict, frames per CPU second"] / speed["loop, frames per CPU second"]
    assert speed["times faster than loop"] == pytest.approx(ratio)
    memory = measured("memory", "--minutes", "0.05", "--fps", "5", "--width", "240")
    assert 3.0 <= memory["0.05 minutes"]["seconds of video"] < 6.0 and memory["0.05 minutes"]["rows"] >= 6
    assert 100 < memory["0.05 minutes"]["peak MB"] < 4000
