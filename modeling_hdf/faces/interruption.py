"""Ctrl-C that waits for the end of a step that must be whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """
    Within the block, Ctrl-C raises `KeyboardInterrupt` at once; within [`whole_step`], at the end of the step.

    Does nothing outside of the main thread, or if the process already handles or ignores Ctrl-C itself.
    """

    def __init__(self):
        self._is_wanted = self._is_held = False
        self._former = None

    def __enter__(self) -> "Interruption":
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._former = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _note(self, *_: object) -> None:
        self._is_wanted = True
        if not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def whole_step(self) -> Iterator[None]:
        """A step that is not interrupted."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_wanted:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """Ignore Ctrl-C from now on: the remaining work is short."""
        self._is_held, self._is_wanted = True, False


__all__ = ["Interruption"]
