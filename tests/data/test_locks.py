"""One run at a time in a folder, with a second process as the other run."""

import os
import signal
import subprocess
import sys

import pytest

from modeling_hdf.data.locks import HOLDER_FILE, LOCK_FILE, FolderInUseError, folder_lock

HOLD = (
    "import sys\n"
    "from modeling_hdf.data.locks import folder_lock\n"
    "with folder_lock(sys.argv[1], 'hdf other'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.readline()\n"
)


@pytest.fixture
def other(tmp_path):
    """A process that holds `tmp_path / "out"` until it gets a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path, other):
    with pytest.raises(FolderInUseError, match=rf"out: `hdf other` \(process {other.pid} on .*another folder"):
        with folder_lock(tmp_path / "out", "hdf data faces"):
            raise AssertionError("entered")
    with folder_lock(tmp_path / "elsewhere", "hdf data faces"):
        pass
    other.communicate("go\n", timeout=60)
    with folder_lock(tmp_path / "out", "hdf data faces"):
        pass


ORPHANS = (
    "import fcntl, json, os, signal, socket, sys, time\n"
    "file = open(sys.argv[1] + '/.hdf-run.lock', 'w')\n"
    "fcntl.flock(file, fcntl.LOCK_EX) if sys.argv[2] == 'flock' else fcntl.lockf(file, fcntl.LOCK_EX)\n"
    "about = {'command': 'hdf other', 'process': os.getpid(), 'host': socket.gethostname(), 'since': 0}\n"
    "open(sys.argv[1] + '/.hdf-run.json', 'w').write(json.dumps(about))\n"
    "if os.fork() == 0:\n"
    "    os.close(1)\n"
    "    time.sleep(2)\n"
    "    os._exit(0)\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.skipif(os.name != "posix", reason="processes are not forked")
@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_the_workers_of_a_killed_run_are_waited_for(tmp_path, kind):
    killed = subprocess.run([sys.executable, "-c", ORPHANS, str(tmp_path), kind], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with folder_lock(tmp_path, "hdf data faces"):
        assert str(os.getpid()) in (tmp_path / HOLDER_FILE).read_text()


def test_a_killed_run_does_not_block_the_next(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "out" / LOCK_FILE).exists()
    with folder_lock(tmp_path / "out", "hdf data faces"):
        assert str(os.getpid()) in (tmp_path / "out" / HOLDER_FILE).read_text()


def test_one_process_does_not_enter_twice_and_nothing_is_left(tmp_path):
    with folder_lock(tmp_path, "first"):
        with pytest.raises(FolderInUseError, match=f"`first`.*{os.getpid()}"):
            with folder_lock(tmp_path, "second"):
                pass
        assert (tmp_path / HOLDER_FILE).exists()  # the second took nothing away
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_frees_the_folder(tmp_path):
    with pytest.raises(RuntimeError):
        with folder_lock(tmp_path, "first"):
            raise RuntimeError
    with folder_lock(tmp_path, "second"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\xff", b'{"command": 1, "since": "x"}'])
def test_an_unreadable_note_on_the_holder_is_no_crash(tmp_path, content):
    with folder_lock(tmp_path, "first"):
        (tmp_path / HOLDER_FILE).write_bytes(content)
        with pytest.raises(FolderInUseError, match="another process"):
            with folder_lock(tmp_path, "second"):
                pass
