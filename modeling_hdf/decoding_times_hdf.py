"""Presentation times of frames whose file gives those of decoding alone, as an AVI file with B-frames does."""

from heapq import heappop, heappush

import av


class DecodingTimes:
    """
    Gives the times of the packets to the frames in order: the frame that is shown first takes the earliest time.

    A packet that gave no frame leaves its time, which is dropped at the next keyframe: what was decoded before a
    keyframe is shown before it.
    """

    def __init__(self):
        self._waiting: list[int] = []  # a heap

    def read(self, packet: av.Packet) -> None:
        """Takes the time of the next packet."""
        if packet.pts is not None:
            heappush(self._waiting, packet.pts)

    def correct(self, frame: av.VideoFrame) -> None:
        """Sets the time of the next frame."""
        while frame.key_frame and self._waiting and frame.pts is not None and self._waiting[0] < frame.pts:
            heappop(self._waiting)
        if self._waiting:
            frame.pts = heappop(self._waiting)


__all__ = ["DecodingTimes"]
