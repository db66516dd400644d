"""The `hdf` command.

Help, the version, and errors for a wrong call or a missing path do not import torch. Each command is a module of this
package with a function `run`; `main` imports it when the user calls the command.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from io import TextIOWrapper

from .commands import TRAINING_COMMANDS, build_parser
from .outcome import Outcome
from .parser import WrongCallError, print_error
from .start import prepare_transformers
from .training import prepare_training

# What torch says of a process that reads clips and has ended without a word.
_KILLED_READER = r"DataLoader worker \(pid.*(is killed by signal|exited unexpectedly)"
_READER_WAS_KILLED = (
    "a process that reads clips was killed, perhaps for want of memory: use fewer (--num-workers, for hdf train and "
    "hdf pretrain --dataloader_num_workers)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the `hdf` command and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] and arguments[0] in TRAINING_COMMANDS:
        name = arguments[0]
        options, run = prepare_training(name, arguments[1:])
    else:
        options = build_parser().parse_args(arguments)
        options.command_line = shlex.join(["hdf", *arguments])  # for the record of the run
        name = " ".join(filter(None, (options.command, getattr(options, "data_command", None))))

        def run() -> Outcome:
            return _module(options.module).run(options)

    return _run(run, f"hdf {name}", options)


def _module(name: str):
    prepare_transformers()
    return import_module(f".{name}", __package__)


def _run(run: Callable[[], Outcome], prog: str, options) -> int:
    """Runs a command: its result goes to stdout, its errors are one line each."""
    try:
        with _outputs(options.quiet, options.json):
            outcome = run()
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, ImportError) as error:
        if options.debug:
            raise
        print_error(prog, _without_traceback(str(error)))
        return 2 if isinstance(error, WrongCallError) else 1
    except Exception as error:  # the last resort: the user gets one line that says how to see more
        if options.debug:
            raise
        text = " ".join(_without_traceback(str(error)).split())
        if re.search(_KILLED_READER, text):
            text = f"{_READER_WAS_KILLED} (torch says: {text})"
        else:
            text = f"{type(error).__name__}: {text} (--debug shows where)"
        print_error(prog, text)
        return 1
    if options.json and outcome.value is not None:
        print(json.dumps(outcome.value, indent=2, allow_nan=False))
    return outcome.code


def _without_traceback(message: str) -> str:
    """The message of an error. If torch wraps an error of a data worker in a traceback, the last line of it."""
    return message.strip().splitlines()[-1] if "Original Traceback" in message else message


@contextmanager
def _outputs(quiet: bool, as_json: bool) -> Iterator[None]:
    """Sends the lines that a command prints to stdout, with `--json` to stderr, with `--quiet` nowhere."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    with ExitStack() as stack:
        if quiet:
            # The libraries read these variables at import.
            os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error"}
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        elif as_json:
            stack.enter_context(redirect_stdout(sys.stderr))
        yield


if __name__ == "__main__":
    sys.exit(main())
