"""Frames to an H.264 file in memory, the same bytes for the same frames."""

import io

import av
import numpy as np


def encode_mp4(frames: np.ndarray, fps: int, crf: float = 20.0) -> bytes:
    """Encode a clip as an H.264 MP4.

    The encoder runs on one thread, without B-frames and lookahead. So the bytes do not depend on the machine's load,
    and the quality of a frame does not depend on later frames.

    Args:
        frames: `(F, H, W, 3)` uint8 RGB, H and W even.
        fps: frames per second.
        crf: constant rate factor of x264, 0 (lossless) to 51 (worst).

    Returns:
        The bytes of the MP4 file.

    Raises:
        ValueError: if `frames` is not `(F, H, W, 3)` uint8 with even H and W.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"`frames` must be (F, H, W, 3) uint8, got {frames.shape} {frames.dtype}.")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"`frames` must have even height and width for 4:2:0 video, got {height}x{width}.")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        options = {"crf": f"{crf:.2f}", "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
