"""The example videos of the page: rendered faces, so that no real person has to ship."""

from pathlib import Path

import numpy as np

from ..data.files import write_bytes
from ..data.synthetic.dynamics import ClipFactors
from ..data.synthetic.renderer import render_clip
from ..data.video_encoding import encode_mp4

_FPS, _FACE, _FRAME = 12, 224, (360, 480)  # edge of the face's square; height and width of the frame
EXAMPLES = {
    "Rendered face 1": ClipFactors("surprise", identity=5, skin=0.4, duration=2.4, fps=_FPS),
    "Rendered face 2": ClipFactors("anger", identity=8, skin=0.2, duration=2.4, fps=_FPS),
    "Rendered face 3": ClipFactors("happiness", identity=3, skin=0.7, duration=2.4, fps=_FPS),
}


def write_examples(folder: Path) -> dict[str, Path]:
    """Renders the examples as MP4 files; returns the path of each by its name."""
    paths = {}
    for index, (name, factors) in enumerate(EXAMPLES.items()):
        paths[name] = folder / f"{factors.label}.mp4"
        write_bytes(paths[name], rendered_video(factors, (9, index)))
    return paths


def rendered_video(factors: ClipFactors, clip_seed: tuple[int, ...] = (0,), frame: tuple[int, int] = _FRAME) -> bytes:
    """An MP4 file of a rendered face of 224 pixels in the middle of a grey frame, `(height, width)`."""
    face = render_clip(factors, _FACE, 0, clip_seed)  # (F, 224, 224, 3)
    frames = np.empty((len(face), *frame, 3), np.uint8)
    frames[:] = face[0, 0, 0]  # the grey of the background
    top, left = ((size - _FACE) // 2 for size in frame)
    frames[:, top : top + _FACE, left : left + _FACE] = face
    return encode_mp4(frames, factors.fps, 20.0)


__all__ = ["EXAMPLES", "rendered_video", "write_examples"]
