"""The live mode: the expression in the last seconds of a webcam, frame by frame."""

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ..faces import NoFaceError, crop_face
from ..inference import predict_video
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor

WINDOW, HOP = 2.0, 0.5  # seconds
_MOST_FRAMES = 64
_MOST_PIXELS = 640 * 480


@dataclass
class LiveWindow:
    """
    The last frames of one visitor's webcam.

    Attributes:
        frames: time in seconds and `(height, width, 3)` uint8 of each frame of the last two seconds.
        answered: time of the last answer.
    """

    frames: deque = field(default_factory=lambda: deque(maxlen=_MOST_FRAMES))
    answered: float = 0.0

    def add(self, frame: np.ndarray, now: float) -> bool:
        """Adds a frame; says whether it is time for the next answer."""
        step = max(1, round((frame.shape[0] * frame.shape[1] / _MOST_PIXELS) ** 0.5))
        if self.frames and self.frames[-1][1].shape != frame[::step, ::step].shape:  # another camera
            self.frames.clear()
        self.frames.append((now, frame[::step, ::step].copy()))
        while self.frames[0][0] < now - WINDOW:
            self.frames.popleft()
        if now - self.answered < HOP:
            return False
        self.answered = now
        return True


def live_answer(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, frame: np.ndarray | None, window: LiveWindow | None
) -> tuple[dict[str, float] | None, str, LiveWindow]:
    """
    Adds a frame `(height, width, 3)`, uint8, to a visitor's window.

    Returns:
        The probability of each class, `None` to keep those shown; a line for the visitor; and the window.
    """
    window = LiveWindow() if window is None else window
    if frame is None or not window.add(frame, time.monotonic()):
        return None, "", window
    clip = np.stack([each for _, each in window.frames])
    try:
        face = crop_face(clip, size=processor.crop_size["height"], sample=processor.sample_frames)
    except NoFaceError:
        return {}, "No face in the last two seconds.", window
    seconds = window.frames[-1][0] - window.frames[0][0]
    return predict_video(model, processor, face.frames), f"The last {seconds:.1f} seconds.", window


__all__ = ["LiveWindow", "live_answer"]
