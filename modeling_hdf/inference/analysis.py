"""From raw videos to the expressions of each person over time, in one pass over each video."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..clip_reading_hdf import ClipSource, Frame, open_clip
from ..data.extras import needs_module
from ..downloading_hdf import Download
from ..faces.cuts import CutDetector
from ..faces.detection import FaceDetector, cut_square
from ..faces.following import FollowedFace, Moment, follow_faces
from ..faces.turning import CLOSE_MARGIN, clear_turn, find_quarter_turns, turn_scores, turned
from ..limits_hdf import LIMITS
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import RAW_VIDEO_MODEL
from ..video_processing_hdf import HDFVideoProcessor
from .classifier import class_names, load_classifier, move
from .progress import Progress, ProgressBar
from .rows import TrackRows
from .timeline import Person, Timeline, rename
from .windows import SlidingWindows, Window, exact_seconds

_COMPARED = (0, 8, 16, 24)  # frames of a track in which its face is compared with itself after quarter turns
_MOST_THUMBNAILS, _THUMBNAIL_SIDE = 24, 160  # pixels of the longer side


def _frames(source: ClipSource) -> Iterator[Frame]:
    """All frames of a clip. Raises a `ValueError` for floats."""
    try:
        yield from source.stream()
    except TypeError as error:
        raise ValueError(str(error)) from error


@dataclass(eq=False)
class _Job:
    """A window that waits for the model; without a window, the end of a track, which waits for those before it."""

    timeline: Timeline
    rows: TrackRows
    window: Window | None = None
    end: Fraction | None = None


class _Queue:
    """Classifies windows of all tracks and videos in batches, and gives the results in order."""

    def __init__(self, model: HDFForVideoClassification, processor: HDFVideoProcessor, batch_size: int):
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self._jobs: deque[_Job] = deque()

    def add(self, job: _Job) -> None:
        self._jobs.append(job)
        if sum(job.window is not None for job in self._jobs) >= self.batch_size:
            self.flush()

    def flush(self) -> None:
        """Classify all windows that wait."""
        windows = [job.window.crops for job in self._jobs if job.window is not None]
        results = iter(self._classify(windows) if windows else ())
        while self._jobs:
            job = self._jobs.popleft()
            if job.window is not None:
                made = job.rows.add_result(job.window, next(results))
            else:
                made = job.rows.finish(job.end)
            job.timeline.rows.extend(made)

    def holds(self, result: Timeline | Exception) -> bool:
        """Whether windows of this timeline wait."""
        return any(job.timeline is result for job in self._jobs)

    def drop(self, result: Timeline | Exception) -> None:
        """Forget the windows of a timeline that nobody needs any more."""
        self._jobs = deque(job for job in self._jobs if job.timeline is not result)

    @torch.inference_mode()
    def _classify(self, windows: list[np.ndarray]) -> np.ndarray:
        """Probabilities `(B, num_classes)` of windows `(num_frames, size, size, 3)`."""
        inputs = self.processor(windows, do_sample_frames=False, return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        return self.model(**inputs).logits.float().softmax(-1).double().cpu().numpy()


@dataclass(eq=False)
class _Track:
    person: Person
    windows: SlidingWindows
    rows: TrackRows
    end: Fraction
    num_frames: int = 0


@dataclass(eq=False)
class _Pass:
    """One pass over the frames of a video: cuts the windows of all tracks and collects their rows."""

    timeline: Timeline
    queue: _Queue
    size: int
    length: Fraction
    hop: Fraction
    tracks: dict[int, _Track] = field(default_factory=dict)
    apart: float = 0.5  # seconds between thumbnails, at least
    keeps_places: bool = True  # whether the timeline holds the place of each face in each frame, and all rows
    compares: FaceDetector | None = None  # looks whether faces lie on their side or upside down
    scores: dict[int, list[np.ndarray]] = field(default_factory=dict)  # by person: see `turn_scores`

    def add(self, moment: Moment) -> None:
        for number in moment.ended:
            self._finish(self.tracks.pop(number))
        timeline = self.timeline
        if not timeline.size[0]:
            timeline.size, timeline.start = moment.frame.size, float(moment.start)
        timeline.end = float(moment.end)
        # Where nothing is kept the video may go on for ever, but no frame: a row comes every `hop` seconds of it.
        since = timeline.start if self.keeps_places else float(moment.start)
        LIMITS.check_duration(timeline.video, timeline.end - since)
        self._keep_thumbnail(moment)
        if moment.starts_shot:
            timeline.cuts.append(float(moment.start))
        picture = None
        for face in moment.faces:
            track = self.tracks.get(face.track) or self._begin(face.track, moment.start)
            track.end = moment.end
            if self.keeps_places:
                self._note(track.person, moment, face.box)
            track.rows.add_frame(moment.start, moment.end, face.box, face.seen)
            crop = None
            if track.windows.wants(moment.start, moment.end):
                picture = moment.frame.rgb() if picture is None else picture
                crop = cut_square(picture, face.square, self.size)
            if self.compares and track.num_frames in _COMPARED:
                picture = moment.frame.rgb() if picture is None else picture
                self._compare(track.person.number, picture, face)
            track.num_frames += 1
            for window in track.windows.add(moment.start, moment.end, crop):
                self.queue.add(_Job(self.timeline, track.rows, window))

    def _compare(self, person: int, picture: np.ndarray, face: FollowedFace) -> None:
        x, y, _, angle = face.square
        side = max(face.box[2:]) * (1.0 + 2.0 * CLOSE_MARGIN)
        scores = turn_scores(picture, np.array([x, y, side, angle]), self.compares)
        self.scores.setdefault(person, []).append(scores)

    def quarter_turns(self) -> int:
        """The quarter turns that make the main person upright although the detector takes the face for upright."""
        people = self.timeline.people
        main = max(people, key=lambda person: person.prominence).number if people else None
        return clear_turn(self.scores[main]) if main in self.scores else 0

    def _keep_thumbnail(self, moment: Moment) -> None:
        """Keep a small picture now and then; when they are too many, every other is dropped."""
        kept = self.timeline.thumbnails
        if not kept or moment.start - kept[-1][0] >= self.apart - 1e-6:
            kept.append((float(moment.start), moment.frame.rgb(_THUMBNAIL_SIDE)))
        if len(kept) > _MOST_THUMBNAILS:
            del kept[1::2]
            self.apart = min(later - earlier for (earlier, _), (later, _) in pairwise(kept))

    def finish(self) -> None:
        """End the tracks that last until the end of the video."""
        for track in self.tracks.values():
            self._finish(track)
        self.tracks.clear()

    def _begin(self, number: int, start: Fraction) -> _Track:
        person = Person(number + 1)
        windows = SlidingWindows(start, self.length, self.hop, self.queue.processor.num_frames)
        rows = TrackRows(number + 1, start, self.length, self.hop, self.timeline.labels)
        track = self.tracks[number] = _Track(person, windows, rows, start)
        if self.keeps_places:
            self.timeline.people.append(person)
        return track

    def _note(self, person: Person, moment: Moment, box: np.ndarray) -> None:
        person.starts.append(float(moment.start))
        person.boxes.extend(box.tolist())
        person.prominence += float(box[2] * box[3] * (moment.end - moment.start))

    def _finish(self, track: _Track) -> None:
        track.person.spans.append((float(track.windows.start), float(track.end)))
        window = track.windows.finish(track.end)
        if window is not None:
            self.queue.add(_Job(self.timeline, track.rows, window))
        self.queue.add(_Job(self.timeline, track.rows, end=track.end))


class VideoAnalyzer:
    """
    Finds the expressions of all people in raw videos over time.

    Every face is found, followed and cropped upright, never across a cut. Windows of each track are classified, and
    overlapping windows averaged: see [`Timeline`] for the result. A video is decoded once, and of its frames about a
    second is kept, whatever its length. Labels are expressions as others perceive them, not what a person feels.

    Args:
        model (`str` or pair, *optional*): a folder, a Hub repository or the name of a checkpoint that ships, or a
            model with its video processor; by default the shipped one.
        window (`float`, *optional*, defaults to 2.0): seconds that the model sees at once.
        hop (`float`, *optional*, defaults to 0.5): seconds from one window to the next, and length of a row.
        same_person (`bool`, *optional*, defaults to `False`): join tracks that do not overlap in time, for one person
            on camera who is lost and found again.
        labels (`Mapping[str, str]`, *optional*): new names of classes, such as translations.
        batch_size (`int`, *optional*, defaults to 8): windows that are classified together.
        device (`str`, *optional*): such as `"cpu"` or `"cuda:1"`; by default a GPU if there is one.
        dtype (`str`, *optional*): of the model's numbers: `"float32"`, `"bfloat16"` or `"float16"`; by default as
            loaded.
        detector ([`FaceDetector`], *optional*): the face detector.

    Raises:
        ValueError: for a setting out of its range, or a model that cannot be loaded.
        ImportError: without the extra `face`.
    """

    def __init__(
        self,
        model: str | tuple[HDFForVideoClassification, HDFVideoProcessor] = RAW_VIDEO_MODEL,
        *,
        window: float = 2.0,
        hop: float = 0.5,
        same_person: bool = False,
        labels: Mapping[str, str] | None = None,
        batch_size: int = 8,
        device: str | None = None,
        dtype: str | None = None,
        detector: FaceDetector | None = None,
    ):
        self.window, self.hop = exact_seconds(window, hop)
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.same_person = same_person
        needs_module("scenedetect", "face", "Finding cuts")  # before the model is loaded
        self.detector = detector or FaceDetector()
        model, processor = load_classifier(model) if isinstance(model, str) else model
        self.labels = rename(class_names(model), labels or {})
        self.queue = _Queue(move(model, device, dtype), processor, batch_size)

    def analyze(self, video: Any, name: str = "video", progress: Progress | None = None) -> Timeline:
        """
        Analyses one video; see [`analyze`].

        Args:
            video: see [`analyze`].
            name: name of a video without a path.
            progress: called with the video, the seconds that are done, and its length if the file declares it.
        """
        ((_, result),) = self.analyze_all([video], name, progress)
        if isinstance(result, Exception):
            raise result
        return result

    def analyze_all(
        self, videos: Iterable[Any], name: str = "video", progress: Progress | None = None
    ) -> Iterator[tuple[Any, Timeline | OSError | ValueError]]:
        """
        Analyses videos, with batches over windows, people and videos.

        Args:
            videos: see [`analyze`].
            name: name of a video without a path.
            progress: as in [`analyze`].

        Yields:
            Each video, in order, with its [`Timeline`], or with the error if it cannot be read.
        """
        waiting: deque[tuple[Any, Timeline | OSError | ValueError]] = deque()
        try:
            for video in videos:
                try:
                    result = self._analyze(video, name, progress)
                except (OSError, ValueError) as error:
                    result = error
                waiting.append((video, result))
                # Videos without a face fill no batch, and the file of a download stays until its result is there.
                if len(waiting) > self.queue.batch_size or isinstance(video, Download):
                    self.queue.flush()
                while waiting and not self.queue.holds(waiting[0][1]):
                    yield self._finished(*waiting.popleft())
            self.queue.flush()
            while waiting:
                yield self._finished(*waiting.popleft())
        finally:  # the analyzer may be used again, also after Ctrl-C or if the caller takes no more results
            for _, result in waiting:
                self.queue.drop(result)

    def _finished(self, video: Any, result: Timeline | Exception) -> tuple[Any, Timeline | Exception]:
        return video, result.finished(self.same_person) if isinstance(result, Timeline) else result

    def _analyze(self, video: Any, name: str, progress: Progress | None) -> Timeline:
        """The timeline of one video, whose last windows may still wait in the queue."""
        try:
            source = open_clip(video, name)
        except TypeError as error:
            raise ValueError(str(error)) from error
        num_frames, first = self._follow(source, 0, video, progress)
        timeline = first.timeline
        if timeline.people:
            quarter_turns = first.quarter_turns()
        else:
            quarter_turns = find_quarter_turns(source, num_frames, self.detector)
        if quarter_turns:
            _, again = self._follow(source, quarter_turns, video, progress)
            if again.timeline.people:
                self.queue.drop(timeline)
                timeline = again.timeline
        timeline.clock_start = float(getattr(source, "clock_start", 0.0))
        return timeline

    def _follow(
        self, source: ClipSource, quarter_turns: int, video: Any, progress: Progress | None
    ) -> tuple[int, _Pass]:
        """Number of frames, and the pass over the video after quarter turns."""
        each_pass = self.start_pass(source.name, quarter_turns)
        each_pass.compares = None if quarter_turns else self.detector
        timeline, num_frames = each_pass.timeline, 0
        try:
            for moment in self.moments(_frames(turned(source, quarter_turns))):
                each_pass.add(moment)
                num_frames += 1
                if progress:
                    progress(video, timeline.end - timeline.start, getattr(source, "declared_duration", None) or None)
            each_pass.finish()
            # Now, since the passes that look for turns end early.
            timeline.problems = source.problems(timeline.end - timeline.start)
        except BaseException:  # also Ctrl-C
            self.queue.drop(timeline)
            raise
        return num_frames, each_pass

    def moments(self, frames: Iterable[Frame]) -> Iterator[Moment]:
        """The frames with their faces."""
        return follow_faces(frames, self.detector, cuts=CutDetector())

    def start_pass(self, name: str, quarter_turns: int = 0) -> _Pass:
        """A pass over a video of this name."""
        timeline = Timeline(name, self.labels, quarter_turns=quarter_turns)
        size = self.queue.processor.crop_size["height"]
        return _Pass(timeline, self.queue, size, self.window, self.hop)


def analyze(
    video: Any,
    model: str | tuple[HDFForVideoClassification, HDFVideoProcessor] = RAW_VIDEO_MODEL,
    *,
    window: float = 2.0,
    hop: float = 0.5,
    progress: bool = False,
    **options: Any,
) -> Timeline:
    """
    Finds the expressions of all people in a raw video over time.

    Args:
        video: the path, http(s) URL, content or file object of a video or a picture, the path of a folder of frames,
            a dataset's row `{"bytes", "path"}`, or an array of frames: see [`open_clip`]. Frames without times count
            as 25 per second.
        model, window, hop: see [`VideoAnalyzer`].
        progress: show a progress bar in seconds of the video, also in a notebook.
        options: the other options of [`VideoAnalyzer`]: `same_person`, `labels`, `batch_size`, `device`, `dtype`,
            `detector`.

    Returns:
        The timeline; empty, without rows and people, if the video shows no face.

    Raises:
        OSError, ValueError: if the video cannot be read, if its time stamps span more than [`LIMITS`] allow, 7 days,
            or for a wrong setting; see [`VideoAnalyzer`].

    Example:

    ```python
    >>> from modeling_hdf.inference import analyze
    >>> timeline = analyze("party.mp4")
    >>> timeline.to_pandas()[["person", "start", "end", "label", "confidence"]]
    >>> timeline.summary
    ```
    """
    analyzer = VideoAnalyzer(model, window=window, hop=hop, **options)
    if not progress:
        return analyzer.analyze(video)
    with ProgressBar() as bar:
        return analyzer.analyze(video, progress=bar)


__all__ = ["VideoAnalyzer", "analyze"]
