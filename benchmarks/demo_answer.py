"""Seconds of `hdf demo` for its answer to a clip of a rendered face: CPU, wall, and per second of video.

    python benchmarks/demo_answer.py

The clip lasts 10 seconds and has 25 frames of 1280x720 a second. The answer is all that the page shows: people,
annotated video, plot and table. The first answer of a process also loads what later ones find loaded.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from modeling_hdf.data.synthetic.dynamics import ClipFactors
from modeling_hdf.demo.answers import Answer, answer
from modeling_hdf.demo.examples import rendered_video
from modeling_hdf.demo.limits import DEMO_LIMITS, applied
from modeling_hdf.inference import VideoAnalyzer


def timed(analyzer: VideoAnalyzer, video: Path) -> tuple[dict[str, float], Answer]:
    """CPU seconds of all threads and wall seconds of one answer, and the answer."""
    cpu, wall = time.process_time(), time.perf_counter()
    with applied(DEMO_LIMITS):
        result = answer(analyzer, str(video), DEMO_LIMITS)
    return {"CPU seconds": time.process_time() - cpu, "wall seconds": time.perf_counter() - wall}, result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hdf-small-faces")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip; default 10")
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    analyzer = VideoAnalyzer(options.model, device="cpu")
    factors = ClipFactors("surprise", identity=5, skin=0.4, duration=options.seconds, fps=25)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        video.write_bytes(rendered_video(factors, frame=tuple(options.size)))
        answers = [timed(analyzer, video) for _ in range(options.repeats)]
    seconds, rows = [each for each, _ in answers], answers[0][1].rows
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "seconds of video": options.seconds,
        "rows": len(rows),
        "answers": seconds,
        "CPU seconds per second of video, median": sorted(each["CPU seconds"] for each in seconds)[len(seconds) // 2]
        / options.seconds,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
