"""Reading videos, files and frame arrays alike, for the video processor of HDF.

Files are decoded with PyAV in two passes. The first reads packet headers only and yields when each frame is shown; the
second decodes, converts the sampled frames alone to RGB and stops at the last of them, so that memory grows with the
number of sampled frames and not with the length of the video.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import SEEK_END, BytesIO, TextIOBase
from typing import Any, BinaryIO

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from huggingface_hub.utils import httpx
from transformers.image_utils import ChannelDimension, is_pil_image
from transformers.utils import logging
from transformers.video_utils import VideoMetadata

logger = logging.get_logger(__name__)

# Demuxers that FFmpeg picks for text: playlists would read other files or addresses than the one given, and "tty"
# draws any text as pictures.
_TEXT_FORMATS = {"concat", "dash", "hls", "tty"}
_DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
# Seconds by which the pictures may end before the declared duration, which also counts the audio track.
_DURATION_TOLERANCE = 0.5


def _timeline(
    shown: list[tuple[int | None, int | None]], stream: av.VideoStream
) -> tuple[VideoMetadata, np.ndarray | None]:
    """Metadata and timestamps from the `(pts, duration)` of each frame, in presentation order.

    The timestamps, of shape `(num_frames + 1,)`, are the start of each frame and the end of the last, in units of the
    stream's time base; `None` where they are missing or wrong, as AVI has them for B-frames: only the order of the
    frames is then known.
    """
    starts = [pts for pts, _ in shown]
    rate = stream.average_rate or stream.guessed_rate
    timestamps, duration = None, float(len(starts) / rate) if rate else None
    if starts and None not in starts and starts == sorted(starts):
        mean_interval = round((starts[-1] - starts[0]) / max(len(starts) - 1, 1))
        end = starts[-1] + (shown[-1][1] or mean_interval or 1)
        timestamps = np.array([*starts, end], dtype=np.int64)
        duration = float((end - starts[0]) * stream.time_base)
    fps = len(starts) / duration if duration else None
    return VideoMetadata(len(starts), fps=fps, duration=duration, video_backend="pyav"), timestamps


@dataclass
class StreamedFrame:
    """A frame of [`VideoFile.stream`], converted to RGB only when asked for.

    Attributes:
        start: when it is shown, in seconds; `None` if the file does not say.
        duration: how long it is shown, in seconds; `None` or 0 if the file does not say.
    """

    start: Fraction | None
    duration: Fraction | None
    _frame: av.VideoFrame
    _converters: dict[tuple[int, int], VideoReformatter]  # one for each size, shared by the frames of a pass
    _size: tuple[int, int]
    _matrix: av.buffer.Buffer | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        return self._size if _is_on_its_side(self._matrix) else self._size[::-1]

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """uint8 RGB of shape `(height, width, 3)`, upright, scaled down to a longer side of `max_side` pixels."""
        scale = min(1.0, (max_side or max(self._size)) / max(self._size))
        width, height = (max(1, round(side * scale)) for side in self._size)
        converter = self._converters.setdefault((width, height), VideoReformatter())
        picture = converter.reformat(
            self._frame, width=width, height=height, format="rgb24", interpolation="AREA", threads=1
        )
        return np.ascontiguousarray(_upright(picture.to_ndarray(), self._matrix))


class VideoFile:
    """A video file, opened anew for each pass over it. Raises as [`read_video`]."""

    def __init__(self, video: str | os.PathLike | bytes | BinaryIO, name: str):
        self.damage: list[str] = []  # what the last pass over the packets met
        self.declared_duration = 0.0  # seconds; 0 if the file declares none
        if isinstance(video, (str, os.PathLike)):
            self.name = os.fspath(video)
            is_url = self.name.lower().startswith(("http://", "https://"))
            self.source = BytesIO(_download(self.name)) if is_url else _checked_path(self.name)
        elif isinstance(video, (bytes, bytearray, memoryview)):
            self.name, self.source = f"{name} ({len(video)} bytes)", BytesIO(video)
        else:
            self.name = f"{name} (file object {getattr(video, 'name', type(video).__name__)})"
            if isinstance(video, TextIOBase):
                raise TypeError(f"{self.name}: is open in text mode; open it in binary mode.")
            is_seekable = hasattr(video, "seekable") and video.seekable()
            self.source = video if is_seekable else BytesIO(video.read())

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the container and its first video stream."""
        if isinstance(self.source, str):
            source = f"file:{self.source}"  # without "file:" a colon in the name would be taken for a protocol
        else:
            source = self.source
            if source.seek(0, SEEK_END) == 0:
                raise ValueError(f"{self.name}: the video is empty (0 bytes).")
            source.seek(0)
        try:
            container = av.open(source, metadata_errors="replace")
        except av.FFmpegError as error:
            raise ValueError(f"{self.name}: cannot be read as a video ({error.strerror}).") from error
        with container:
            if container.format.name in _TEXT_FORMATS:
                raise ValueError(f"{self.name}: is a text file or playlist ({container.format.name}), not a video.")
            cover = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams or streams[0].codec_context is None:
                found = ", ".join(stream.type for stream in container.streams) or "nothing"
                raise ValueError(f"{self.name}: holds no video stream that can be decoded (it holds: {found}).")
            # Matroska counts from zero, others from the first frame: without the start, no file declares too much.
            declared = (container.duration or 0) - max(container.start_time or 0, 0)
            self.declared_duration = declared / av.time_base
            yield container, streams[0]

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet | None]:
        """Packets of `stream`, then one that flushes the decoder; a read error ends the stream and is noted."""
        self.damage.clear()
        try:
            for packet in container.demux(stream):
                # An empty packet amid the others stands for a skipped frame; a decoder takes it for the end.
                if packet.size or packet.pts is None:
                    yield packet
        except av.FFmpegError as error:
            self.damage.append(error.strerror)
            yield None

    def _frames(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Decoded frames of `stream` in presentation order; a packet that cannot be decoded is skipped and noted."""
        for packet in self._packets(container, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                self.damage.append(error.strerror)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damage.append("frame marked as corrupt")
                yield frame

    def timeline_of_packets(self) -> tuple[VideoMetadata, np.ndarray | None]:
        """When frames are shown according to the packet headers. Decodes nothing."""
        with self._open() as (container, stream):
            packets = (packet for packet in self._packets(container, stream) if packet is not None and packet.size)
            shown = [(packet.pts, packet.duration) for packet in packets if not packet.is_discard]
            if None not in (pts for pts, _ in shown):
                shown.sort()  # packets come in decoding order
            return _timeline(shown, stream)

    def timeline_of_frames(self) -> tuple[VideoMetadata, np.ndarray | None]:
        """When frames are shown according to the decoder. Decodes the whole file, holding one frame at a time."""
        with self._open() as (container, stream):
            shown = [(frame.pts, frame.duration) for frame in self._frames(container, stream)]
            if not shown:
                raise ValueError(f"{self.name}: no frame can be decoded ({[*self.damage, 'zero frames'][0]}).")
            return _timeline(shown, stream)

    def decode(self, indices: np.ndarray, expected: np.ndarray | None) -> np.ndarray | None:
        """Decode the frames at `indices` (positions in presentation order, repeated or not) and stop.

        Returns uint8 RGB of shape `(len(indices), height, width, 3)`, upright; `None` if the frames do not start at
        the ticks `expected`, one after the other, or are too few.
        """
        clip, last = None, int(indices.max())
        converter = VideoReformatter()  # one for the clip: setting one up costs more than converting a small frame
        with self._open() as (container, stream):
            for index, frame in enumerate(self._frames(container, stream)):
                if expected is not None and frame.pts != expected[index]:
                    return None
                slots = np.flatnonzero(indices == index)
                if slots.size:
                    if clip is None:
                        # A resolution that changes midway is scaled to that of the first frame, as players do.
                        size, matrix = (frame.width, frame.height), frame.side_data.get("DISPLAYMATRIX")
                    # One thread: with several, FFmpeg's conversion of some formats differs from run to run.
                    picture = converter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1)
                    picture = _upright(picture.to_ndarray(), matrix)
                    if clip is None:
                        clip = np.empty((len(indices), *picture.shape), dtype=np.uint8)
                    clip[slots] = picture
                if index == last:
                    return clip
        return None

    def stream(self) -> Iterator[StreamedFrame]:
        """All frames in presentation order, holding one at a time.

        As in [`VideoFile.decode`], a resolution that changes midway is scaled to that of the first frame.
        """
        converters, size, matrix = {}, None, None
        with self._open() as (container, stream):
            for frame in self._frames(container, stream):
                if size is None:
                    size, matrix = (frame.width, frame.height), frame.side_data.get("DISPLAYMATRIX")
                start = None if frame.pts is None else frame.pts * frame.time_base
                duration = frame.duration * frame.time_base if frame.duration else None
                yield StreamedFrame(start, duration, frame, converters, size, matrix)
            if size is None:
                raise ValueError(f"{self.name}: no frame can be decoded ({[*self.damage, 'zero frames'][0]}).")

    def problems(self, duration: float | None) -> list[str]:
        """Damage met in the last pass, and pictures that end after `duration` seconds, before the declared end."""
        problems = []
        if self.damage:
            problems.append(
                f"{self.name}: {len(self.damage)} packets or frames are damaged ({self.damage[0]}); what cannot be "
                "decoded is left out, and the frame before it is taken in its place."
            )
        missing = self.declared_duration - (duration or self.declared_duration)
        if missing > _DURATION_TOLERANCE:
            problems.append(
                f"{self.name}: declares {self.declared_duration:.2f} s, but its pictures end {missing:.2f} s earlier; "
                "the frames are sampled from those that are there."
            )
        return problems


def _download(url: str) -> bytes:
    try:
        response = httpx.get(url, follow_redirects=True, timeout=_DOWNLOAD_TIMEOUT)
        response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"{url}: could not be downloaded ({error}).") from error
    return response.content


def _checked_path(path: str) -> str:
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a directory; pass the path of a video file.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; pass the path of a video file or an http(s) URL.")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path}: the video is empty (0 bytes).")
    return path


def _is_on_its_side(matrix: av.buffer.Buffer | None) -> bool:
    """Whether a display matrix, see [`_upright`], makes columns of rows."""
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return abs(b) + abs(c) > abs(a) + abs(d)


def _upright(picture: np.ndarray, matrix: av.buffer.Buffer | None) -> np.ndarray:
    """Apply a display matrix, rounded to quarter turns and mirrorings, to a picture of shape `(height, width, 3)`.

    FFmpeg's matrix maps a stored point to the displayed one by `x' = a x + c y`, `y' = b x + d y`, with y downwards.
    """
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    if _is_on_its_side(matrix):
        picture = picture.swapaxes(0, 1)
        a, d = c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def read_video(
    video: str | os.PathLike | bytes | BinaryIO, sample: Callable[..., np.ndarray], name: str = "video"
) -> tuple[np.ndarray, VideoMetadata]:
    """Decode the frames of one video file that `sample` picks.

    Args:
        video: path, http(s) URL, content, or binary file object (read from its start) of a video file.
        sample: called as `sample(metadata=..., timestamps=...)`, see [`HDFVideoProcessor.sample_frames`]; returns the
            indices of the frames in presentation order.
        name: what errors call a video that has neither path nor URL.

    Returns:
        The frames, uint8 RGB of shape `(num_frames, height, width, 3)`, turned as the display matrix says, and the
        metadata: `total_num_frames`, mean `fps`, `duration` in seconds, displayed `height` and `width`,
        `frames_indices`.

    Raises:
        FileNotFoundError, IsADirectoryError: for a path that is not a file.
        TypeError: for a file object in text mode.
        ValueError: if the video cannot be downloaded or read, is empty, has no video stream, or no frame of it can be
            decoded. Damage to a part of it is no error: the rest is used, and a warning names the file.
    """
    file = VideoFile(video, name)
    metadata, timestamps = file.timeline_of_packets()
    clip = None
    if timestamps is not None:
        indices = sample(metadata=metadata, timestamps=timestamps)
        clip = file.decode(indices, expected=timestamps)
    if clip is None:
        # The headers do not say what the decoder gives (no timestamps, hidden or undecodable frames): ask the decoder.
        metadata, timestamps = file.timeline_of_frames()
        indices = sample(metadata=metadata, timestamps=timestamps)
        clip = file.decode(indices, expected=None)
    if clip is None:
        raise ValueError(f"{file.name}: two passes of the decoder gave different frames; re-encode the file.")
    for problem in file.problems(metadata.duration):
        logger.warning(problem)
    height, width = clip.shape[1:3]
    return clip, replace(metadata, height=height, width=width, frames_indices=indices.tolist())


def all_frames(metadata: VideoMetadata, timestamps: np.ndarray | None = None) -> np.ndarray:
    """Indices of all frames: the `sample` of [`read_video`] that does not sample."""
    return np.arange(metadata.total_num_frames)


def _is_frame(value: Any) -> bool:
    return is_pil_image(value) or (isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 3)


def split_batch(videos: Any) -> list:
    """Flatten a video, or nested lists of videos, to a list of videos. A list of frames is one video."""
    if isinstance(videos, (list, tuple)):
        if not videos:
            raise ValueError("`videos` is or holds an empty list: zero frames, where a video needs at least one.")
        if all(_is_frame(item) for item in videos):
            return [videos]
        return [video for item in videos for video in split_batch(item)]
    if isinstance(videos, (np.ndarray, torch.Tensor)) and videos.ndim == 5:
        return list(videos)
    return [videos]


def _channels_first(
    pixels: Any, input_data_format: str | ChannelDimension | None, name: str, ndim: int
) -> torch.Tensor:
    """Check one frame (`ndim` 3) or one video (`ndim` 4) of pixels; return it as `(..., 3, height, width)`."""
    if is_pil_image(pixels):
        # A PIL mode says what the channels mean, so grey, palette and alpha images convert without guessing.
        pixels, input_data_format = np.array(pixels.convert("RGB")), ChannelDimension.LAST
    if isinstance(pixels, np.ndarray):
        if pixels.dtype.kind not in "uif":
            raise TypeError(f"{name}: pixels must be integers or floats, got dtype {pixels.dtype}.")
        # torch shares no memory with arrays that are read-only or have negative strides.
        pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    if pixels.dtype == torch.bool or pixels.is_complex():
        raise TypeError(f"{name}: pixels must be integers or floats, got dtype {pixels.dtype}.")
    shape = tuple(pixels.shape)
    if pixels.ndim != ndim or 0 in shape:
        raise ValueError(
            f"{name}: expected frames of shape (num_frames, height, width, 3) or (num_frames, 3, height, width) with "
            f"at least one frame and one pixel, got shape {shape}."
        )
    formats = [ChannelDimension.FIRST] * (shape[-3] == 3) + [ChannelDimension.LAST] * (shape[-1] == 3)
    if input_data_format is not None:
        formats = [known for known in formats if known == ChannelDimension(input_data_format)]
    if len(formats) != 1:
        problem = "wrong number of channels" if not formats else "ambiguous channels; pass `input_data_format`"
        layout = "" if input_data_format is None else f" with input_data_format={str(input_data_format)!r}"
        raise ValueError(f"{name}: {problem}: expected 3 (RGB), first or last, got shape {shape}{layout}.")
    return pixels if formats[0] == ChannelDimension.FIRST else pixels.movedim(-1, -3)


def frames_to_tensor(video: Any, input_data_format: str | ChannelDimension | None, name: str) -> torch.Tensor:
    """Check a video given as frames; return it as `(num_frames, 3, height, width)`, uint8 or float32."""
    if isinstance(video, (list, tuple)):
        frames = [_channels_first(frame, input_data_format, f"{name}[{i}]", 3) for i, frame in enumerate(video)]
        shapes = sorted({tuple(frame.shape) for frame in frames})
        if len(shapes) != 1:
            raise ValueError(f"{name}: all frames must have one shape, got {shapes}.")
        pixels = torch.stack(frames)
    elif isinstance(video, (np.ndarray, torch.Tensor)):
        pixels = _channels_first(video, input_data_format, name, 4)
    else:
        raise TypeError(
            f"{name}: expected a path, URL, bytes, binary file object, array, tensor or list of frames, got "
            f"{type(video).__name__}."
        )
    if pixels.is_floating_point():
        if not torch.isfinite(pixels).all():
            raise ValueError(f"{name}: pixels hold NaN or infinite values.")
        return pixels.to(torch.float32)
    if pixels.dtype != torch.uint8:
        low, high = (int(value) for value in pixels.to(torch.int64).aminmax())
        if low < 0 or high > 255:
            raise ValueError(f"{name}: integer pixels must lie within 0..255, got {low}..{high}.")
    return pixels.to(torch.uint8)


__all__ = ["StreamedFrame", "VideoFile", "all_frames", "frames_to_tensor", "read_video", "split_batch"]
