"""How far an analysis is, in seconds of video."""

from collections.abc import Callable
from typing import Any

Progress = Callable[[Any, float, float | None], object]
"""Called with a video, the seconds of it that are done, and its length if the file declares it."""


class ProgressBar:
    """
    A bar in seconds of video, in a terminal or a notebook; it is a [`Progress`], also of several videos at once.

    The length of a video that declares none, or has not begun, is taken to be the mean of the others.

    Args:
        num_videos (`int`, *optional*, defaults to 1): number of videos; it grows if more come.
    """

    def __init__(self, num_videos: int = 1):
        self.num_videos = num_videos
        self._seconds: dict[int, float] = {}  # that are done, by the `id` of the video
        self._lengths: dict[int, float] = {}  # that are known
        self._finished: set[int] = set()
        self._bar: Any = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, video: Any, seconds: float, length: float | None) -> None:
        if length:
            self._lengths[id(video)] = length
        # The declared length may be a little too short.
        self._seconds[id(video)] = min(seconds, length or seconds)
        self._show(video)

    def finish(self, video: Any) -> None:
        """Count a video as done, also one that cannot be read; then the line is free for other output."""
        self._finished.add(id(video))
        length = self._lengths.setdefault(id(video), self._seconds.get(id(video), 0.0))
        self._seconds[id(video)] = length
        self._show(video)
        self._bar.clear()

    def _show(self, video: Any) -> None:
        from tqdm.auto import tqdm

        done, num_videos = sum(self._seconds.values()), max(self.num_videos, len(self._seconds))
        total, form = None, "{desc}: {n:.0f} s"
        if self._lengths:
            total = max(done, num_videos * sum(self._lengths.values()) / len(self._lengths))
        if total:
            form = "{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s, {remaining} left"
        if self._bar is None:
            self._bar = tqdm(total=total, bar_format=form, smoothing=0.0)
        bar = self._bar
        bar.total, bar.bar_format = total, form
        name = video[-40:] if isinstance(video, str) else "video"
        if num_videos > 1:
            name = f"{len(self._finished)} of {num_videos} videos"
        bar.set_description_str(name, refresh=False)
        bar.update(done - bar.n)


__all__ = ["Progress", "ProgressBar"]
