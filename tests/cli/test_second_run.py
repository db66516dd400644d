"""Commands that write into a folder refuse it while another process works there, and name that process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evaluated_models import own_dataset_cache, save_model  # noqa: F401

from modeling_hdf.cli.main import main

HOLD = (
    "import sys\n"
    "from modeling_hdf.data.locks import folder_lock\n"
    "with folder_lock(sys.argv[1], 'hdf other', beside=bool(sys.argv[2])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.readline()\n"
)
SMALL = '{"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}'


def command(name: str, root: Path) -> list[str]:
    """A call that is done in seconds, with `root / "out"` as its folder."""
    out = str(root / "out")
    if name in ("train", "pretrain"):
        short = ["--max_steps", "1", "--per_device_train_batch_size", "7", "--use_cpu", "true", "--preset", "tiny"]
        return [name, "--output_dir", out, "--dataset_overrides", SMALL, *short]
    if name == "evaluate":
        model = str(save_model(root / "model"))
        return [name, model, "--dataset", "synthetic", "--overrides", SMALL, "--output", out, "--resamples", "2"]
    return ["data", "publish", "synthetic", out, "--overrides", SMALL]


@pytest.mark.parametrize("name", ["train", "pretrain", "evaluate", "publish"])
def test_a_second_run_is_refused_and_a_killed_one_is_not_in_the_way(name, tmp_path, capsys):
    arguments = command(name, tmp_path)
    held = [sys.executable, "-c", HOLD, str(tmp_path / "out"), "beside" if name == "publish" else ""]
    other = subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        before = sorted(tmp_path.rglob("*"))
        assert main(arguments) == 1
        assert f"out: `hdf other` (process {other.pid} on " in capsys.readouterr().err
        datasets_made = tmp_path / "datasets_cache"
        assert [path for path in sorted(tmp_path.rglob("*")) if datasets_made not in (path, *path.parents)] == before
        other.send_signal(signal.SIGKILL)
        other.wait()
    finally:
        other.kill()
        other.wait()
    assert main(arguments) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written and not any("hdf-run" in path.name for path in tmp_path.rglob("*"))
