"""Starts a script in two processes that talk over gloo, and waits for what they write."""

import os
import subprocess
import sys
import time
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
NUM_PROCESSES = 2


def run_in_two_processes(script: Path, folder: Path, *arguments: str, timeout: float = 400) -> None:
    """
    Runs `script folder *arguments` in two processes of one group, whose rendezvous is a file in `folder`: a port may
    be taken by the time it is used.

    Raises:
        AssertionError: if one of them fails, or is not done after `timeout` seconds; with the end of its output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = []
    for rank in range(NUM_PROCESSES):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(script.parent)]),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(NUM_PROCESSES),
            "LOCAL_WORLD_SIZE": str(NUM_PROCESSES),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        output = (folder / f"output-{rank}.txt").open("w")
        command = [sys.executable, str(script), str(folder), *arguments]
        running.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
    try:
        end = time.monotonic() + timeout
        # A process that fails leaves the other one waiting for it.
        while any(process.poll() is None for process in running) and not any(process.poll() for process in running):
            assert time.monotonic() < end, f"not done after {timeout} s{_outputs(folder)}"
            time.sleep(0.05)
        assert not any(process.poll() for process in running), f"a process failed{_outputs(folder)}"
    finally:
        for process in running:
            process.kill()
            process.wait()


def _outputs(folder: Path) -> str:
    return "".join(f"\n--- {path.name}\n{path.read_text()[-4000:]}" for path in sorted(folder.glob("output-*.txt")))
