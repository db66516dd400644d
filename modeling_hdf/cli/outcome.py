"""The outcome of a command, for the command line."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """
    The outcome of a command.

    Attributes:
        value: the result as plain JSON, for `--json`; with several processes, `None` in all but one process.
        code: the exit code.
    """

    value: Any = None
    code: int = 0


__all__ = ["Outcome"]
