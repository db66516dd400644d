"""
Inference on videos.

- [`analyze`]: from a raw video to each person's expressions over time, a [`Timeline`]; [`VideoAnalyzer`] for many.
- [`analyze_stream`]: the same while the video goes on, also of cameras and network streams.
- [`predict_video`]: the expression of a clip that shows one face, cropped.
- [`load_classifier`]: loads a model with its processor.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .classifier import load_classifier, predict_video

if TYPE_CHECKING:
    from .analysis import VideoAnalyzer, analyze
    from .rows import Row
    from .streaming import analyze_stream
    from .timeline import Person, Timeline

# Imported when they are asked for: `import modeling_hdf` loads this package for its pipeline.
_MODULES = {"Person": "timeline", "Row": "rows", "Timeline": "timeline", "VideoAnalyzer": "analysis"}
_MODULES |= {"analyze": "analysis", "analyze_stream": "streaming"}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Person",
    "Row",
    "Timeline",
    "VideoAnalyzer",
    "analyze",
    "analyze_stream",
    "load_classifier",
    "predict_video",
]
