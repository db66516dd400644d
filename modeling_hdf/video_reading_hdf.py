"""Reading video files with PyAV.

A file is read in two passes. The first reads the presentation times from the packet headers. The second decodes,
converts only the sampled frames to RGB and stops after the last sampled frame. Memory grows with the number of sampled
frames, not with the length of the video.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import SEEK_END, SEEK_SET, BytesIO
from time import monotonic
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from transformers.utils import logging
from transformers.video_utils import VideoMetadata

from .decoding_times_hdf import DecodingTimes
from .display_hdf import Display, is_sound
from .file_kinds_hdf import HEAD, read_head, what_it_is
from .joined_clock_hdf import JoinedClock
from .limits_hdf import LIMITS, LimitError, empty_clip
from .mp4_index_hdf import count_index_entries, track_matrix

logger = logging.get_logger(__name__)

# The formats and protocols that FFmpeg may use. Playlists and stream descriptions are left out because they read other
# files and addresses; so are demuxers that draw any text as pictures.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h263,h264,hevc,m4v,mjpeg,nut,mxf,gxf,"
    "rm,dv,ivf,obu,av1,vc1,dirac,yuv4mpegpipe,wtv,nsv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
# The pictures may end earlier than the declared duration, which also counts the audio track: by this share, or by
# these seconds.
_MISSING_SHARE, _MISSING_SECONDS = 0.1, 0.5
_MOST_STREAMS = 64  # streams of a file; the limit on the frame size is set only for these


def presentation_times(
    starts: Sequence[int | Fraction | None], last_duration: int | Fraction | None
) -> list[int | Fraction] | None:
    """The start of each frame and the end of the last frame, in the unit of `starts`, which are in presentation order.

    `None` if times are missing, run backwards or are all equal. Only the order of the frames is then known.
    """
    if not starts or None in starts or list(starts) != sorted(starts) or (len(starts) > 1 and starts[0] == starts[-1]):
        return None
    mean_interval = Fraction(starts[-1] - starts[0]) / max(len(starts) - 1, 1)
    last_duration = last_duration if last_duration and last_duration > 0 else mean_interval
    return [*starts, starts[-1] + last_duration] if last_duration else None


def timeline(
    name: str, shown: Sequence[tuple[int | None, int | None]], time_base: Fraction, rate: Fraction | None, backend: str
) -> tuple[VideoMetadata, np.ndarray | None]:
    """Metadata and timestamps from the `(start, duration)` of each frame, in presentation order.

    The timestamps, of shape `(num_frames + 1,)`, are the [`presentation_times`] as integers, in units of `time_base`
    seconds.

    Raises:
        ValueError: for a clip longer than [`LIMITS`] allow; the message calls it `name`.
    """
    times = presentation_times([start for start, _ in shown], shown[-1][1] if shown else None)
    timestamps, duration = None, float(len(shown) / rate) if rate else None
    if times is not None:
        times[-1] = max(round(times[-1]), times[-2] + 1)
        duration = float((times[-1] - times[0]) * time_base)
        LIMITS.check_duration(name, duration)
        timestamps = np.array(times, dtype=np.int64)
    fps = len(shown) / duration if duration else None
    return VideoMetadata(len(shown), fps=fps, duration=duration, video_backend=backend), timestamps


def all_frames(metadata: VideoMetadata, timestamps: np.ndarray | None = None) -> np.ndarray:
    """Indices of all frames; as `sample` of [`read_clip`] it reads the whole clip."""
    return np.arange(metadata.total_num_frames)


@dataclass
class StreamedFrame:
    """A frame of [`VideoFile.stream`]; only `rgb` converts it to RGB."""

    _frame: av.VideoFrame
    _display: Display
    _converters: dict[tuple[int, int], VideoReformatter]  # one per size, shared by the frames of a pass

    @property
    def ticks(self) -> int | None:
        """Start in units of the stream's time base; `None` if the file does not give it."""
        return self._frame.pts

    @property
    def start(self) -> Fraction | None:
        """Start in seconds; `None` if the file does not give it."""
        return None if self._frame.pts is None else self._frame.pts * self._frame.time_base

    @property
    def duration(self) -> Fraction | None:
        """Duration in seconds; `None` if the file does not give it."""
        return self._frame.duration * self._frame.time_base if self._frame.duration else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        height, width = self._display.height, self._display.width
        return (width, height) if self._display.is_on_its_side else (height, width)

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """uint8 RGB of shape `(height, width, 3)`, upright, scaled down to a longer side of `max_side` pixels."""
        width, height = self._display.width, self._display.height
        scale = min(1.0, (max_side or max(width, height)) / max(width, height))
        width, height = (max(1, round(side * scale)) for side in (width, height))
        converter = self._converters.setdefault((width, height), VideoReformatter())
        # One thread: with several, FFmpeg's conversion of some formats differs from run to run.
        interpolation = "AREA" if scale < 1.0 else "BILINEAR"
        picture = converter.reformat(
            self._frame, width=width, height=height, format="rgb24", interpolation=interpolation, threads=1
        )
        return np.ascontiguousarray(self._display.upright(picture.to_ndarray()))


class _OpenedFile:
    """A file object with a position of its own: several passes over one file may be open at once."""

    def __init__(self, file: BinaryIO):
        self._file, self._position = file, 0

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._position)
        content = self._file.read(size)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._file.seek(self._position)
        self._file.seek(offset, whence)
        self._position = self._file.tell()
        return self._position

    def tell(self) -> int:
        return self._position


class VideoFile:
    """A video file, opened again for each pass over it.

    Args:
        video: path, content, or binary file object that can seek (read from its start) of a video file.
        name: name in errors for a video without a path.

    Raises:
        FileNotFoundError, IsADirectoryError: for a path that is not a file.
        ValueError: here or while reading, if the file is empty, is not a video, has no video stream, or no frame can
            be decoded.
    """

    ends = True  # a live video may go on for ever, so passes over it have no limits on packets and time

    def __init__(self, video: str | os.PathLike | bytes | BinaryIO, name: str = "video"):
        self.damage: list[str] = []  # errors of the last pass over the packets
        self.declared_duration = 0.0  # seconds; 0 if the file declares no duration
        self.clock_start = Fraction(0)  # presentation time at which players start, in seconds; known once it is open
        if isinstance(video, (str, os.PathLike)):
            self.name, self.source = os.fspath(video), _checked_path(os.fspath(video))
        else:
            is_content = isinstance(video, (bytes, bytearray, memoryview))
            self.name, self.source = name, BytesIO(video) if is_content else video

    @contextmanager
    def open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the container and its best video stream."""
        if isinstance(self.source, str):
            source = f"file:{self.source}"  # without "file:", FFmpeg would read a colon in the name as a protocol
        else:
            source = self.source
            if source.seek(0, SEEK_END) == 0:
                raise ValueError(f"{self.name}: the video is empty (0 bytes).")
            source = _OpenedFile(source)
        LIMITS.check_index(self.name, count_index_entries(self.source))
        codec_options = {"max_pixels": str(LIMITS.frame_pixels)}
        try:
            container = _open_container(source, codec_options)
        except av.FFmpegError as error:
            reason = what_it_is(self._head()) or f"{error.strerror}; the file is damaged or of an unknown kind"
            raise ValueError(f"{self.name}: cannot be read as a video: {reason}.") from error
        with container:
            stream = self._best_stream(container)
            LIMITS.check_frame(self.name, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.options = codec_options  # the size may change midway
            self.clock_start = Fraction(container.start_time or 0, av.time_base)
            # Matroska counts the duration from zero, other formats from the first frame. Subtracting the start keeps
            # the declared duration from being too long. A recorded broadcast starts later than it is long.
            declared, late = (container.duration or 0) / av.time_base, float(max(self.clock_start, 0))
            declared -= late if late < declared else 0.0
            of_stream = float(stream.duration * stream.time_base) if stream.duration else declared
            # The file may count a longer audio track. The stream may count frames that an edit list hides.
            self.declared_duration = min(declared, of_stream)
            yield container, stream

    def _head(self) -> bytes:
        if isinstance(self.source, str):
            return read_head(self.source)
        self.source.seek(0)
        return self.source.read(HEAD)

    def _best_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        """The video stream that players show: the default stream or the best stream, but no cover picture."""
        cover, default = av.stream.Disposition.attached_pic, av.stream.Disposition.default
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        streams = [stream for stream in streams if stream.codec_context is not None]  # it has a decoder
        if not streams:
            found = ", ".join(stream.type for stream in container.streams) or "nothing"
            raise ValueError(f"{self.name}: holds no video stream that can be decoded (it holds: {found}).")
        best = container.streams.best("video")
        if best not in streams:
            best = next((stream for stream in streams if stream.disposition & default), streams[0])
        return best

    def packets(
        self, container: av.container.InputContainer, stream: av.VideoStream, sound: av.AudioStream | None = None
    ) -> Iterator[av.Packet | None]:
        """Packets of `stream`, and those of `sound` among them, then packets that flush the decoders; a read error
        ends them and is noted. Times go on where the clock of the file starts again, see [`JoinedClock`]."""
        self.damage.clear()
        clock, count = JoinedClock(), 0
        try:
            for packet in container.demux([stream] if sound is None else [stream, sound]):
                if packet.stream_index == stream.index:
                    clock.read(packet)
                    count += 1
                    if self.ends:
                        LIMITS.check_frames(self.name, count - 1, "packets")
                clock.correct(packet)
                # An empty packet between others marks a skipped frame; a decoder would take it for the end.
                if packet.size or packet.pts is None:
                    yield packet
        except av.FFmpegError as error:
            self.damage.append(error.strerror)
            yield None

    def _frames(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Decoded frames of `stream` in presentation order; a packet that cannot be decoded is skipped and noted."""
        count, seconds = 0, 0.0
        times = DecodingTimes() if container.format.name == "avi" and stream.codec_context.has_b_frames else None
        for packet in self.packets(container, stream):
            before = monotonic()
            if times and packet is not None:
                times.read(packet)
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                self.damage.append(error.strerror)
                continue
            finally:
                seconds += monotonic() - before
                if self.ends:
                    LIMITS.check_decoding(self.name, seconds)
            for frame in frames:
                if frame.time_base is None:  # flushed after a read error
                    frame.time_base = stream.time_base
                if times:
                    times.correct(frame)
                if frame.is_corrupt:
                    self.damage.append("frame marked as corrupt")
                count += 1
                yield frame
        if not count:
            if not stream.codec_context.width:  # FFmpeg forgets a size above the limit
                reason = f"they have no size, or more pixels than the limit of {LIMITS.frame_pixels:,}"
                raise LimitError(f"{self.name}: no frame can be decoded ({reason}).")
            raise ValueError(f"{self.name}: no frame can be decoded ({[*self.damage, 'zero frames'][0]}).")

    def timeline_of_packets(self) -> tuple[VideoMetadata, np.ndarray | None]:
        """Presentation times from the packet headers, without decoding; see [`timeline`]."""
        with self.open() as (container, stream):
            packets = (packet for packet in self.packets(container, stream) if packet is not None and packet.size)
            shown = [(packet.pts, packet.duration) for packet in packets if not packet.is_discard]
            if None not in (pts for pts, _ in shown):
                shown.sort()  # packets come in decoding order
            return self._timeline(shown, stream)

    def timeline_of_frames(self) -> tuple[VideoMetadata, np.ndarray | None]:
        """Presentation times from the decoder. Decodes the whole file, holding one frame at a time."""
        with self.open() as (container, stream):
            shown = [(frame.pts, frame.duration) for frame in self._frames(container, stream)]
            return self._timeline(shown, stream)

    def _timeline(self, shown: list, stream: av.VideoStream) -> tuple[VideoMetadata, np.ndarray | None]:
        rate = stream.average_rate or stream.guessed_rate
        return timeline(self.name, shown, stream.time_base, rate, "pyav")

    def stream(self) -> Iterator[StreamedFrame]:
        """All frames in presentation order, holding one at a time.

        If the resolution changes midway, frames are scaled to the size of the first frame, as in players.
        """
        converters, display = {}, None
        with self.open() as (container, stream):
            for frame in self._frames(container, stream):
                if display is None:
                    aspect = stream.sample_aspect_ratio
                    if aspect and not is_sound(aspect):
                        sides = f"{aspect.numerator}:{aspect.denominator}"
                        logger.warning_once(
                            f"{self.name}: declares pixels with sides of {sides}. That is taken for a fault of the "
                            "file: they are shown as squares."
                        )
                    display = Display.of(frame, aspect, lambda: self._track_matrix(stream))
                    LIMITS.check_frame(self.name, display.width, display.height)
                yield StreamedFrame(frame, display, converters)

    def _track_matrix(self, stream: av.VideoStream) -> tuple[float, float, float, float] | None:
        return track_matrix(self.source, stream.id)

    def decode(self, indices: np.ndarray, expected: np.ndarray | None) -> np.ndarray | None:
        """Decode the frames at `indices` (positions in presentation order, may repeat) and stop.

        Returns uint8 RGB of shape `(len(indices), height, width, 3)`, upright; `None` if there are too few frames or
        the frames do not start at the ticks `expected`.
        """
        clip, last = None, int(indices.max())
        with closing(self.stream()) as frames:
            for index, frame in enumerate(frames):
                if expected is not None and frame.ticks != expected[index]:
                    return None
                slots = np.flatnonzero(indices == index)
                if slots.size:
                    if clip is None:
                        clip = empty_clip(self.name, len(indices), frame.size)
                    clip[slots] = frame.rgb()
                if index == last:
                    return clip
        return None

    def read(self, sample: Callable[..., np.ndarray]) -> tuple[np.ndarray, VideoMetadata]:
        """Decode the frames that `sample` picks; see [`read_clip`]."""
        metadata, timestamps = self.timeline_of_packets()
        clip = None
        if timestamps is not None:
            indices = sample(metadata=metadata, timestamps=timestamps)
            clip = self.decode(indices, expected=timestamps)
        if clip is None:
            # The headers do not match the decoder's frames (no timestamps, hidden or undecodable frames).
            metadata, timestamps = self.timeline_of_frames()
            indices = sample(metadata=metadata, timestamps=timestamps)
            clip = self.decode(indices, expected=None)
        if clip is None:
            raise ValueError(f"{self.name}: two passes of the decoder gave different frames; re-encode the file.")
        for problem in self.problems(metadata.duration):
            logger.warning(problem)
        height, width = clip.shape[1:3]
        return clip, replace(metadata, height=height, width=width, frames_indices=indices.tolist())

    def problems(self, duration: float | None) -> list[str]:
        """Damage in the last pass, and pictures that end (after `duration` seconds) before the declared end."""
        problems = []
        if self.damage:
            problems.append(
                f"{self.name}: {len(self.damage)} packets or frames are damaged ({self.damage[0]}); the frame before "
                "replaces each frame that cannot be decoded."
            )
        missing = self.declared_duration - (duration or self.declared_duration)
        if missing > 0 and missing >= min(_MISSING_SECONDS, _MISSING_SHARE * self.declared_duration):
            problems.append(
                f"{self.name}: declares {self.declared_duration:.2f} s, but its pictures end {missing:.2f} s earlier; "
                "frames are sampled from the existing pictures."
            )
        return problems


def _open_container(source: str | BinaryIO, codec_options: dict[str, str]) -> av.container.InputContainer:
    """Open a container. Video streams need `codec_options` now: FFmpeg already decodes the first frames."""
    options = {"mode": "r", "metadata_errors": "replace", "options": dict(_OPTIONS)}
    try:
        return av.open(source, stream_options=[dict(codec_options) for _ in range(_MOST_STREAMS)], **options)
    except av.FFmpegError:
        raise
    except ValueError:  # MPEG and FLV files list their streams too late for options
        if not isinstance(source, str):
            source.seek(0)
        return av.open(source, **options)


def _checked_path(path: str) -> str:
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a directory; pass the path of a video file.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; pass the path of a video file or an http(s) URL.")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path}: the video is empty (0 bytes).")
    return path


__all__ = ["StreamedFrame", "VideoFile", "all_frames", "presentation_times", "timeline"]
