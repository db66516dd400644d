"""Several videos at once, each in a process of its own; a process that is killed costs its video alone."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from ..data.files import OutputError
from ..data.processes import blocked_interrupts, follow_parent, usable_cores
from .analysis import VideoAnalyzer
from .inputs import Input
from .output_folder import OutputFolder
from .progress import Progress
from .timeline import Timeline

Result = Timeline | OSError | ValueError

_STATE_SECONDS = 0.25  # from one state that a process sends to the next


def keep_result(video: Input, result: Result, output: OutputFolder | None) -> Result:
    """
    Names the timeline of a video, writes its files if there is an output folder, and closes the video.

    Returns:
        The timeline, or the error if the video cannot be read, at first or again for its annotated copy.

    Raises:
        OutputError: if a file cannot be written.
    """
    try:
        if isinstance(result, Timeline):
            result.video = video.name
            if output is not None:
                output.write(video, result)
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        return error
    finally:
        video.close()
    return result


def analyze_in_processes(
    videos: Sequence[Input],
    workers: int,
    model: str,
    options: Mapping[str, Any],
    output: OutputFolder | None,
    progress: Progress | None = None,
) -> Iterator[tuple[Input, Result]]:
    """
    Analyses videos in several processes, which also write the files of their videos.

    Args:
        videos: the videos.
        workers: number of processes; each loads the model.
        model, options: of [`VideoAnalyzer`].
        output: the output folder, locked and prepared; `None` writes no files.
        progress: called with a video, the seconds of it that are done, and its length if the file declares it.

    Yields:
        Each video, in order, with its [`Timeline`], without pictures, or with the error if it cannot be read or its
        process was killed.

    Raises:
        OutputError: if a file cannot be written.
        RuntimeError: if a process fails for another reason; the message gives it.
    """
    count = min(workers, len(videos))
    arguments = (max(1, usable_cores() // count), model, dict(options), output)
    pool = _Pool(videos, count, arguments, output, progress)
    try:
        for number, video in enumerate(videos):
            result = pool.result(number)
            if isinstance(result, OutputError | RuntimeError):
                raise result
            yield video, result
    finally:
        pool.kill()


class _Pool:
    """Processes that take the videos in order, and the results that are not asked for yet, by the number of the video.

    Args:
        videos, output, progress: as for [`analyze_in_processes`].
        count: number of processes.
        arguments: of a process.
    """

    def __init__(
        self,
        videos: Sequence[Input],
        count: int,
        arguments: tuple,
        output: OutputFolder | None,
        progress: Progress | None,
    ):
        self.videos, self.arguments, self.output, self.progress = videos, arguments, output, progress
        self.waiting, self.done = deque(range(len(videos))), {}
        self.running = [_Worker(arguments) for _ in range(count)]

    def result(self, number: int) -> Result | OutputError | RuntimeError:
        """The result of a video, or what stops the run; waits for it."""
        while number not in self.done:
            for worker in self.running:
                if worker.number is None and self.waiting:
                    worker.give(self.waiting.popleft(), self.videos)
            busy = {worker.connection: worker for worker in self.running if worker.number is not None}
            for connection in wait(list(busy)):
                self._take(busy[connection])
        return self.done.pop(number)

    def _take(self, worker: "_Worker") -> None:
        number, result = worker.number, worker.take(self.videos)
        if isinstance(result, _State):
            if self.progress:
                self.progress(self.videos[number].video, result.seconds, result.length)
            return
        self.done[number] = result
        if isinstance(result, OutputError | RuntimeError):
            self.waiting.clear()  # those before it come first
        if worker.is_dead:
            self.running.remove(worker)
            if self.waiting:
                self.running.append(_Worker(self.arguments))
            if self.output is not None:
                self.output.remove_remains()

    def kill(self) -> None:
        for worker in self.running:
            worker.process.kill()


@dataclass(frozen=True)
class _State:
    """How many seconds of its video a process has done, and the length that the file declares."""

    seconds: float
    length: float | None


class _StateSender:
    """The [`Progress`] of a process: sends its state now and then."""

    def __init__(self, connection: Connection):
        self.connection, self.last = connection, -_STATE_SECONDS

    def __call__(self, video: Any, seconds: float, length: float | None) -> None:
        if monotonic() - self.last >= _STATE_SECONDS:
            self.last = monotonic()
            self.connection.send(_State(seconds, length))


class _Worker:
    """A process that analyses one video at a time.

    Attributes:
        number: of the video that it works on; `None` while it waits.
        is_dead: whether it was found dead.
    """

    def __init__(self, arguments: tuple):
        context = get_context("spawn")  # forked processes would inherit the locks of this process's threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
        self.number: int | None = None
        self.is_dead = False
        with blocked_interrupts():
            self.process.start()
        theirs.close()

    def give(self, number: int, videos: Sequence[Input]) -> None:
        self.number = number
        with suppress(BrokenPipeError):  # it is dead, as `take` will find
            self.connection.send(videos[number])

    def take(self, videos: Sequence[Input]) -> Result | _State | OutputError | RuntimeError:
        """Its state, the result of its video, or what stops the run."""
        video = videos[self.number]
        try:
            result = self.connection.recv()
            if not isinstance(result, _State):
                self.number = None
            return result
        except (EOFError, OSError):  # the latter if it was killed while it sent its answer
            self.is_dead, self.number = True, None
            return ValueError(
                f"{video.name}: the process that analysed it was killed, perhaps for want of memory; try fewer "
                "--workers, or run again."
            )


def _work(connection: Connection, threads: int, model: str, options: dict[str, Any], output: OutputFolder | None):
    """Analyse videos until the connection is closed."""
    import cv2

    follow_parent()
    cv2.setNumThreads(threads)
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    disable_progress_bar()
    try:
        analyzer = VideoAnalyzer(model, **options)
        while True:
            video = connection.recv()
            ((_, result),) = analyzer.analyze_all([video.video], progress=_StateSender(connection))
            result = keep_result(video, result, output)
            if isinstance(result, Timeline):
                result.thumbnails = []
            else:
                result = ValueError(str(result))  # not every error can be sent
            connection.send(result)
    except OutputError as error:
        connection.send(error)
    except EOFError:
        return
    except Exception as error:
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


__all__ = ["analyze_in_processes", "keep_result"]
