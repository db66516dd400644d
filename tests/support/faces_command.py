"""`hdf data faces` in the tests: the call, and what it wrote."""

import json
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from modeling_hdf.cli.main import main


def hdf(*arguments) -> int:
    return main(["data", "faces", *map(str, arguments), "--workers", "1", "--size", "64"])


def journal(out: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]
    assert len({line["clip"] for line in lines}) == len(lines)
    return {line["clip"]: line for line in lines}


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def decoded(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def shown_at(file: Path) -> tuple[list[Fraction], Fraction, tuple[int, int]]:
    """Times of the frames of a video, its duration and its size, by PyAV alone."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        return times, stream.duration * stream.time_base, (stream.width, stream.height)
