"""`hdf predict`: the files that it writes, what it says of bad input, and how it goes on after it was killed."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, TextIOWrapper
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from face_clips import FPS, place_faces, straight
from PIL import Image
from video_files import write_video

from modeling_hdf import downloading_hdf
from modeling_hdf.cli import predict as predict_command
from modeling_hdf.cli.main import main
from modeling_hdf.inference import VideoAnalyzer, analyze
from modeling_hdf.inference.inputs import find_inputs
from modeling_hdf.inference.workers import keep_result

TINY = "hdf-tiny-synthetic"
PLAYLIST = "#EXTM3U\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"


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
        (line,) = (line for line in printed.err.splitlines() if name in line)
        assert line.startswith(f"not analysed: {name}: ") and line.count(name) == 1 and reason in line


def test_a_folder_without_a_video_and_a_pipe_are_named_and_do_not_cost_the_others(short, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert predict(tmp_path / "empty", tmp_path / "pipe", short, "--model", TINY, "--output", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{short}: 1 person")
    assert f"not analysed: {tmp_path}/empty: holds no video and no image." in printed.err.splitlines()
    assert f"not analysed: {tmp_path}/pipe: is a device or a pipe; pass a regular file" in printed.err


def test_an_error_names_its_file_once(short, tmp_path, monkeypatch, capsys):
    videos = tmp_path / "videos"
    (videos / "frames").mkdir(parents=True)
    os.link(short, videos / "good.mp4")
    (videos / "damaged.mp4").write_bytes(short.read_bytes()[:600])
    for name in ("frames/1.png", "frames/2.png", "one.png"):
        (videos / name).write_bytes(b"no picture")
    for options, what in ([], "not analysed"), (["--whole", "--quiet"], "not classified"):
        assert predict(videos, "--model", TINY, *options) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if str(videos) in line]
        assert [line.partition(" cannot")[0] for line in lines] == [
            f"{what}: {videos / name}:" for name in ("damaged.mp4", "frames/1.png", "one.png")
        ]
        assert all(line.count(str(tmp_path)) == 1 for line in lines)

    def too_dark(*_):
        raise ValueError("it is too dark")

    monkeypatch.setattr(predict_command, "predict_video", too_dark)
    assert predict(short, "--model", TINY, "--whole") == 1
    assert f"not classified: {short}: it is too dark" in capsys.readouterr().err.splitlines()


def test_numbers_of_another_type_and_other_batches_give_nearly_the_same(party, capsys):
    found = {}
    for options in ((), ("--device", "cpu", "--batch-size", 1), ("--dtype", "bfloat16")):
        assert predict(party, "--model", TINY, "--json", *options) == 0
        rows = json.loads(capsys.readouterr().out)["videos"][str(party)]["rows"]
        found[options[:1]] = np.array([[row["confidence"], row["happiness"], row["fear"]] for row in rows])
    exact, one_by_one, rounded = found.values()
    np.testing.assert_allclose(one_by_one, exact, atol=1e-5)
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    assert np.abs(rounded - exact).max() > 1e-4  # it was used


def test_a_killed_run_leaves_no_half_file_and_is_continued(short, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(6):
        os.link(short, videos / f"{number}.mp4")
    command = [sys.executable, "-m", "modeling_hdf", "predict", str(videos), "--output", str(out), "--batch-size", "1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("*.csv")) and run.poll() is None:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = {path: path.read_text() for path in out.glob("*.mp4.csv")}
    assert 1 <= len(done) < 6 and not (out / "summary.csv").exists()
    assert len({content.count("\n") for content in done.values()}) == 1
    assert predict(videos, "--output", out) == 0
    assert len(list(out.glob("*.mp4.csv"))) == 6 and all(path.read_text() == old for path, old in done.items())
    assert not list(out.glob(".*hdf-part"))


def test_several_videos_go_to_several_processes_and_one_does_not(short, tmp_path, monkeypatch, capsys):
    asked = []

    def here(videos, workers, model, options, output, progress):
        asked.append((len(videos), workers, options["hop"]))
        for video in videos:
            timeline = VideoAnalyzer(model, **options).analyze(video.video, progress=progress)
            yield video, keep_result(video, timeline, output)

    monkeypatch.setattr(predict_command, "analyze_in_processes", here)
    other = tmp_path / "other.mp4"
    os.link(short, other)
    assert predict(short, other, "missing.mp4", "--workers", 3, "--hop", 1, "--output", tmp_path / "out") == 1
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 2
    assert predict(short, "missing.mp4", "--workers", 3) == 1
    assert asked == [(2, 3, 1.0)]
    assert predict(short, "--whole", "--workers", 2) == 2
    assert "--whole prints one answer per clip, in one process" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_shows_the_progress_in_seconds_of_all_videos(short, tmp_path, monkeypatch, capsys, workers):
    other, text = tmp_path / "other.mp4", tmp_path / "text.mp4"
    os.link(short, other)
    text.write_text("no video")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    options = (short, text, other, "--model", TINY, "--workers", workers)
    assert predict(*options) == 1
    printed = capsys.readouterr()
    assert re.search(r"3 of 3 videos: 100% \|.+\| 1/1 s, 00:00 left", printed.err)
    assert printed.out.startswith(f"{short}: 1 person in 0.5 s\n")
    assert predict(*options, "--quiet") == 1
    assert "videos:" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["--window", "0.2", "--hop", "0.05"], "short.mp4.csv"),
        (["--format", "parquet"], "short.mp4.parquet"),
        (["--annotate"], "short.mp4.annotated.mp4"),
        (["--plot"], "short.mp4.png"),
    ],
)
def test_a_full_disk_is_named_and_leaves_nothing_half_written(short, tmp_path, capsys, options, file):
    import resource

    out = tmp_path / "out"
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert predict(short, "--output", out, *options) == 0
    files = {path.name: path.stat().st_size for path in out.iterdir()}
    for path in out.glob("s*"):
        path.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (files[file] - 1, most))
    try:
        code = predict(short, "--output", out, *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    error = capsys.readouterr().err.strip()
    assert code == 1 and f"{out / file}: cannot be written (" in error and "run the same command again" in error
    assert "\n" not in error.partition("error:")[2]
    assert [path.name for path in out.iterdir()] == ["predict.json"]
    assert predict(short, "--output", out, *options) == 0
    assert {path.name: path.stat().st_size for path in out.iterdir()} == files


def test_an_annotated_url_is_downloaded_once_and_its_file_is_removed(short, tmp_path, monkeypatch, capsys):
    asked, files = [], []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, form, line, *_):
            asked.append(line)

    def temporary_file(**options):
        files.append(SpooledTemporaryFile(**options))
        return files[-1]

    monkeypatch.setattr(downloading_hdf, "SpooledTemporaryFile", temporary_file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    os.link(short, tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_text("no video")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        good, bad = (f"http://127.0.0.1:{server.server_port}/{name}.mp4" for name in ("good", "bad"))
        assert predict(good, bad, "--output", tmp_path / "out", "--annotate", "--model", TINY) == 1
        server.shutdown()
    assert f"not analysed: {bad}: cannot be read as a video" in capsys.readouterr().err
    assert (tmp_path / "out" / "good.mp4.annotated.mp4").is_file()
    assert sorted(asked) == ["GET /bad.mp4 HTTP/1.1", "GET /good.mp4 HTTP/1.1"]
    assert [file.closed for file in files] == [True, True]


def test_an_output_that_cannot_be_written_is_named(party, tmp_path, capsys):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/nowhere")):
        assert predict(party, "--output", place) == 1
        assert f"{place}: cannot be written (" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--plot"], "--plot needs --output DIR"),
        (["--whole", "--output", "out"], "--whole prints one answer per clip"),
        (["--hop", 3], "`hop` must be at least a microsecond and at most the window of 2.0 seconds, got 3.0."),
        (["--hop", 1e-7], "`hop` must be at least a microsecond and at most the window of 2.0 seconds, got 1e-07."),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_call(short, capsys, options, message):
    assert predict(short, *options) == 2
    assert capsys.readouterr().err.startswith(f"hdf predict: error: {message}")


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
    (tmp_path / "frames").rename(tmp_path / "summary")
    with pytest.raises(ValueError, match="summary: its table would take the place of summary.csv"):
        find_inputs(["summary"], "out")
    with pytest.raises(ValueError, match=r"tree/b.mp4 and b.mp4 would both be written to b.mp4; give the folder that"):
        find_inputs(["tree/b.mp4", "b.mp4"], "out")
    with pytest.raises(ValueError, match=r"id=2 would both be written to get; analyse them in two runs, each with an"):
        find_inputs(["https://example.org/get?id=1", "https://example.org/get?id=2"], "out")
    # Without an output folder nothing is in the way.
    assert found("summary", "tree/b.mp4", "b.mp4") == [
        ("summary", "summary"),
        ("tree/b.mp4", "b.mp4"),
        ("b.mp4", "b.mp4"),
    ]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names of files are text there")
def test_a_name_that_is_no_utf8_is_spelled_out_and_does_not_cost_the_others(short, tmp_path, monkeypatch):
    path, out = tmp_path / "caf\udce9.mkv", tmp_path / "out"
    write_video(path, list(place_faces({0: straight((40, 40), (50, 40), 30)}, 30, size=(200, 240))), rate=FPS)
    path.write_bytes(path.read_bytes()[:-1500])  # damaged, so that a message names it too
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), "utf-8"))
    options = ("--output", out, "--plot", "--model", TINY)
    assert predict(path, short, *options) == 0 and predict(path, short, *options) == 0
    sys.stdout.flush()
    text = sys.stdout.buffer.getvalue().decode()
    assert f"{tmp_path}/caf\\udce9.mkv: declares 1.20 s" in text and "2 of 2 videos were done before" in text
    assert set(pd.read_csv(out / "summary.csv")["video"]) == {f"{tmp_path}/caf\\udce9.mkv", str(short)}
    assert (out / "caf\udce9.mkv.png").is_file()


def test_what_a_run_wrote_is_no_input_of_the_next_and_one_file_counts_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "a.mp4.annotated.mp4", "a.mp4.annotated.mp4.annotated.mp4", "a.mp4.png", "b.annotated.mp4"):
        Path(name).write_bytes(b"0")
    for arguments in ((".",), ("*.mp4", "*.png"), tuple(sorted(os.listdir()))):
        assert {each.output for each in find_inputs(arguments, ".")} == {"a.mp4", "b.annotated.mp4"}
        assert len(find_inputs(arguments, "elsewhere")) == 5
    assert [each.name for each in find_inputs(["a.mp4", "./a.mp4"])] == ["a.mp4"]


def test_results_of_earlier_runs_in_a_folder_are_no_inputs_but_videos_beside_results_are(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"0")

    def found():
        return [each.output for each in find_inputs([str(tmp_path)], str(tmp_path / "new"))]

    write("a.mp4", "deep/b.mp4")
    for place in ("first", "deep/second"):
        write(f"{place}/predict.json", *(f"{place}/deep/b.mp4.{kind}" for kind in ("csv", "annotated.mp4", "png")))
        write(*(f"{place}/a.mp4.{kind}" for kind in ("jsonl", "annotated.mp4", "png", "html")))
    write("first/.x.hdf-part/c.mp4.annotated.mp4", "first/c.mp4.annotated.mp4")  # it was killed
    assert found() == ["a.mp4", "deep/b.mp4"]
    write("first/deep/own.mp4")  # a folder of videos that took the results too; what has no table may be one's own
    assert found() == ["a.mp4", "deep/b.mp4", "first/c.mp4.annotated.mp4", "first/deep/own.mp4"]
    (tmp_path / "first" / "deep" / "own.mp4").unlink()
    (tmp_path / "first" / "predict.json").unlink()
    assert len(found()) > 2


def test_a_folder_of_frames_may_take_its_own_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    for number, frame in enumerate(place_faces({0: straight((40, 40), (50, 40), 6)}, 6, size=(200, 240))):
        Image.fromarray(frame).save(f"frames/{number}.png")
    arguments = ("frames", "--output", "frames", "--plot", "--annotate", "--model", TINY)
    assert predict(*arguments) == 0 and "frames: 1 person in 0.2 s" in capsys.readouterr().out
    assert predict(*arguments) == 0 and "1 of 1 videos were done before" in capsys.readouterr().out
    for folder in ("frames", "."):
        (each,) = find_inputs([folder], "elsewhere")
        assert each.video == {"frames": [f"frames/{number}.png" for number in range(6)]}
    os.remove("frames/frames.annotated.mp4")
    assert predict(*arguments) == 0 and "frames: 1 person in 0.2 s" in capsys.readouterr().out  # without the plot
    # The plot of a lone picture does not make a folder of frames of it.
    Path("single").mkdir()
    Path("frames/0.png").rename("single/0.png")
    assert predict("single", "--output", "single", "--plot", "--model", TINY) == 0
    assert [each.output for each in find_inputs(["single"])] == ["0.png"]


def test_a_locked_folder_among_frames_is_named(tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(folder):  # a mode of 0 would not stop root
        if os.fspath(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    frames, locked = find_inputs([str(tmp_path)])
    assert frames.video == str(tmp_path) and not frames.problem
    assert locked.problem == f"{tmp_path}/locked: cannot be listed (Permission denied)."


def test_a_device_that_cannot_be_used_is_named(short, capsys):
    for device in ("cuda:77", "gpu"):
        assert predict(short, "--device", device, "--model", TINY) == 1
        error = capsys.readouterr().err
        assert f"The device '{device}' cannot be used (" in error and "take another, such as cpu" in error


def test_standard_input_labels_and_whole_clips(short, tmp_path, monkeypatch, capsys):
    names = tmp_path / "names.json"
    label = analyze(str(short)).rows[0].label
    names.write_text(json.dumps({label: "Miene"}))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(short.read_bytes())))
    assert predict("-", "--json", "--labels", names) == 0
    rows = json.loads(capsys.readouterr().out)["videos"]["standard input"]["rows"]
    assert rows[0]["label"] == "Miene" and "Miene" in rows[0]
    assert predict("--whole", short, "--model", TINY, "--labels", names, "--json") == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"][str(short)]
    assert "Miene" in predictions and label not in predictions
    assert sum(predictions.values()) == pytest.approx(1, abs=1e-5)
    names.write_text('{"joy": "x"}')
    assert predict(short, "--labels", names) == 1 and "'joy' is no class of the model" in capsys.readouterr().err
