"""Starts trainings in processes of their own and kills them. One server process imports what they need, once."""

import multiprocessing
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["modeling_hdf.cli.train", "modeling_hdf.cli.pretrain"])


def run_script(script: str, arguments: list[str], cache: str, log: str) -> None:
    """An example script as a command would run it, with a dataset cache of its own."""
    import datasets

    # A child of the server would ask the server for its workers, which then outlive it; a command forks them itself.
    multiprocessing.set_start_method("fork", force=True)
    datasets.config.HF_DATASETS_CACHE = cache
    sys.argv = [script, *arguments]
    sys.stdout = sys.stderr = open(log, "a", buffering=1)
    runpy.run_path(script, run_name="__main__")


def start(arguments: list, cache: Path, log: Path, script: str = "train.py") -> multiprocessing.Process:
    values = [str(value) for value in arguments]
    process = _processes.Process(target=run_script, args=(str(EXAMPLES / script), values, str(cache), str(log)))
    process.start()
    return process


def finish(process: multiprocessing.Process, seconds: float = 300) -> int | None:
    """Waits for the end; the exit code, or `None` if it did not come."""
    process.join(seconds)
    return process.exitcode


def kill_when(process: multiprocessing.Process, happened: Callable[[], bool], delay: float = 0.0) -> bool:
    """Kills the process with SIGKILL once it `happened`, and says whether it still ran then."""
    while process.is_alive() and not happened():
        time.sleep(0.0005)
    time.sleep(delay)
    was_alive = process.is_alive()
    process.kill()
    process.join()
    return was_alive
