"""Clips per second of the training input pipeline against a simple PyAV loop, as ratios in one process.

    python benchmarks/input_pipeline.py                      # rendered clips, 70 frames each (DFEW's median)
    python benchmarks/input_pipeline.py --videos clips/*.mp4

The simple loop decodes a clip, converts all frames to RGB at full size, and picks the sampled frames. Then both
resize, mirror, crop and normalise in the same way, and a check makes sure that the clips are exactly equal. Both run
on one thread, as in a worker process. They alternate for each clip and each choice of frames. The fastest round
counts, because other work on the machine can only slow a round down.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import (
    ClipCollator,
    ClipDataset,
    ClipFactors,
    TemporalSampling,
    build_augmentation,
    encode_mp4,
    render_clip,
)

NUM_FRAMES = 16
FPS = 25
DRAWS = 3  # random choices of frames per clip, each timed separately


class StraightforwardClips(ClipDataset):
    """Decodes and converts every frame of a clip, then picks the sampled frames."""

    def _decoded(self, index, sample):
        row = self.rows[index]
        frames, starts = [], []
        with av.open(row["clip"]["path"]) as container:
            for frame in container.decode(video=0):
                frames.append(frame.to_ndarray(format="rgb24"))
                starts.append(frame.pts)
        timestamps = np.array([*starts, starts[-1] + frame.duration])
        metadata = VideoMetadata(len(frames), fps=None, duration=None)
        clip = np.stack(frames)[sample(metadata=metadata, timestamps=timestamps)]
        return torch.from_numpy(clip).movedim(-1, -3), row["label"]


def write_clips(folder: Path, count: int, size: int, length: int) -> list[Path]:
    """Rendered faces with noise and head motion, `length` frames of `size` x `size` pixels, as H.264."""
    paths = []
    for index in range(count):
        factors = ClipFactors(
            label="happiness", identity=index, duration=length / FPS, fps=FPS, noise=2.0, head_motion=2.0, talking=0.3
        )
        paths.append(folder / f"{index}.mp4")
        paths[-1].write_bytes(encode_mp4(render_clip(factors, size, 0, (0, index)), FPS, 23.0))
    return paths


def compare(paths: list[Path], kind: str, stride: int, augmentation: str, image_size: int, rounds: int) -> dict:
    size = {"height": image_size, "width": image_size}
    processor = HDFVideoProcessor(num_frames=NUM_FRAMES, size={"shortest_edge": image_size}, crop_size=size)
    rows = [{"clip": {"path": str(path), "frames": None}, "label": 0} for path in paths]
    options = {
        "sampling": TemporalSampling(kind, NUM_FRAMES, stride),
        "training": True,
        "augmentation": build_augmentation(augmentation, processor),
    }
    ours, straightforward = (kind(rows, processor, **options) for kind in (ClipDataset, StraightforwardClips))
    collate = ClipCollator(processor, 1)
    seconds = {"ours": 0.0, "straightforward": 0.0}
    for index, epoch in itertools.product(range(len(paths)), range(DRAWS)):
        fastest, results = dict.fromkeys(seconds, float("inf")), {}
        for _ in range(rounds):
            for name, dataset in (("ours", ours), ("straightforward", straightforward)):
                dataset.set_epoch(epoch)
                start = time.perf_counter()
                results[name] = collate([dataset[index]])["pixel_values"]
                fastest[name] = min(fastest[name], time.perf_counter() - start)
        if not torch.equal(*results.values()):
            raise AssertionError(f"{paths[index]}: the two pipelines give different pixels.")
        for name in seconds:
            seconds[name] += fastest[name]
    return {
        **{f"{name}_clips_per_second": round(DRAWS * len(paths) / value, 1) for name, value in seconds.items()},
        "speedup": round(seconds["straightforward"] / seconds["ours"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", help="clips to read; default: rendered ones")
    parser.add_argument("--num-clips", type=int, default=8, help="rendered clips (default 8)")
    parser.add_argument("--size", type=int, default=512, help="edge of the rendered clips in pixels (default 512)")
    parser.add_argument("--length", type=int, default=70, help="frames of a rendered clip (default 70)")
    parser.add_argument("--image-size", type=int, default=160, help="edge of the model's frames (default 160)")
    parser.add_argument("--augmentation", default="flip", help="none, flip (default), standard or strong")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = arguments.videos or write_clips(Path(folder), arguments.num_clips, arguments.size, arguments.length)
        result = {"clips": len(paths), "augmentation": arguments.augmentation, "image_size": arguments.image_size}
        for kind, stride in (("uniform", 1), ("segments", 1), ("dense", 4), ("dense", 1)):
            name = kind if kind != "dense" else f"dense, stride {stride}"
            result[name] = compare(paths, kind, stride, arguments.augmentation, arguments.image_size, arguments.rounds)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
