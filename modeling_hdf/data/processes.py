"""Worker processes: how many there should be, and how they end with their parent."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent is killed, even in the midst of work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from processes started in this block, even while they import; this process gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def forks_follow() -> Iterator[None]:
    """Processes forked (not spawned) in this block end within about a second of this one, even if it is killed."""
    global _followed
    former, _followed = _followed, os.getpid()
    try:
        yield
    finally:
        _followed = former


_followed: int | None = None  # process whose forks follow it


def _follow() -> None:
    global _followed
    if _followed is not None:
        threading.Thread(target=_exit_without, args=(_followed,), daemon=True).start()
        _followed = os.getpid()


def _exit_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_follow)


__all__ = ["blocked_interrupts", "follow_parent", "forks_follow", "usable_cores"]
