"""A second `hdf predict` into the same output folder: what it does again, and what it refuses."""

import hashlib
import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from face_clips import place_faces, straight
from PIL import Image

from modeling_hdf import SMALL_FACES, TINY_SYNTHETIC
from modeling_hdf.cli.main import main

TINY = "hdf-tiny-synthetic"


def predict(*arguments) -> int:
    return main(["predict", *map(str, arguments)])


def test_a_second_run_does_what_is_missing_and_other_settings_are_refused(short, tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/a.mp4"):
        os.link(short, videos / name)
    assert predict(videos, "--output", out) == 0
    first, second = out / "a.mp4.csv", out / "deep" / "a.mp4.csv"
    before = first.stat().st_mtime_ns
    second.unlink()
    capsys.readouterr()
    assert predict(videos, "--output", out) == 0
    assert second.is_file() and first.stat().st_mtime_ns == before
    assert "1 of 2 videos were done before" in capsys.readouterr().out
    assert len(pd.read_csv(out / "summary.csv")) == 2
    assert predict(videos, "--output", out, "--subtitles", "vtt") == 0
    assert sorted(path.name for path in out.rglob("*.vtt")) == ["a.mp4.vtt", "a.mp4.vtt"]
    assert predict(videos, "--output", out, "--hop", 1) == 1
    assert "holds the results of another run, with hop 0.5 and not 1.0" in capsys.readouterr().err


def test_results_of_another_video_of_the_same_name_are_not_taken_for_its_own(
    short, party, tmp_path, capsys, monkeypatch
):
    for name, video in (("a", short), ("b", party)):
        (tmp_path / name).mkdir()
        os.link(video, tmp_path / name / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert predict("a/clip.mp4", "--model", TINY, "--output", "out") == 0
    assert predict(tmp_path / "a" / "clip.mp4", "--model", TINY, "--output", "out") == 0  # the same file
    assert "1 of 1 videos were done before" in capsys.readouterr().out
    assert predict("b/clip.mp4", "--model", TINY, "--output", "out") == 1
    assert "clip.mp4.csv: is of the video a/clip.mp4, and not of b/clip.mp4; give another" in capsys.readouterr().err


def test_a_video_that_is_newer_than_its_files_is_done_again(short, wall, tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "frames").mkdir(parents=True)
    for number, frame in enumerate(place_faces({0: straight((40, 40), (50, 40), 3)}, 3, size=(200, 240))):
        Image.fromarray(frame).save(videos / "frames" / f"{number}.png")
    for name in ("a.mp4", "kept.mp4"):
        shutil.copy(short, videos / name)
    assert predict(videos, "--model", TINY, "--output", out, "--subtitles", "vtt") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert predict(videos, "--model", TINY, "--output", out, "--subtitles", "vtt") == 0
    assert "3 of 3 videos were done before" in capsys.readouterr().out

    shutil.copy(wall, videos / "a.mp4")
    shutil.copy(videos / "frames" / "0.png", videos / "frames" / "3.png")
    assert predict(videos, "--model", TINY, "--output", out) == 0
    assert "1 of 3 videos were done before" in capsys.readouterr().out
    assert predict(videos, "--model", TINY, "--output", out, "--subtitles", "vtt") == 0  # the old ones do not pass
    changed = {name for name, content in before.items() if (out / name).read_bytes() != content}
    assert changed == {"a.mp4.csv", "a.mp4.vtt", "frames.csv", "frames.vtt", "summary.csv"}

    (videos / "kept.mp4").write_bytes(b"no video")
    assert predict(videos, "--model", TINY, "--output", out) == 1
    assert set(pd.read_csv(out / "summary.csv")["video"]) == {str(videos / "frames")}
    assert predict(videos / "kept.mp4", "--model", TINY, "--output", out) == 1
    assert not (out / "summary.csv").exists()


def test_standard_input_is_analysed_each_time(short, wall, tmp_path, capsys, monkeypatch):
    for video in (short, wall):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(video.read_bytes())))
        assert predict("-", "--model", TINY, "--output", tmp_path) == 0
    assert "done before" not in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "stdin.csv")) == 0


def test_a_summary_of_another_origin_is_not_overwritten(short, tmp_path, capsys):
    (tmp_path / "summary.csv").write_text("video,label\nmine,1\n")
    assert predict(short, "--model", TINY, "--output", tmp_path) == 1
    assert "summary.csv: is no summary of this command; move it, or give another folder" in capsys.readouterr().err
    assert (tmp_path / "summary.csv").read_text() == "video,label\nmine,1\n"
    (tmp_path / "summary.csv").unlink()
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"fear": "fear, fright"}))
    for _ in range(2):
        assert predict(short, "--model", TINY, "--output", tmp_path, "--labels", labels) == 0
        (tmp_path / "predict.json").unlink()  # as the message about a damaged one says


def test_results_of_other_weights_are_not_mixed_in(short, tmp_path, capsys):
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(TINY_SYNTHETIC, model)
    assert predict(short, "--output", out, "--model", model) == 0
    settings = json.loads((out / "predict.json").read_text())
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert settings.pop("weights_sha256") == {"model.safetensors": digest}
    (model / "model.safetensors").write_bytes(Path(SMALL_FACES, "model.safetensors").read_bytes())
    (model / "config.json").write_bytes(Path(SMALL_FACES, "config.json").read_bytes())  # trained again, there
    shutil.copy(Path(SMALL_FACES, "video_preprocessor_config.json"), model)
    capsys.readouterr()
    assert predict(short, "--output", out, "--model", model) == 1
    assert "holds the results of another run, with weights_sha256" in capsys.readouterr().err
    (out / "predict.json").write_text(json.dumps(settings))  # of an earlier version
    assert predict(short, "--output", out, "--model", model) == 0
