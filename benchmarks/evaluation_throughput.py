"""Clips per second of the batched evaluation against a plain loop over clips, as a ratio measured in one process.

    python benchmarks/evaluation_throughput.py --preset base_160 --num-clips 32 --num-workers 2

The plain loop reads a clip with the video processor, runs the model on it, and takes the softmax, one clip after the
other. `hdf evaluate` reads clips in worker processes and runs the model on batches. Both use all threads of torch.
Each round times both, in alternating order, and checks that their probabilities are equal. The result is the ratio of
the fastest rounds, with the quartiles of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import set_seed
from transformers.utils import logging

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import ClipDataset, ClipFactors, encode_mp4, render_clip
from modeling_hdf.evaluation.running import evaluation_trainer
from modeling_hdf.evaluation.views import predict_views

FPS = 25


def write_clips(folder: Path, count: int, size: int, length: int) -> list[dict]:
    """Rows of rendered faces with noise and head motion, as H.264."""
    rows = []
    for index in range(count):
        factors = ClipFactors(label="fear", identity=index, duration=length / FPS, fps=FPS, noise=2.0, head_motion=2.0)
        path = folder / f"{index}.mp4"
        path.write_bytes(encode_mp4(render_clip(factors, size, 0, (0, index)), FPS, 23.0))
        rows.append({"clip": {"path": str(path), "frames": None}, "label": 6})
    return rows


@torch.inference_mode()
def plain_loop(model: HDFForVideoClassification, processor: HDFVideoProcessor, rows: list[dict]) -> np.ndarray:
    probabilities = []
    for row in rows:
        inputs = processor(row["clip"]["path"], return_tensors="pt").to(model.device)
        probabilities.append(model(**inputs).logits[0].softmax(-1).cpu().numpy())
    return np.stack(probabilities)


def compare(plain: Callable[[], np.ndarray], ours: Callable[[], np.ndarray], num_clips: int, rounds: int) -> dict:
    """Clips per second of both, and the ratio of `ours` to `plain`."""
    np.testing.assert_allclose(ours(), plain(), atol=1e-4)  # also the warm-up
    seconds = {"plain": [], "ours": []}
    for index in range(rounds):
        turns = [("plain", plain), ("ours", ours)]
        for name, call in reversed(turns) if index % 2 else turns:
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    ratios = [theirs / own for theirs, own in zip(seconds["plain"], seconds["ours"], strict=True)]
    return {
        **{f"{name}_clips_per_second": round(num_clips / min(values), 2) for name, values in seconds.items()},
        "speedup": round(min(seconds["plain"]) / min(seconds["ours"]), 3),
        "quartiles_of_rounds": [round(value, 3) for value in statistics.quantiles(ratios, n=4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", help="model preset (default tiny)")
    parser.add_argument("--num-clips", type=int, default=64, help="rendered clips (default 64)")
    parser.add_argument("--size", type=int, default=224, help="edge of the clips in pixels (default 224)")
    parser.add_argument("--length", type=int, default=70, help="frames of a clip (default 70, DFEW's median)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="at least 2 (default 5)")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    set_seed(0)
    logging.disable_progress_bar()
    text = json.dumps(measure(arguments), indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")


def measure(arguments: argparse.Namespace) -> dict:
    """Settings and result of a comparison."""
    config = HDFConfig.from_pretrained(configuration_path("model", arguments.preset))
    size = {"height": config.image_size, "width": config.image_size}
    processor = HDFVideoProcessor(
        num_frames=config.num_frames, size={"shortest_edge": config.image_size}, crop_size=size
    )
    model = HDFForVideoClassification(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        rows = write_clips(Path(folder), arguments.num_clips, arguments.size, arguments.length)
        trainer = evaluation_trainer(
            model,
            processor,
            folder,
            per_device_eval_batch_size=arguments.batch_size,
            dataloader_num_workers=arguments.num_workers,
            disable_tqdm=True,
        )
        clips = ClipDataset(rows, processor)
        return {
            "preset": arguments.preset,
            "clips": len(rows),
            "clip_size": arguments.size,
            "clip_length": arguments.length,
            "batch_size": arguments.batch_size,
            "num_workers": arguments.num_workers,
            "threads": torch.get_num_threads(),
            "device": model.device.type,
            **compare(
                lambda: plain_loop(model, processor, rows),
                lambda: predict_views(trainer, clips)[0],
                len(rows),
                arguments.rounds,
            ),
        }


if __name__ == "__main__":
    main()
