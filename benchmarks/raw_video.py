"""
Frames per second of `hdf predict` on a raw video, against a straightforward loop and against the package `fer`, and
its memory for videos of 1, 10 and 120 minutes; all on one thread.

    python benchmarks/raw_video.py speed VIDEO
    python benchmarks/raw_video.py speed VIDEO --fer    # where fer 25.10.3 is installed, see docs/real-faces.md
    python benchmarks/raw_video.py memory VIDEO --minutes 1 10 120 --fps 2 --width 320

The loop decodes all frames, looks for faces in each at full size, and classifies one window at a time. The command
also compares boxes, probabilities and labels of both, and, not timed, of a loop that looks for faces at the scale of
`hdf predict`: YuNet's boxes depend on it. Memory is the peak of a fresh process; the videos repeat VIDEO, made smaller
and slower on request to save time, without encoding it again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenCV are imported


def cpu_seconds() -> float:
    return time.process_time()


def speed(video: str, model: str, repeats: int, with_fer: bool) -> dict:
    """Frames per CPU second of all ways, in turn, the best of several runs, and how far the loop agrees."""
    import av
    import cv2
    import torch

    from modeling_hdf.inference import VideoAnalyzer

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with av.open(video) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    analyzer = VideoAnalyzer(model, device="cpu")
    ways = {"hdf predict": lambda: analyzer.analyze(video), "loop": lambda: straightforward(video, analyzer)}
    if with_fer:
        ways["fer"] = fer_on(video)
    analyzer.analyze(video)  # warms up
    seconds, results = {name: [] for name in ways}, {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = cpu_seconds()
            results[name] = way()
            seconds[name].append(cpu_seconds() - start)
    timeline, rows = results["hdf predict"], results["loop"]
    best = {name: min(each) for name, each in seconds.items()}
    expected = [row for row in timeline.rows if row.person == 1]
    same_scale = straightforward(video, analyzer, analyzer.detector.max_side)
    return {
        "frames": num_frames,
        **{f"{name}, frames per CPU second": num_frames / each for name, each in best.items()},
        **{f"times faster than {name}": best[name] / best["hdf predict"] for name in list(ways)[1:]},
        "rows": len(expected),
        "agreement with the loop": agreement(expected, rows),
        "agreement with a loop that looks at the same scale": agreement(expected, same_scale),
    }


LoopRow = tuple[float, Any, Any]  # start, probabilities `(num_classes,)`, mean box `(4,)`


def agreement(rows: list, others: list[LoopRow]) -> dict:
    """IoU of the boxes, difference of the probabilities, and share of equal labels, by the start of the rows."""
    import numpy as np

    from modeling_hdf.faces.tracking import box_iou

    found = {round(start, 3): (probabilities, box) for start, probabilities, box in others}
    pairs = [(row, *found[round(row.start, 3)]) for row in rows if round(row.start, 3) in found]
    differences = [np.abs(row.probabilities - probabilities) for row, probabilities, _ in pairs]
    return {
        "rows in both": len(pairs),
        "mean IoU of boxes": float(np.mean([box_iou(row.box[None], box[None]) for row, _, box in pairs])),
        "mean difference of probabilities": float(np.mean(differences)),
        "median of the largest difference of a row": float(np.median([each.max() for each in differences])),
        "equal labels": float(np.mean([row.probabilities.argmax() == each.argmax() for row, each, _ in pairs])),
    }


def straightforward(video: str, analyzer, max_side: int | None = None) -> list[LoopRow]:
    """The half seconds of the largest face, by the plainest way; frames are searched at full size by default."""
    import av
    import numpy as np
    import torch

    from modeling_hdf.faces import FaceDetector
    from modeling_hdf.faces.detection import cut_square
    from modeling_hdf.faces.tracking import build_tracks, crop_squares

    with av.open(video) as container:
        decoded = list(container.decode(video=0))
    pictures = [frame.to_ndarray(format="rgb24") for frame in decoded]
    times = np.array([float(frame.pts * frame.time_base) for frame in decoded])
    end = times[-1] + float(decoded[-1].duration * decoded[-1].time_base)
    detector = FaceDetector(max_side=max_side)
    found = {}
    for index, picture in enumerate(pictures):
        faces = [detector.refine(picture, face) for face in detector(picture)]
        found[index] = np.stack(faces) if faces else np.empty((0, 15))
    tracks = build_tracks(found, times)
    if not tracks:
        return []
    track, model, processor = tracks[0], analyzer.queue.model, analyzer.queue.processor
    squares, size = crop_squares(track, 0.1), processor.crop_size["height"]
    crops = [cut_square(pictures[i], square, size) for i, square in zip(track.frames, squares, strict=True)]
    starts = times[track.frames]
    finish = times[track.frames[-1] + 1] if track.frames[-1] + 1 < len(times) else end
    begins = list(np.arange(starts[0], finish - 2.0 + 1e-9, 0.5)) + [max(starts[0], finish - 2.0)]
    results = []
    for begin in begins:
        length = min(2.0, finish - begin)
        centres = begin + (np.arange(processor.num_frames) + 0.5) * length / processor.num_frames
        shown = np.searchsorted(starts, centres + 1e-9, side="right") - 1
        with torch.inference_mode():
            inputs = processor(np.stack([crops[i] for i in shown]), do_sample_frames=False, return_tensors="pt")
            results.append(model(**inputs).logits.softmax(-1)[0].numpy())
    rows = []
    for start in np.arange(starts[0], finish - 1e-6, 0.5):
        stop = min(start + 0.5, finish)
        covering = [
            result
            for begin, result in zip(begins, results, strict=True)
            if begin <= start + 1e-6 and begin + 2.0 >= stop - 1e-6
        ]
        box = track.boxes[(starts >= start - 1e-6) & (starts < stop)].mean(axis=0)
        rows.append((float(start), np.mean(covering, axis=0), box))
    return rows


def fer_on(video: str) -> Callable[[], None]:
    """A call that gives every frame to `FER(mtcnn=False)`, after a first one that warms up."""
    import cv2
    from fer.fer import FER

    detector = FER(mtcnn=False)
    detector.detect_emotions(cv2.VideoCapture(video).read()[1])

    def run() -> None:
        capture = cv2.VideoCapture(video)
        _, picture = capture.read()
        while picture is not None:
            detector.detect_emotions(picture)
            _, picture = capture.read()

    return run


def memory(video: str, model: str, minutes: list[float], fps: int | None, width: int | None) -> dict:
    """Peak memory in MB of `hdf predict` by the length of the video in minutes, each in a process of its own."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        if fps or width:
            smaller = str(Path(folder) / "smaller.mp4")
            shrink(video, smaller, fps, width)
            video = smaller
        for length in minutes:
            path = str(Path(folder) / f"{length:g}.mp4")
            repeat(video, path, length * 60.0)
            command = [sys.executable, __file__, "peak", path, "--model", model]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            result[f"{length:g} minutes"] = json.loads(output)
    return result


def shrink(video: str, path: str, fps: int | None, width: int | None) -> None:
    """Writes a video with so many frames per second and pixels of width."""
    import av

    with av.open(video) as source, av.open(path, "w") as output:
        stream = source.streams.video[0]
        width = width or stream.width
        height = round(stream.height * width / stream.width / 2) * 2
        target = output.add_stream("libx264", rate=fps or round(stream.average_rate))
        target.width, target.height, target.pix_fmt = width, height, "yuv420p"
        count = 0
        for frame in source.decode(stream):
            if not fps or frame.time * fps >= count - 1e-6:
                small = frame.reformat(width=width, height=height, format="yuv420p")
                small.pts, small.time_base = count, 1 / target.codec_context.rate
                output.mux(target.encode(small))
                count += 1
        output.mux(target.encode())


def repeat(video: str, path: str, seconds: float) -> None:
    """Writes a video of so many seconds that repeats the packets of another."""
    import av

    with av.open(path, "w") as output:
        with av.open(video) as source:
            stream = source.streams.video[0]
            target = output.add_stream_from_template(stream)
            period, base = stream.duration, stream.time_base
        shift = 0
        while shift * base < seconds:
            with av.open(video) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                        output.mux(packet)
            shift += period


def peak(video: str, model: str) -> dict:
    import torch

    from modeling_hdf.inference import analyze

    torch.set_num_threads(1)
    timeline = analyze(video, model, device="cpu")
    return {
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "seconds of video": timeline.end - timeline.start,
        "rows": len(timeline.rows),
        "CPU seconds": cpu_seconds(),
    }


def main() -> None:
    from_command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    from_command.add_argument("what", choices=("speed", "memory", "peak"))
    from_command.add_argument("video")
    from_command.add_argument("--model", default="hdf-small-faces")
    from_command.add_argument("--repeats", type=int, default=3)
    from_command.add_argument("--fer", action="store_true", help="speed: also of the package fer")
    from_command.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 120])
    from_command.add_argument("--fps", type=int, help="memory: of the repeated video; default: as it is")
    from_command.add_argument("--width", type=int, help="memory: of the repeated video, in pixels; default: as it is")
    options = from_command.parse_args()
    if options.what == "speed":
        result = speed(options.video, options.model, options.repeats, options.fer)
    elif options.what == "memory":
        result = memory(options.video, options.model, options.minutes, options.fps, options.width)
    else:
        result = peak(options.video, options.model)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
