"""Cutting the faces out of a whole folder, in several processes. A second run crops only missing clips."""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from ..data.files import OutputError, remove_parts
from ..data.locks import folder_lock
from ..data.processes import blocked_interrupts, follow_parent, usable_cores
from .detection import yunet_weights
from .folders import Clip, CropSettings, Inventory, crop_clip, find_clips
from .interruption import Interruption
from .journal import Journal
from .places import Places, place_clips

_MADE = ".faces.hdf-part"  # folder of new crops, before they move into place
INTERRUPTED = "interrupted"
_MOST_LISTED = 20  # clips of each kind that the summary names; the journal names all


@dataclass
class Summary:
    """The result of a run.

    Attributes:
        inventory: the contents of the input folder.
        already_done: number of clips that an earlier run finished.
        records: journal records of all clips of the input folder that this run or an earlier run tried.
        stopped: why the run ended early; empty if it did not.
        journal_problems: messages about lines of the journal that do not fit, and where those lines are kept.
    """

    inventory: Inventory
    already_done: int = 0
    records: list[dict] = field(default_factory=list)
    stopped: str = ""
    journal_problems: list[str] = field(default_factory=list)

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
        lines += _listing(
            "on their side or head, turned upright",
            [f"{record['clip']} ({90 * record['quarter_turns']} degrees)" for record in cropped if is_turned(record)],
        )
        if self.inventory.other_files:
            lines.append(f"files that are neither video nor image: {self.inventory.other_files}, left alone")
        damaged = [message for record in cropped for message in record["warnings"]]
        lines += _listing("cropped, but damaged", damaged)
        lines += _listing(
            "no face (small faces: raise --max-side)",
            [f"{record['clip']} ({record['frames']} frames)" for record in no_face],
        )
        lines += _listing("folders with other clips, so their pictures are cropped one by one", self.inventory.mixed)
        lines += _listing("lines of the journal that do not fit", self.journal_problems)
        lines += _listing("failed", [record["message"] for record in failed])
        lines += _listing("folders that cannot be read", list(self.inventory.unreadable.values()))
        return "\n".join(lines)


def is_turned(record: dict) -> bool:
    """Whether the journal record says that the clip was filmed sideways."""
    return record.get("quarter_turns") in (1, 2, 3)


def _listing(title: str, messages: list[str]) -> list[str]:
    if not messages:
        return []
    shown = [f"  {message}" for message in messages[:_MOST_LISTED]]
    rest = len(messages) - _MOST_LISTED
    return [f"{title}:", *shown] + ([f"  and {rest} more"] if rest > 0 else [])


def _start_worker() -> None:
    import cv2

    follow_parent()
    cv2.setNumThreads(1)  # one process per core


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run OpenCV in one thread, as the workers do: the number of threads changes the last bits of a result."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@dataclass
class _Run:
    """Crops the waiting clips, each into a folder of its own, and journals each record at once.

    Attributes:
        clips: the waiting clips.
        settings: the settings of the crops.
        journal: the journal that takes the records.
        interruption: delays Ctrl-C while the journal is written.
        advance: called after each clip.
    """

    clips: list[Clip]
    settings: CropSettings
    journal: Journal
    interruption: Interruption
    advance: Callable[[], object]

    def _made(self, number: int) -> Path:
        return self.journal.folder / _MADE / str(number)

    def _job(self, number: int) -> tuple[Clip, Path, CropSettings, Path]:
        return self.clips[number], self.journal.folder, self.settings, self._made(number)

    def _keep(self, record: dict, number: int) -> None:
        self.journal.add(record, self._made(number))
        self.advance()

    def here(self) -> None:
        """Crop in this process."""
        with _one_thread():
            for number in range(len(self.clips)):
                record = crop_clip(*self._job(number))
                with self.interruption.whole_step():
                    self._keep(record, number)

    def in_processes(self, workers: int) -> None:
        """Crop in several processes. If the run is interrupted, they end at once; finished clips are kept."""
        others = set(multiprocessing.active_children())
        # Forked processes would inherit the locks of the parent's threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(self.clips)), mp_context=context, initializer=_start_worker)
        waiting: dict[Future, int] = {}
        try:
            with blocked_interrupts():
                for number in range(len(self.clips)):
                    waiting[pool.submit(crop_clip, *self._job(number))] = number
            for future in as_completed(list(waiting)):
                with self.interruption.whole_step():
                    self._keep(future.result(), waiting.pop(future))
        except BaseException:
            self.interruption.hold()
            finished = [(future, number) for future, number in waiting.items() if _has_result(future)]
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            for future, number in finished:
                self._keep(future.result(), number)
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _has_result(future: Future) -> bool:
    try:
        return future.done() and future.exception() is None
    except CancelledError:
        return False


def crop_folder(
    source: str | os.PathLike,
    target: str | os.PathLike,
    settings: CropSettings | None = None,
    *,
    workers: int | None = None,
    single_images: bool = False,
    only: str = "*",
    overwrite: bool = False,
    progress: bool = True,
) -> Summary:
    """Cut the faces out of all clips under a folder, except clips that an earlier run finished.

    Args:
        source: folder with videos, frame folders and images, at any depth.
        target: output folder with the same layout, and the journal `faces.jsonl`.
        settings: the settings of the crops.
        workers: number of processes; by default one per core.
        single_images: whether images are independent pictures and not the frames of a clip.
        only: pattern, as in a shell, that the name of a clip (a file or a frame folder) must fit to be cropped, such
            as `"*.flv"`; upper and lower case differ. It changes no output's name, and the crops of all other clips
            stay.
        overwrite: whether to crop these clips again.
        progress: whether to show a progress bar on stderr.

    Returns:
        The result of the run. It lists clips that have no face or cannot be read. If the output could not be written,
        the run stopped, and the result gives the reason.

    Raises:
        ImportError: if the extra `face` is not installed.
        NotADirectoryError: if `source` is no folder.
        ValueError: if `source` holds no such clip, `target` is or contains `source`, or an earlier run filled `target`
            with other settings and not all its clips are cropped again.
        FolderInUseError: if another run works in `target`.
    """
    yunet_weights()  # refuses before any file is read
    source, target, settings = Path(source), Path(target), settings or CropSettings()
    if not source.is_dir():
        raise NotADirectoryError(f"{source}: is no folder; pass the folder that holds the videos.")
    if source.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"{target}: the output folder must not be or hold the input folder {source}.")
    inventory = find_clips(source, target, settings.format, single_images)
    if not _chosen(inventory.clips, only) and not inventory.unreadable:
        named = "" if only == "*" else f" whose name fits {only!r}"
        raise ValueError(f"{source}: holds no video and no image{named}.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        chosen = replace(inventory, clips=_chosen(inventory.clips, only))
        return Summary(chosen, stopped=f"{target}: cannot be written ({error.strerror})")
    with folder_lock(target, "hdf data faces"):
        return _crop_locked(inventory, source, target, settings, workers or usable_cores(), only, overwrite, progress)


def _chosen(clips: list[Clip], only: str) -> list[Clip]:
    """The clips whose name fits the pattern."""
    return [clip for clip in clips if fnmatchcase(clip.path.name, only)]


def _crop_locked(
    inventory: Inventory,
    source: Path,
    target: Path,
    settings: CropSettings,
    workers: int,
    only: str,
    overwrite: bool,
    progress: bool,
) -> Summary:
    journal = Journal(target)
    other = journal.other_settings(settings)
    if other is not None and (not overwrite or only != "*"):
        changed = [f"{key}={value}" for key, value in other.items() if getattr(settings, key) != value]
        whole = "--overwrite" if only == "*" else "--overwrite without --only"
        raise ValueError(
            f"{target}: holds crops made with {', '.join(changed)}; give the same, another folder, or {whole}."
        )

    found = [(clip.path, clip.kind) for clip in inventory.clips]
    names = {clip.name for clip in inventory.clips}
    # With `overwrite`, crops of clips that no longer exist do not block a place.
    taken = {name: outputs for name, outputs in journal.outputs().items() if name in names or not overwrite}
    placed = place_clips(found, source, target, settings.format, settings.all_faces, taken)
    clips = _chosen(placed, only)
    summary = Summary(replace(inventory, clips=clips))
    waiting = [clip for clip in clips if overwrite or not journal.is_done(clip)]
    summary.already_done = len(clips) - len(waiting)
    try:
        if overwrite:
            _drop_in_the_way(journal, clips, names, settings.all_faces)
        _run(waiting, journal, settings, workers, progress, len(clips))
    except OutputError as error:
        summary.stopped = str(error)
    except KeyboardInterrupt:
        summary.stopped = INTERRUPTED
    except BrokenProcessPool:
        summary.stopped = "a worker process was killed, perhaps for want of memory; try fewer --workers"
    summary.records = [journal.records[clip.name] for clip in clips if clip.name in journal.records]
    summary.journal_problems = journal.problems
    return summary


def _drop_in_the_way(journal: Journal, clips: list[Clip], present: set[str], all_faces: bool) -> None:
    """Remove crops of clips that are not `present` if they block the place of a clip. Raises `OutputError`."""
    places = Places(all_faces)
    for clip in clips:
        places.add(clip.name, clip.output(0 if all_faces else None))
    for name, outputs in journal.outputs().items():
        if name not in present and any(places.in_the_way(name, journal.folder / output) for output in outputs):
            journal.drop(name)


def _run(
    waiting: list[Clip], journal: Journal, settings: CropSettings, workers: int, progress: bool, total: int
) -> None:
    """Crop the waiting clips and write the journal. Raises `OutputError`."""
    remove_parts(journal.folder)
    journal.rewrite()
    bar = tqdm(total=total, initial=total - len(waiting), unit="clip", desc="faces", disable=not progress)
    with bar, Interruption() as interruption:
        run = _Run(waiting, settings, journal, interruption, bar.update)
        try:
            if workers == 1 or len(waiting) <= 2:  # two clips take less time than the start of processes
                run.here()
            else:
                run.in_processes(workers)
        except KeyboardInterrupt:
            interruption.hold()
            journal.rewrite()
            raise
        finally:
            interruption.hold()
            shutil.rmtree(journal.folder / _MADE, ignore_errors=True)
        journal.rewrite()


__all__ = ["INTERRUPTED", "Summary", "crop_folder", "is_turned"]
