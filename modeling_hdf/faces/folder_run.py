"""Cutting the faces out of a whole folder, in several processes, so that a second run does what is missing."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..data.files import OutputError, remove_parts
from .folders import Clip, CropSettings, Inventory, Journal, crop_clip, find_clips

_MOST_LISTED = 20  # clips of each kind that the summary names; the journal names all


@dataclass
class Summary:
    """What a run did.

    Attributes:
        inventory: what the input folder holds.
        already_done: number of clips that an earlier run had done.
        records: lines of the journal, of all clips of the input folder that were tried, now or earlier.
        stopped: why the run ended early; empty if it did not.
    """

    inventory: Inventory
    already_done: int = 0
    records: list[dict] = field(default_factory=list)
    stopped: str = ""

    def of(self, status: str) -> list[dict]:
        return [record for record in self.records if record["status"] == status]

    @property
    def is_complete(self) -> bool:
        """Whether every clip was cropped."""
        return not self.stopped and not self.inventory.unreadable and len(self.of("ok")) == len(self.inventory.clips)

    def __str__(self) -> str:
        cropped, no_face, failed = self.of("ok"), self.of("no_face"), self.of("failed")
        lines = [
            f"{len(self.inventory.clips)} clips: {len(cropped)} cropped, {len(no_face)} without a face, "
            f"{len(failed)} failed ({self.already_done} were done before)"
        ]
        frames = sum(record["frames"] for record in cropped)
        lost = [
            sum(last - first + 1 for first, last in record["frames_without_face"]) for record in cropped
        ]  # frames of each clip
        lines.append(
            f"frames without the face: {sum(lost)} of {frames}, in {sum(map(bool, lost))} of the cropped clips"
        )
        several = sum(record["faces"] > 1 for record in cropped)
        if several:
            lines.append(f"clips that show several faces: {several}")
        if self.inventory.other_files:
            lines.append(f"files that are neither video nor image: {self.inventory.other_files}, left alone")
        damaged = [message for record in cropped for message in record["warnings"]]
        lines += _listing("cropped, but damaged", damaged)
        lines += _listing(
            "no face (small faces: raise --max-side)",
            [f"{record['clip']} ({record['frames']} frames)" for record in no_face],
        )
        lines += _listing("failed", [record["message"] for record in failed])
        lines += _listing("folders that cannot be read", list(self.inventory.unreadable.values()))
        return "\n".join(lines)


def _listing(title: str, messages: list[str]) -> list[str]:
    if not messages:
        return []
    shown = [f"  {message}" for message in messages[:_MOST_LISTED]]
    rest = len(messages) - _MOST_LISTED
    return [f"{title}:", *shown] + ([f"  and {rest} more"] if rest > 0 else [])


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_with_parent() -> None:
    """End this worker when the parent is killed; it would wait for work forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # one process per core


def _records(clips: list[Clip], target: Path, settings: CropSettings, workers: int) -> Iterator[dict]:
    """The record of each clip, as soon as it is done."""
    if workers == 1 or len(clips) <= 2:  # starting processes takes longer than two clips
        import cv2

        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # as in the workers: the last bits of a result depend on it
        try:
            yield from (crop_clip(clip, target, settings) for clip in clips)
        finally:
            cv2.setNumThreads(threads)
        return
    # Forked processes would inherit the locks of the parent's threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(clips)), mp_context=context, initializer=_start_worker)
    try:
        futures = [pool.submit(crop_clip, clip, target, settings) for clip in clips]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def crop_folder(
    source: str | os.PathLike,
    target: str | os.PathLike,
    settings: CropSettings | None = None,
    *,
    workers: int | None = None,
    single_images: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Summary:
    """Cut the faces out of all clips under a folder; what an earlier run did is not done again.

    Args:
        source: folder with videos, frame folders and images, at any depth.
        target: folder that mirrors it, with the journal `faces.jsonl`.
        settings: what to write.
        workers: number of processes; by default one per core.
        single_images: whether images are independent pictures and not the frames of a clip.
        overwrite: whether to do all clips again.
        progress: whether to show a progress bar on stderr.

    Returns:
        What was done. Clips that have no face or cannot be read are listed in it; so is the reason if the output could
        not be written and the run stopped.

    Raises:
        NotADirectoryError: if `source` is no folder.
        ValueError: if `target` is or holds `source`, or was filled with other settings.
    """
    source, target, settings = Path(source), Path(target), settings or CropSettings()
    if not source.is_dir():
        raise NotADirectoryError(f"{source}: is no folder; pass the folder that holds the videos.")
    if source.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"{target}: the output folder must not be or hold the input folder {source}.")
    summary = Summary(find_clips(source, target, settings.format, single_images))
    journal = Journal(target)
    other = journal.other_settings(settings)
    if other is not None and not overwrite:
        changed = [f"{key}={value}" for key, value in other.items() if getattr(settings, key) != value]
        raise ValueError(
            f"{target}: holds crops made with {', '.join(changed)}; give the same, another folder, or --overwrite."
        )
    clips = summary.inventory.clips
    waiting = [clip for clip in clips if overwrite or not journal.is_done(clip)]
    summary.already_done = len(clips) - len(waiting)
    try:
        _run(waiting, journal, settings, workers or usable_cores(), progress, len(clips))
    except OutputError as error:
        summary.stopped = f"{error.filename}: cannot be written ({error.strerror})"
    except KeyboardInterrupt:
        summary.stopped = "interrupted"
    except BrokenProcessPool:
        summary.stopped = "a worker process was killed, perhaps for want of memory; try fewer --workers"
    summary.records = [journal.records[clip.name] for clip in clips if clip.name in journal.records]
    return summary


def _run(
    waiting: list[Clip], journal: Journal, settings: CropSettings, workers: int, progress: bool, total: int
) -> None:
    """Crop the clips that are waiting and keep the journal. Raises `OutputError`."""
    try:
        journal.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(journal.folder)) from error
    remove_parts(journal.folder)
    journal.rewrite()
    bar = tqdm(total=total, initial=total - len(waiting), unit="clip", desc="faces", disable=not progress)
    with bar, closing(_records(waiting, journal.folder, settings, workers)) as records:
        for record in records:
            journal.add(record)
            bar.update()
    journal.rewrite()


__all__ = ["Summary", "crop_folder", "usable_cores"]
