"""Time of one batch of clips with eager PyTorch, torch.compile, onnxruntime and onnxruntime with 8-bit weights.

    OMP_NUM_THREADS=1 python benchmarks/exported.py --preset small_224 --batch-size 4 --rounds 7

Each round times the four one after the other on the same clips, on the CPU. The result is the ratio of the fastest
calls to the fastest eager call, with the quartiles of the rounds' ratios, and the size of the files. The weights are
random.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification
from modeling_hdf.configuration import configuration_path
from modeling_hdf.inference.export import export_model, quantize_int8
from modeling_hdf.inference.onnx_model import load_onnx
from modeling_hdf.training.recipes import build_processor


@torch.inference_mode()
def time_in_turn(runners: dict, clips: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of each runner in each round, after a first call that compiles and warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        runner(pixel_values=clips)
    for _ in range(rounds):
        for name, runner in runners.items():
            start = time.perf_counter()
            runner(pixel_values=clips)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(preset: str, batch_size: int, rounds: int) -> dict:
    """Ratios of the times, and megabytes of the files."""
    set_seed(0)
    model = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", preset))).eval()
    config = model.config
    clips = torch.randn(batch_size, config.num_frames, 3, config.image_size, config.image_size)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, build_processor(config.backbone_config), folder, "onnx")
        int8 = quantize_int8(folder)
        sizes = {path.name: round(path.stat().st_size / 1e6, 1) for path in Path(folder).glob("*.onnx")}
        runners = {
            "eager": model,
            "torch.compile": torch.compile(model),
            "onnxruntime": load_onnx(Path(folder) / "model.onnx")[0],
            "onnxruntime, int8": int8,
        }
        seconds = time_in_turn(runners, clips, rounds)
    result = {"preset": preset, "batch_size": batch_size, "rounds": rounds, "threads": torch.get_num_threads()}
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, seconds["eager"], strict=True)]
        result[name] = {
            "time / eager": round(min(values) / min(seconds["eager"]), 3),
            "quartiles_of_rounds": [round(value, 3) for value in statistics.quantiles(ratios, n=4)],
        }
    return result | {"megabytes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small_224", help="model preset (default small_224)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7, help="at least 2 (default 7)")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args()
    text = json.dumps(measure(options.preset, options.batch_size, options.rounds), indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
