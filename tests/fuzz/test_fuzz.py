"""The fuzz job: that it runs, tells the outcomes apart, and gives the same inputs again."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

OUTCOMES = """
import sys, time, json
from pathlib import Path
import run
from subjects import Subject

def allocate(path): bytearray(8 << 30)
def spin(path):
    while True: pass
def named(path): raise ValueError(f"{path}: is damaged")
def unnamed(path): raise ValueError("is damaged")
def wrong(path): raise KeyError(str(path))
def crash(path): import os; os.abort()

readers = (print, named, unnamed, wrong, crash, spin, allocate)
run.SUBJECTS = [Subject(reader.__name__, "photo.png", run.SUBJECTS[0].damage, reader) for reader in readers]
run.SECONDS = 1
outcomes = run.run(range(7), 0, Path(sys.argv[1]))
print(json.dumps([outcome.outcome for outcome in outcomes]))
"""


def run(*arguments: str, cwd: Path = HERE) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_twenty_damaged_files_are_read_or_refused_by_name(tmp_path):
    result = run(str(HERE / "run.py"), "--inputs", "20", "--keep", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.splitlines()[-1].split()
    assert last[0] == "all" and int(last[1]) + int(last[2]) == 20 and int(last[2]) > 0


def test_each_outcome_is_told_apart_and_failures_are_kept(tmp_path):
    result = run("-c", OUTCOMES, str(tmp_path))
    assert result.returncode == 0, result.stderr
    expected = ["fine", "clear error", "unclear", "unclear", "crash", "hang", "memory"]
    assert json.loads(result.stdout) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-2", "0-3", "0-4", "0-5", "0-6"]
    assert all((path / "photo.png").is_file() for path in tmp_path.iterdir())


def test_the_same_seed_gives_the_same_damage(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    from random import Random

    from mutations import damage_bytes, damage_json

    content = bytes(range(256)) * 4
    assert damage_bytes(content, Random("0 1")) == damage_bytes(content, Random("0 1")) != content
    assert damage_bytes(content, Random("0 1")) != damage_bytes(content, Random("1 1"))
    assert damage_json(b'{"a": [1, 2]}', Random("0 3")) == damage_json(b'{"a": [1, 2]}', Random("0 3"))
