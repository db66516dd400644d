"""Limits on what a visitor may send, and the check of a file before any work."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..clip_reading_hdf import open_clip
from ..limits_hdf import LIMITS, LimitError


@dataclass(frozen=True)
class DemoLimits:
    """
    Attributes:
        megabytes: size of an upload.
        seconds: length of a video.
        pixels: pixels of a frame.
        work_seconds: seconds that one pass over a video may take.
        waiting: visitors that may wait for their turn; a further one is asked to come back.
    """

    megabytes: int = 50
    seconds: float = 60.0
    pixels: int = 3840 * 2160
    work_seconds: float = 120.0
    waiting: int = 8

    def __str__(self) -> str:
        return f"{self.megabytes} MB, {self.seconds:.0f} seconds and {self.pixels / 1e6:.0f} million pixels per frame"


DEMO_LIMITS = DemoLimits()


@contextmanager
def applied(limits: DemoLimits) -> Iterator[None]:
    """Sets the limits of this process on clips while the block runs, since the header of a file may lie."""
    ours = {"frame_pixels": limits.pixels, "duration": limits.seconds, "decoding_seconds": limits.work_seconds}
    before = {name: getattr(LIMITS, name) for name in ours}
    for name, value in ours.items():
        setattr(LIMITS, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(LIMITS, name, value)


def read_upload(path: str, limits: DemoLimits) -> bytes:
    """
    The content of a file; refuses it by its size, its kind, its header and its first frame.

    Raises:
        ValueError: with a message for the visitor, which does not name the path.
    """
    try:
        megabytes = os.path.getsize(path) / 1e6
        if megabytes > limits.megabytes:
            raise ValueError(f"The file has {megabytes:.0f} MB; this page takes up to {limits}.")
        content = Path(path).read_bytes()
    except OSError as error:  # it has its answer, or waited for too long
        raise ValueError("The file is no longer here: upload it again.") from error
    source = open_clip(content, "The file")
    try:
        with closing(source.stream()) as frames:
            next(frames)
    except LimitError as error:
        raise ValueError(f"The video is too large; this page takes up to {limits}.") from error
    seconds = getattr(source, "declared_duration", 0.0)
    if seconds > limits.seconds:
        raise ValueError(f"The video lasts {seconds:.0f} seconds; this page takes up to {limits}.")
    return content


__all__ = ["DEMO_LIMITS", "DemoLimits", "applied", "read_upload"]
