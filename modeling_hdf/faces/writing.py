"""Writing cropped clips as videos, pictures and folders of frames. An output is complete or absent."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from ..data.files import whole_or_absent

_MP4_CRF = 18  # hardly visible loss: crops are for training and are already encoded a second time
_JPEG_QUALITY = 95
_FINEST_TICK = 90_000  # per second; for timestamps without a common tick that MP4 can hold
_LARGEST_TIMESCALE = 2**31 - 1


def _ticks(timestamps: list[Fraction]) -> tuple[list[int], int]:
    """Times from 0 as whole, increasing ticks, and ticks per second."""
    elapsed = [moment - timestamps[0] for moment in timestamps]
    timescale = int(np.lcm.reduce([moment.denominator for moment in elapsed], dtype=object))
    if timescale > _LARGEST_TIMESCALE:
        timescale = _FINEST_TICK
    # A fine tick: frames that start at one moment can be separated without moving other frames.
    timescale *= max(1, -(-10_000 // timescale))
    ticks = []
    for moment in elapsed:
        tick = round(moment * timescale)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)
    return ticks, timescale


def write_mp4(path: Path, crops: Iterable[np.ndarray], timestamps: list[Fraction]) -> None:
    """Encode crops as an H.264 MP4 with their original timing.

    Args:
        path: file to write.
        crops: `(size, size, 3)` uint8 RGB each, `size` even.
        timestamps: the start of each crop and the end of the last crop, in seconds. The file starts at 0.

    Raises:
        OutputError: if the file cannot be written.
    """
    ticks, timescale = _ticks(timestamps)
    with whole_or_absent(path) as part, open(part, "wb") as file:
        _encode(file, crops, ticks, timescale)


def _encode(file: BinaryIO, crops: Iterable[np.ndarray], ticks: list[int], timescale: int) -> None:
    time_base = Fraction(1, timescale)
    with av.open(file, "w", format="mp4", container_options={"video_track_timescale": str(timescale)}) as container:
        # No frame refers to a later frame, as in `encode_mp4`, so packets come in order.
        options = {"crf": str(_MP4_CRF), "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
        mean_rate = Fraction(timescale * (len(ticks) - 1), ticks[-1]).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=mean_rate, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = time_base
        stream.codec_context.thread_count = 1

        def mux(packets: list[av.Packet]) -> None:
            for packet in packets:
                packet.duration = durations[packet.pts]
                container.mux(packet)

        converter = VideoReformatter()
        durations = {start: end - start for start, end in zip(ticks, ticks[1:], strict=False)}
        for crop, tick in zip(crops, ticks, strict=False):
            if tick == 0:
                stream.height, stream.width = crop.shape[:2]
            # One thread: with several, FFmpeg's conversion of some formats differs from run to run.
            frame = converter.reformat(av.VideoFrame.from_ndarray(crop, format="rgb24"), format="yuv420p", threads=1)
            frame.pts, frame.time_base = tick, time_base
            mux(stream.encode(frame))
        mux(stream.encode())


def save_image(crop: np.ndarray, path: Path | BinaryIO, suffix: str) -> None:
    """Write one picture as JPEG or, for any other suffix, PNG."""
    options = {"format": "JPEG", "quality": _JPEG_QUALITY} if suffix in (".jpg", ".jpeg") else {"format": "PNG"}
    Image.fromarray(crop).save(path, **options)


def write_image(path: Path, crop: np.ndarray) -> None:
    """Write one picture; the file is complete or absent. Raises `OutputError`."""
    with whole_or_absent(path) as part:
        save_image(crop, part, path.suffix.lower())


def write_frames(path: Path, crops: Iterable[np.ndarray], name: Callable[[int], str]) -> None:
    """Write a folder of frames; the folder is complete or absent.

    Args:
        path: the folder.
        crops: `(size, size, 3)` uint8 RGB each.
        name: file name of the crop at a position.

    Raises:
        OutputError: if the folder cannot be written.
    """
    with whole_or_absent(path) as part:
        part.mkdir()
        for position, crop in enumerate(crops):
            file = part / name(position)
            save_image(crop, file, file.suffix)


__all__ = ["save_image", "write_frames", "write_image", "write_mp4"]
