"""`hdf predict`: the files that it writes, what it says of bad input, and how it goes on after it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from face_clips import FPS, hidden, place_faces, straight
from PIL import Image
from video_files import write_video

from modeling_hdf.cli.main import main
from modeling_hdf.inference import analyze
from modeling_hdf.inference.inputs import find_inputs
from modeling_hdf.pretrained import SHIPPED

PLAYLIST = "#EXTM3U\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"


@pytest.fixture(scope="module")
def party(tmp_path_factory) -> Path:
    """A face from the start, and a second one from 1 s on."""
    paths = {0: straight((40, 40), (90, 60), 60), 1: hidden(straight((300, 40), (300, 60), 60), 0, 24)}
    return write_video(tmp_path_factory.mktemp("videos") / "party.mp4", list(place_faces(paths, 60)), rate=FPS)


def predict(*arguments) -> int:
    return main(["predict", *map(str, arguments)])


def test_tables_of_all_formats_hold_the_rows_of_the_timeline(party, tmp_path, capsys):
    expected = analyze(str(party)).to_pandas()
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "jsonl": lambda path: pd.read_json(path, lines=True)}
    for kind, read in readers.items():
        assert predict(party, "--output", tmp_path / kind, "--format", kind) == 0
        table = read(tmp_path / kind / f"party.mp4.{kind}")
        assert list(table.columns) == list(expected.columns) and table["label"].tolist() == expected["label"].tolist()
        numbers = expected.select_dtypes("number").columns
        np.testing.assert_allclose(table[numbers], expected[numbers], atol=1e-5)
        summary = pd.read_csv(tmp_path / kind / "summary.csv")
        assert summary["person"].tolist() == [1, 2]
        np.testing.assert_allclose(summary["seconds"], [2.4, 1.4], atol=1 / FPS)
    assert f"{party}: 2 people in 2.4 s" in capsys.readouterr().out


def test_the_result_as_json_and_a_bad_file_beside_a_good_one(party, tmp_path, capsys):
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("no video")
    empty.touch()
    local, remote = tmp_path / "local.mp4", tmp_path / "remote.mp4"
    local.write_text(PLAYLIST.format(target=party))
    remote.write_text(PLAYLIST.format(target="http://127.0.0.1:9/a.ts"))
    assert predict(text, empty, local, remote, tmp_path / "missing.mp4", "no*.mp4", party, "--json") == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert list(result["videos"]) == [str(party)] and len(result["videos"][str(party)]["people"]) == 2
    rows = result["videos"][str(party)]["rows"]
    assert rows[0]["start"] == 0.0 and {row["person"] for row in rows} == {1, 2}
    reasons = {
        str(text): "it is a text file or playlist",
        str(empty): "the video is empty (0 bytes)",
        str(local): "it is a text file or playlist",
        str(remote): "it is a text file or playlist",
        str(tmp_path / "missing.mp4"): "there is no such file",
        "no*.mp4": "matches no file",
    }
    assert set(result["failures"]) == set(reasons)
    for name, reason in reasons.items():
        assert reason in result["failures"][name]
        assert f"{name}: not analysed: " in printed.err


def test_a_second_run_does_what_is_missing_and_other_settings_are_refused(party, tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/a.mp4"):
        (videos / name).write_bytes(party.read_bytes())
    assert predict(videos, "--output", out) == 0
    first, second = out / "a.mp4.csv", out / "deep" / "a.mp4.csv"
    before = first.stat().st_mtime_ns
    second.unlink()
    capsys.readouterr()
    assert predict(videos, "--output", out) == 0
    assert second.is_file() and first.stat().st_mtime_ns == before
    assert "1 of 2 videos were done before" in capsys.readouterr().out
    assert len(pd.read_csv(out / "summary.csv")) == 4
    assert predict(videos, "--output", out, "--subtitles", "vtt") == 0
    assert sorted(path.name for path in out.rglob("*.vtt")) == ["a.mp4.vtt", "a.mp4.vtt"]
    assert predict(videos, "--output", out, "--hop", 1) == 1
    assert "holds the results of another run, with hop 0.5 and not 1.0" in capsys.readouterr().err


def test_a_killed_run_leaves_no_half_file_and_is_continued(party, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(12):
        os.link(party, videos / f"{number}.mp4")
    command = [sys.executable, "-m", "modeling_hdf", "predict", str(videos), "--output", str(out), "--batch-size", "1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(out.glob("*.csv"))) < 2 and run.poll() is None:
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = {path: path.read_text() for path in out.glob("*.mp4.csv")}
    assert 2 <= len(done) < 12 and not (out / "summary.csv").exists()
    assert len({content.count("\n") for content in done.values()}) == 1
    assert predict(videos, "--output", out) == 0
    assert len(list(out.glob("*.mp4.csv"))) == 12 and all(path.read_text() == old for path, old in done.items())
    assert not list(out.glob(".*hdf-part"))


def test_an_output_that_cannot_be_written_is_named(party, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert predict(party, "--output", tmp_path / "file") == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert predict(party, "--output", "/proc/nowhere") == 1
    assert "/proc/nowhere" in capsys.readouterr().err
    assert predict(party, "--plot") == 1
    assert "--plot needs --output DIR" in capsys.readouterr().err


def test_inputs_are_files_folders_frame_folders_and_patterns(party, tmp_path, monkeypatch):
    for folder in ("frames", "tree/shots"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 64)).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "tree" / "b.mp4").write_bytes(party.read_bytes())
    monkeypatch.chdir(tmp_path)

    def found(*arguments):
        return [(each.name, each.output) for each in find_inputs(arguments)]

    assert found("frames") == [("frames", "frames")]
    assert found("tree") == [("tree/b.mp4", "b.mp4"), ("tree/shots", "shots")]
    assert found("tree/*.mp4", "tree/b.mp4") == [("tree/b.mp4", "b.mp4")]
    assert found("https://example.org/x/talk.mp4?token=1") == [("https://example.org/x/talk.mp4?token=1", "talk.mp4")]
    (tmp_path / "b.mp4").write_bytes(party.read_bytes())
    with pytest.raises(ValueError, match=r"tree/b.mp4 and b.mp4 would both be written to b.mp4"):
        find_inputs(["tree/b.mp4", "b.mp4"])


def test_standard_input_labels_and_whole_clips(party, tmp_path, capsys):
    names = tmp_path / "names.json"
    label = analyze(str(party)).rows[0].label
    names.write_text(json.dumps({label: "Miene"}))
    command = [sys.executable, "-m", "modeling_hdf", "predict", "-", "--json", "--labels", str(names)]
    run = subprocess.run(command, input=party.read_bytes(), capture_output=True)
    rows = json.loads(run.stdout)["videos"]["standard input"]["rows"]
    assert run.returncode == 0 and rows[0]["label"] == "Miene" and "Miene" in rows[0]
    assert predict("--whole", party, "--model", SHIPPED, "--labels", names, "--json") == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"][str(party)]
    assert (
        "Miene" in predictions and label not in predictions and sum(predictions.values()) == pytest.approx(1, abs=1e-5)
    )
    names.write_text('{"joy": "x"}')
    assert predict(party, "--labels", names) == 1 and "'joy' is no class of the model" in capsys.readouterr().err
