"""Clips per second of each checkpoint that ships, on one thread of the CPU.

    python benchmarks/checkpoint_speed.py --rounds 15

`model` is the model alone, on a batch of prepared clips; `with reading` also decodes an MP4 file for each clip and
prepares it. The checkpoints take turns in one process. Clips per second are those of the fastest round; the ratio is
that of the time to the first checkpoint's, with the quartiles of the rounds' ratios.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenCV are imported

import json
from collections.abc import Callable
from pathlib import Path

import torch
from timing import as_text, ratio_of_times, seconds_in_turn

from modeling_hdf.inference.classifier import load_classifier
from modeling_hdf.pretrained import SHIPPED

VIDEO = Path(__file__).parents[1] / "examples" / "face.mp4"
KINDS = ("model", "with reading")


def calls_of(name: str, num_clips: int, video: str) -> dict[str, Callable[[], object]]:
    """What is timed of a checkpoint, by kind."""
    model, processor = load_classifier(name)
    model.eval()
    prepared = processor([video] * num_clips, return_tensors="pt").pixel_values

    def answer(pixel_values: torch.Tensor) -> torch.Tensor:
        return model(pixel_values=pixel_values).logits

    return {
        "model": lambda: answer(prepared),
        "with reading": lambda: answer(processor([video] * num_clips, return_tensors="pt").pixel_values),
    }


@torch.inference_mode()
def measure(names: list[str], video: str, num_clips: int, rounds: int) -> dict[str, dict]:
    """Clips per second and the ratio of the times to those of the first, by checkpoint and kind."""
    calls = {name: calls_of(name, num_clips, video) for name in names}
    seconds = {kind: seconds_in_turn({name: each[kind] for name, each in calls.items()}, rounds) for kind in KINDS}
    return {
        name: {
            kind: {"clips_per_second": num_clips / min(times[name]), **ratio_of_times(times[name], times[names[0]])}
            for kind, times in seconds.items()
        }
        for name in names
    }


def as_markdown(found: dict[str, dict]) -> str:
    first = next(iter(found))
    lines = [f"| checkpoint | clips/s, model | its time / `{first}` | clips/s, with reading | its time / `{first}` |"]
    lines.append("|---|---|---|---|---|")
    for name, kinds in found.items():
        cells = [f"`{name}`"]
        for kind in KINDS:
            cells += [f"{kinds[kind]['clips_per_second']:.0f}", as_text(kinds[kind])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", default=str(VIDEO), help="of one face, default examples/face.mp4")
    parser.add_argument("--num-clips", type=int, default=32, help="in a batch, default 32")
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    found = measure(list(SHIPPED), options.video, options.num_clips, options.rounds)
    print(as_markdown(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
