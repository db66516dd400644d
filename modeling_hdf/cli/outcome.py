"""What a command gives back to the command line."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """
    The end of a command.

    Attributes:
        value: the result, plain JSON, for `--json`; `None` in all but one of several processes.
        code: the exit code.
    """

    value: Any = None
    code: int = 0


__all__ = ["Outcome"]
