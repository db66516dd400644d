"""Gives damaged files to the functions that read them: each must be read, or refused by a message that names it.

    python tests/fuzz/run.py --inputs 200 --seed 0

Each input is read in a process of its own, with limits on memory and time. The same numbers give the same inputs. The
exit status is 1 if one of them ended in an unclear error, a crash, a hang, or took too much memory; these inputs are
kept, and `--only` repeats one of them.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from time import monotonic

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
from subjects import SUBJECTS, Subject, write_sound_files  # noqa: E402

OUTCOMES = ("fine", "clear error", "unclear", "crash", "hang", "memory")
FAILURES = OUTCOMES[2:]
MEMORY = 4 << 30  # bytes, over those of the start
SECONDS = 10  # of computing; the clock may show more, as other processes run too
CLOCK_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What came of one input: its number, the name of its subject, one of `OUTCOMES`, and what was said."""

    index: int
    subject: str
    outcome: str
    detail: str


def damaged_input(sound: Path, folder: Path, seed: int, index: int) -> tuple[Subject, Path]:
    """The subject of an input, and its damaged file in `folder`."""
    subject = SUBJECTS[index % len(SUBJECTS)]
    random = Random(f"{seed} {index}")
    source = sound / subject.file
    path = folder / subject.file
    if "/" in subject.file:
        shutil.copytree(source.parent, path.parent)
    path.write_bytes(subject.damage(source.read_bytes(), random))
    return subject, path


def read_input(subject: Subject, path: Path) -> tuple[str, str]:
    """One of `OUTCOMES`, and what was said."""
    names = [str(path.parent) if subject.is_folder else str(path)]
    said = StringIO()
    try:
        with redirect_stderr(said):
            subject.read(path)
        return "fine", ""
    except MemoryError:
        return "memory", traceback.format_exc()
    except (ValueError, OSError) as error:
        is_clear = any(name in str(error) for name in names) or str(error).startswith(str(path))
        return ("clear error" if is_clear else "unclear"), _described(error)
    except SystemExit as error:  # of the parser of arguments, which has written why
        text = f"{said.getvalue().splitlines()[-1:]} {error}"
        return ("clear error" if names[0] in text else "unclear"), text
    except BaseException as error:  # whatever it is, the table shows it
        return "unclear", _described(error)


def _described(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "modeling_hdf" in frame.filename]
    last = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{last}: {error}"


def _work(connection: Connection, sound: Path, folder: Path, seed: int, index: int) -> None:
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    connection.send(read_input(*damaged_input(sound, folder, seed, index)))


def run(inputs: range, seed: int, keep: Path, jobs: int = 2) -> list[Outcome]:
    """Read the inputs of these numbers, `jobs` at a time. Those that fail lie in `keep` afterwards."""
    processes = multiprocessing.get_context("fork")  # the package is loaded once
    outcomes, running, waiting = [], {}, list(reversed(inputs))
    with tempfile.TemporaryDirectory(prefix="hdf-fuzz-") as place:
        sound = Path(place) / "sound"
        sound.mkdir()
        writer = processes.Process(target=write_sound_files, args=(sound,))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("The sound files could not be written.")
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop()
                folder = Path(place) / str(index)
                folder.mkdir()
                receiver, sender = processes.Pipe(duplex=False)
                process = processes.Process(target=_work, args=(sender, sound, folder, seed, index))
                process.start()
                sender.close()
                running[index] = (process, receiver, folder, monotonic())
            wait([entry[1] for entry in running.values()], timeout=1.0)
            for index, (process, receiver, folder, start) in list(running.items()):
                outcome = _outcome(process, receiver, monotonic() - start)
                if outcome is None:
                    continue
                del running[index]
                outcomes.append(Outcome(index, SUBJECTS[index % len(SUBJECTS)].name, *outcome))
                if outcome[0] in FAILURES:
                    shutil.copytree(folder, keep / f"{seed}-{index}", dirs_exist_ok=True)
                shutil.rmtree(folder)
    return sorted(outcomes, key=lambda outcome: outcome.index)


def _outcome(process: multiprocessing.Process, receiver: Connection, seconds: float) -> tuple[str, str] | None:
    """What came of a process; `None` if it still works."""
    result = None
    if receiver.poll():
        try:
            result = receiver.recv()
        except EOFError:
            pass
    elif seconds > CLOCK_SECONDS:
        process.kill()
        result = "hang", f"no answer within {CLOCK_SECONDS} seconds"
    elif process.is_alive():
        return None
    process.join()
    if result is None:
        number = -process.exitcode if process.exitcode < 0 else 0
        name = signal.Signals(number).name if number else f"exit status {process.exitcode}"
        is_slow = number in (signal.SIGXCPU, signal.SIGKILL)
        result = ("hang", f"more than {SECONDS} seconds of computing") if is_slow else ("crash", name)
    receiver.close()
    return result


def table(outcomes: list[Outcome]) -> str:
    """How often each outcome came, by subject."""
    counts = Counter((outcome.subject, outcome.outcome) for outcome in outcomes)
    names = [subject.name for subject in SUBJECTS]
    rows = [["kind of input", *OUTCOMES]]
    rows += [[name, *(str(counts[name, outcome]) for outcome in OUTCOMES)] for name in names]
    rows.append(["all", *(str(sum(counts[name, outcome] for name in names)) for outcome in OUTCOMES)])
    return "\n".join(f"{row[0]:20}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one input to read")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for the inputs that fail")
    options = parser.parse_args(argv)
    inputs = range(options.inputs) if options.only is None else range(options.only, options.only + 1)
    outcomes = run(inputs, options.seed, options.keep, options.jobs)
    print(table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.outcome in FAILURES]
    for outcome in failed:
        print(
            f"\n{outcome.outcome}, {outcome.subject}, --seed {options.seed} --only {outcome.index}: "
            f"{outcome.detail[-600:]}\n  kept in {options.keep / f'{options.seed}-{outcome.index}'}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
