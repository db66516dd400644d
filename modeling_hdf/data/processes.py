"""Worker processes: how many there should be, and how they end with their parent."""

import multiprocessing
import os
import signal
import sys
import threading
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
def termination_unwinds() -> Iterator[None]:
    """
    In this block, SIGTERM raises `SystemExit`, so that pools of processes are closed: ended at once, this process
    would leave its workers. Does nothing outside of the main thread, or if the process handles SIGTERM itself.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    parent, is_wanted, code = os.getpid(), False, 128 + signal.SIGTERM

    def end(*_: object) -> None:
        nonlocal is_wanted
        if os.getpid() != parent:  # a forked worker
            os._exit(code)
        is_wanted = True
        sys.exit(code)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        if is_wanted:  # closing a pool may raise an error of its own
            sys.exit(code)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


__all__ = ["blocked_interrupts", "follow_parent", "termination_unwinds", "usable_cores"]
