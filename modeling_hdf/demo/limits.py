"""Limits on what a visitor may send, and on the work of one answer."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic

from ..faces.cropping import NOMINAL_FPS
from ..file_kinds_hdf import is_picture
from ..limits_hdf import LIMITS
from ..video_reading_hdf import StreamedFrame, VideoFile


@dataclass(frozen=True)
class DemoLimits:
    """
    Attributes:
        megabytes: size of an upload.
        seconds: length of a video.
        fps: frames per second, in the mean from the start of the video to each frame, plus those of one second.
        pixels: pixels of a frame.
        work_seconds: seconds that one answer may take.
        waiting: visitors that may wait for their turn; a further one is asked to come back.
        uploads: videos that may lie on the disk, or arrive, at once; a further one is refused.
        upload_seconds: seconds after which an upload without an answer is deleted, or given up if it still arrives;
            more than the wait for all answers before it.
    """

    megabytes: int = 50
    seconds: float = 60.0
    fps: int = 120
    pixels: int = 3840 * 2160
    work_seconds: float = 120.0
    waiting: int = 8
    uploads: int = 40
    upload_seconds: float = 1800.0

    def __str__(self) -> str:
        return f"{self.megabytes} MB, {self.seconds:.0f} seconds and {self.pixels / 1e6:.1f} million pixels per frame"


DEMO_LIMITS = DemoLimits()


@contextmanager
def applied(limits: DemoLimits) -> Iterator[None]:
    """Sets the limits of this process on frames and decoding while the block runs."""
    ours = {"frame_pixels": limits.pixels, "decoding_seconds": limits.work_seconds}
    before = {name: getattr(LIMITS, name) for name in ours}
    for name, value in ours.items():
        setattr(LIMITS, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(LIMITS, name, value)


class Upload(VideoFile):
    """
    A visitor's video. Each pass over it ends with an error where the video exceeds the limits, whatever its header
    says, or where the time for the answer is over.

    Args:
        content: the file.
        limits: of the page.
    """

    def __init__(self, content: bytes, limits: DemoLimits):
        super().__init__(content, f"The file ({len(content)} bytes)")
        self._limits, self._end = limits, monotonic() + limits.work_seconds

    def stream(self) -> Iterator[StreamedFrame]:
        first, seconds = None, 0.0
        for count, frame in enumerate(super().stream()):
            start = Fraction(count, NOMINAL_FPS) if frame.start is None else frame.start
            first = start if first is None else first
            seconds = max(seconds, float(start - first))
            self._check(count, seconds)
            yield frame

    def _check(self, count: int, seconds: float) -> None:
        """Refuses what is too much at a frame that follows `count` others and starts after so many seconds."""
        limits = self._limits
        if seconds > limits.seconds:
            raise ValueError(f"The video is longer than {limits.seconds:.0f} seconds; this page takes up to {limits}.")
        if count > limits.fps * (seconds + 1.0):
            raise ValueError(f"The video has more than {limits.fps} frames per second; this page takes up to that.")
        if monotonic() > self._end:
            raise ValueError(
                f"The answer would take longer than {limits.work_seconds:.0f} seconds. Send a shorter video, or one "
                "with smaller or fewer frames."
            )


def read_upload(path: str, limits: DemoLimits) -> Upload:
    """
    Reads a file; refuses it by its size, its kind, its header and its first frame.

    Raises:
        ValueError: with a message for the visitor, which does not name the path.
        LimitError: for too large a frame.
    """
    try:
        megabytes = os.path.getsize(path) / 1e6
        if megabytes > limits.megabytes:
            raise ValueError(f"The file has {megabytes:.0f} MB; this page takes up to {limits}.")
        content = Path(path).read_bytes()
    except OSError as error:  # it has its answer, or waited for too long
        raise ValueError("The file is no longer here: upload it again.") from error
    if is_picture(content):
        raise ValueError("The file is a picture; this page takes videos.")
    upload = Upload(content, limits)
    with closing(upload.stream()) as frames:
        next(frames)
    if upload.declared_duration > limits.seconds:
        raise ValueError(f"The video lasts {upload.declared_duration:.0f} seconds; this page takes up to {limits}.")
    return upload


__all__ = ["DEMO_LIMITS", "DemoLimits", "Upload", "applied", "read_upload"]
