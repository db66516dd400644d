"""Time of one batch of clips with eager PyTorch, torch.compile, onnxruntime and onnxruntime with 8-bit weights.

    OMP_NUM_THREADS=1 python benchmarks/exported.py --model hdf-small-faces
    OMP_NUM_THREADS=1 python benchmarks/exported.py --preset small_224 --batch-size 4 --rounds 7

Each round times the four one after the other on the same clips, on the CPU. The result is the ratio of the fastest
calls to the fastest eager call, with the quartiles of the rounds' ratios, and the size of the files. A preset has
random weights, a checkpoint its own; the clips are random numbers.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import torch
from timing import as_text, ratio_of_times, seconds_in_turn
from transformers import set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.backbone_hdf import as_pair
from modeling_hdf.configuration import configuration_path
from modeling_hdf.inference.classifier import load_classifier
from modeling_hdf.inference.export import export_model, quantize_int8
from modeling_hdf.inference.onnx_model import load_onnx
from modeling_hdf.training.recipes import build_processor


def from_preset(name: str) -> tuple[HDFForVideoClassification, HDFVideoProcessor]:
    config = HDFConfig.from_pretrained(configuration_path("model", name))
    return HDFForVideoClassification(config), build_processor(config.backbone_config)


@torch.inference_mode()
def measure(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, batch_size: int, rounds: int
) -> tuple[dict[str, dict], dict[str, float]]:
    """Ratios of the times to eager PyTorch's, by the way of running, and the megabytes of the files."""
    model.eval()
    clips = torch.randn(batch_size, model.config.num_frames, 3, *as_pair(model.config.image_size))
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, processor, folder, "onnx")
        int8 = quantize_int8(folder)
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(Path(folder).glob("*.onnx"))}
        runners = {
            "eager": model,
            "torch.compile": torch.compile(model),
            "onnxruntime": load_onnx(Path(folder) / "model.onnx")[0],
            "onnxruntime, int8": int8,
        }
        calls = {name: partial(runner, pixel_values=clips) for name, runner in runners.items()}
        seconds = seconds_in_turn(calls, rounds)
    return {name: ratio_of_times(values, seconds["eager"]) for name, values in seconds.items()}, sizes


def as_markdown(ratios: dict[str, dict], sizes: dict[str, float]) -> str:
    files = {"onnxruntime": "model.onnx", "onnxruntime, int8": "model_int8.onnx"}
    lines = ["| run by | time / eager | file, MB |", "|---|---|---|"]
    for name, ratio in ratios.items():
        size = f"{sizes[files[name]]:.1f}" if name in files else ""
        lines.append(f"| {name} | {as_text(ratio)} | {size} |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", help="checkpoint: a name that ships, a folder, or a repository of the Hub")
    which.add_argument("--preset", default="small_224", help="model preset (default small_224)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7, help="at least 2 (default 7)")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args(given)
    set_seed(0)
    ratios, sizes = measure(
        *(load_classifier(options.model) if options.model else from_preset(options.preset)),
        options.batch_size,
        options.rounds,
    )
    print(as_markdown(ratios, sizes))
    if options.json is not None:
        settings = {"model": options.model or options.preset, "batch_size": options.batch_size}
        settings |= {"rounds": options.rounds, "threads": torch.get_num_threads()}
        options.json.write_text(json.dumps(settings | {"time / eager": ratios, "megabytes": sizes}, indent=2) + "\n")


if __name__ == "__main__":
    main()
