"""`hdf data faces` that is stopped: by a full disk, a kill, Ctrl-C, and beside a second run."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from face_clips import FPS
from faces_command import hdf, journal, shown_at, tree, wait_until
from video_files import write_video

from modeling_hdf.faces import writing as face_writing

COMMAND = [sys.executable, "-m", "modeling_hdf", "data", "faces"]


def test_a_full_disk_ends_the_run_with_the_path_and_keeps_what_is_done(source, tmp_path, clip, capsys):
    """The kernel refuses to let a file grow: the same path through FFmpeg as on a full disk."""
    write_video(source / "a_first.mp4", list(clip[:4]), rate=FPS)
    out = tmp_path / "out"
    assert hdf(source, out, "--format", "mp4") == 0
    size = max((out / name).stat().st_size for name in tree(out))
    small = (out / "a_first.mp4").stat().st_size
    assert small + 100 < size
    script = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({small + 50}, resource.RLIM_INFINITY))\n"
        "from modeling_hdf.cli.main import main\n"
        "sys.exit(main(['data', 'faces', *sys.argv[1:]]))\n"
    )
    limited = tmp_path / "limited"
    result = subprocess.run(
        [sys.executable, "-c", script, source, limited, "--size", "64", "--format", "mp4", "--workers", "1"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert f"stopped: {limited}/" in result.stderr and "cannot be written (File too large)" in result.stderr
    assert "run the same command again" in result.stderr
    assert "a_first.mp4" in tree(limited) and not [name for name in tree(limited) if "part" in name]
    assert hdf(source, limited, "--format", "mp4") == 0
    assert "(1 were done before)" in capsys.readouterr().out


def test_no_space_left_is_said_as_such(source, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(face_writing, "_encode", full)
    out = tmp_path / "out"
    assert hdf(source, out) == 1
    printed = capsys.readouterr()
    assert f"stopped: {out / 'deep' / 'uneven.mp4'}: cannot be written (No space left on device)" in printed.err
    assert "deep/frames/1.png" in tree(out) and journal(out)["deep/frames"]["status"] == "ok"


def test_a_killed_run_leaves_no_half_file_and_is_finished_by_the_next(tmp_path, clip):
    """Kills a run with two processes as soon as it has written a clip; also shows that two make what one makes."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_video(source / "00.mp4", list(np.tile(clip, (4, 1, 1, 1))), rate=FPS)
    for index in range(1, 12):
        shutil.copy(source / "00.mp4", source / f"{index:02d}.mp4")
    command = [*COMMAND, source, out, "--size", "64", "--workers", "2"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    written = [path.name for path in out.glob("*.mp4")]
    assert 0 < len(written) < 12
    for name in written:
        assert len(shown_at(out / name)[0]) == 48
    deadline = time.monotonic() + 30
    while _group_is_alive(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_is_alive(run.pid)  # the workers end with their parent

    part = out / "deep" / ".x.hdf-part"
    part.mkdir(parents=True)
    (part / "clip.mp4").write_bytes(b"half")
    assert hdf(source, out) == 0
    assert tree(out) == sorted([f"{index:02d}.mp4" for index in range(12)] + ["faces.jsonl"])
    assert len({(out / f"{index:02d}.mp4").read_bytes() for index in range(12)}) == 1


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory, clip) -> Path:
    """Clips of which each takes seconds; the first two are short."""
    source = tmp_path_factory.mktemp("long")
    write_video(source / "00.mp4", list(clip), rate=FPS)
    shutil.copy(source / "00.mp4", source / "01.mp4")
    write_video(source / "02.mp4", list(np.tile(clip, (200, 1, 1, 1))), rate=FPS)
    for index in range(3, 6):
        shutil.copy(source / "02.mp4", source / f"{index:02d}.mp4")
    return source


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_at_once_and_keeps_what_is_done(long_clips, tmp_path, capsys, workers):
    out = tmp_path / "out"
    command = [*COMMAND, long_clips, out, "--size", "64", "--workers", str(workers)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: (out / "01.mp4").exists() and (out / "00.mp4").exists())
        assert hdf(long_clips, out) == 1  # meanwhile, a second run
        assert f"`hdf data faces` (process {run.pid} on " in capsys.readouterr().err and run.poll() is None
        started = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes
        printed, errors = run.communicate(timeout=60)
        taken = time.monotonic() - started
    finally:
        if _group_is_alive(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 130, errors
    assert taken < 6.0  # 2 on a machine that does nothing else; the clips take far longer
    lines = journal(out)
    kept = [name for name in lines if lines[name]["status"] == "ok"]
    assert 2 <= len(kept) < 6
    assert f"6 clips: {len(kept)} cropped" in printed and "Traceback" not in errors
    assert f"stopped: interrupted. The {len(kept)} clips that are done are kept" in errors
    assert tree(out) == sorted([*kept, "faces.jsonl"])  # no crop without its line, nothing half done, no lock


def test_ctrl_c_while_the_workers_start_ends_without_their_errors(long_clips, tmp_path):
    out = tmp_path / "out"
    command = [*COMMAND, long_clips, out, "--size", "64", "--workers", "2", "--quiet"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: (out / "faces.jsonl").exists())
    time.sleep(0.5)
    started = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert time.monotonic() - started < 6.0
    assert run.returncode == 130 and len(errors.splitlines()) == 1 and "interrupted" in errors
