"""Cuts between the shots of a video: PySceneDetect's content detector on small pictures of the frames."""

from ..clip_reading_hdf import Frame
from ..data.extras import needs_module

_MAX_SIDE = 160  # pixels of the longer side of the compared pictures


class CutDetector:
    """
    Finds the frames that start a new shot. Needs the extra `face`.

    A frame starts a shot if hue, saturation and brightness differ from the frame before by more than `threshold` on
    average. Slow fades are no cuts.

    Args:
        threshold (`float`, *optional*, defaults to 27.0): mean difference of the three, each from 0 to 255.
    """

    def __init__(self, threshold: float = 27.0):
        needs_module("scenedetect", "face", "Finding cuts")
        from scenedetect.detectors.content_detector import ContentDetector

        self._detector = ContentDetector(threshold, min_scene_len=0)

    def is_cut(self, frame: Frame) -> bool:
        """Whether this frame starts a new shot; takes the frames in order, each once."""
        picture = frame.rgb(_MAX_SIDE)[:, :, ::-1]  # the detector expects BGR
        return bool(self._detector.process_frame(0, picture))  # the time is returned as it is, and not used


__all__ = ["CutDetector"]
