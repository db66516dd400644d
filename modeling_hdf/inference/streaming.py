"""Each person's expressions as a video goes on: files, cameras and network streams."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from transformers.utils import logging

from ..clip_reading_hdf import ClipSource, open_clip
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import RAW_VIDEO_MODEL
from ..video_processing_hdf import HDFVideoProcessor
from ..video_reading_hdf import VideoFile
from .analysis import VideoAnalyzer
from .rows import Row

logger = logging.get_logger(__name__)

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}
_NETWORK = ("rtsp://", "rtsps://", "rtmp://", "udp://", "http://", "https://")
# A stream may name further addresses, but no local file.
_PROTOCOLS = "rtsp,rtp,rtmp,udp,tcp,tls,http,https,crypto"
_MOST_SILENT_SECONDS = 30.0


class LiveVideo(VideoFile):
    """
    A camera or a network stream, which can be read once.

    Args:
        source: number of a camera from 0, or the address of a stream (RTSP, RTMP, UDP, HTTP).

    Raises:
        ValueError: for another source; while reading, if it cannot be opened.
    """

    ends = False

    def __init__(self, source: int | str):
        self.damage: list[str] = []
        self.declared_duration = 0.0
        if isinstance(source, str):
            self.name, self._place = source, source
            self._options: dict[str, Any] = {"options": {"protocol_whitelist": _PROTOCOLS}}
            return
        if sys.platform not in _CAMERAS:
            raise ValueError(f"camera {source}: cameras are read on Linux and macOS only; give a stream's address.")
        kind, place = _CAMERAS[sys.platform]
        self.name, self._place, self._options = f"camera {source}", place.format(source), {"format": kind}

    @contextmanager
    def open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the stream; silence ends it."""
        try:
            container = av.open(self._place, timeout=_MOST_SILENT_SECONDS, **self._options)
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{self.name}: cannot be opened ({error.strerror}).") from error
        with container:
            yield container, self._best_stream(container)

    def _track_matrix(self, stream: av.VideoStream) -> None:
        return None  # it stands in the index of a file


def open_stream(source: Any) -> ClipSource:
    """A camera for a number, a network stream for an address, else a clip, see [`open_clip`]."""
    is_live = isinstance(source, int) or (isinstance(source, str) and source.lower().startswith(_NETWORK))
    return LiveVideo(source) if is_live else open_clip(source)


def analyze_stream(
    source: Any,
    model: str | tuple[HDFForVideoClassification, HDFVideoProcessor] = RAW_VIDEO_MODEL,
    *,
    window: float = 2.0,
    hop: float = 0.5,
    **options: Any,
) -> Iterator[Row]:
    """
    Gives the rows of [`analyze`] while the video goes on. A video that was filmed sideways or upside down is not
    turned, since that takes the whole video. A warning tells if a live video broke off.

    A row comes about half a second after the window that starts with it is over: with the default settings 2.5 seconds
    after its start, and at most a second later while a face is missing; plus the time that the model takes. The last
    rows of a person come when the person is gone.

    Args:
        source: the number of a camera from 0, the address of a network stream (RTSP, RTMP, UDP, HTTP), or any video
            that [`analyze`] takes. An HTTP address is read as it arrives, and not downloaded first.
        model, window, hop: see [`VideoAnalyzer`].
        options: the other options of [`VideoAnalyzer`] but `same_person`, which needs the whole video.

    Yields:
        [`Row`]: the rows; people are numbered by first appearance.

    Raises:
        OSError, ValueError: if the source cannot be read, if its time stamps jump by more than `LIMITS.duration`, or
            for a wrong setting.

    Example:

    ```python
    >>> from modeling_hdf.inference import analyze_stream
    >>> for row in analyze_stream(0):  # a webcam
    ...     print(f"{row.start:.1f} s, person {row.person}: {row.label}")
    ```
    """
    if options.get("same_person"):
        raise ValueError("`same_person` needs the whole video; use `analyze`.")
    analyzer = VideoAnalyzer(model, window=window, hop=hop, **options)
    video = open_stream(source)
    each_pass = analyzer.start_pass(video.name)
    each_pass.keeps_places = False
    for moment in analyzer.moments(video.stream()):
        each_pass.add(moment)
        yield from _take(analyzer, each_pass.timeline.rows)
    if isinstance(video, LiveVideo) and video.damage:
        logger.warning(f"{video.name}: {len(video.damage)} errors while it was read, the last: {video.damage[-1]}.")
    each_pass.finish()
    yield from _take(analyzer, each_pass.timeline.rows)


def _take(analyzer: VideoAnalyzer, rows: list[Row]) -> Iterator[Row]:
    analyzer.queue.flush()
    taken = rows[:]
    rows.clear()
    yield from taken


__all__ = ["LiveVideo", "analyze_stream", "open_stream"]
