"""Cost of DAM in each variant, and of DSM, against the plain backbone, as ratios measured in one process.

    python benchmarks/overhead.py --preset base_224 --rounds 9
    python benchmarks/overhead.py --quarter --batch-size 1
    python benchmarks/overhead.py --preset x3d_s --variants normalized static --rounds 9

Each round times the plain model and HDF one after the other, so that a slow phase of the machine affects both. The
result is the ratio of the fastest calls, which noise disturbs least, with the quartiles of the rounds' ratios. Memory
is the peak that PyTorch allocates during the measured call, without weights. `--quarter` measures the first quarter of
a VideoMAE, a group of layers with its DAM. Its ratio is that of the whole model, apart from patch embedding and head.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from transformers import set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification
from modeling_hdf.backbone_hdf import as_pair
from modeling_hdf.configuration import configuration_path
from modeling_hdf.configuration_hdf import BACKBONES
from modeling_hdf.dam_hdf import VARIANTS
from modeling_hdf.training.dsm import DSM


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Peak of the memory allocated during `call`, minus the memory allocated before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    # The public event list adds allocations to the operators; the raw list has each allocation with its time.
    allocations = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(allocations, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return peak


def compare(plain: Callable[[], object], ours: Callable[[], object], rounds: int, device: torch.device) -> dict:
    """Time and memory ratios of `ours` to `plain`."""
    plain(), ours()  # warm-up
    plain_seconds, ours_seconds = [], []
    for index in range(rounds):
        # Alternate the order.
        turns = [(plain, plain_seconds), (ours, ours_seconds)]
        for call, record in reversed(turns) if index % 2 else turns:
            record.append(seconds(call, device))
    ratios = [our / their for our, their in zip(ours_seconds, plain_seconds, strict=True)]
    return {
        "time_ratio": round(min(ours_seconds) / min(plain_seconds), 4),
        "quartiles_of_rounds": [round(value, 4) for value in statistics.quantiles(ratios, n=4)],
        "memory_ratio": round(peak_bytes(ours, device) / peak_bytes(plain, device), 4),
    }


def training_step(model: torch.nn.Module, loss_function: Callable, pixel_values: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        model.train()
        loss_function(model(pixel_values)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(arguments: argparse.Namespace, variant: str, device: torch.device) -> dict:
    """Ratios of HDF with a variant of DAM to the plain backbone: forward, and training step with DSM."""
    set_seed(0)
    path = configuration_path("model", arguments.preset)
    config = HDFConfig.from_pretrained(path, dam_variant=variant, dam_init="paper")  # "paper": no gate is trivial
    backbone_config = config.backbone_config
    if arguments.quarter:
        backbone_config.num_hidden_layers //= 4
        config.dam_layers = [backbone_config.num_hidden_layers]
    hdf = HDFForVideoClassification(config).to(device).eval()
    backbone_config.num_labels = config.num_labels
    plain = BACKBONES[backbone_config.model_type].classifier_class(backbone_config).to(device).eval()
    height, width = as_pair(config.image_size)
    pixel_values = torch.randn(arguments.batch_size, config.num_frames, 3, height, width, device=device)
    labels = torch.arange(arguments.batch_size, device=device) // 2  # pairs, so that anchors have a positive
    dsm = DSM().to(device)
    with torch.no_grad():
        forward = compare(lambda: plain(pixel_values), lambda: hdf(pixel_values), arguments.rounds, device)
    step = compare(
        training_step(plain, lambda outputs: F.cross_entropy(outputs.logits, labels), pixel_values),
        training_step(hdf, lambda outputs: dsm(outputs.logits, outputs.features, labels).loss, pixel_values),
        arguments.rounds,
        device,
    )
    return {"forward": forward, "training_step": step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base_224", help="model preset (default base_224, VideoMAE-B)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["temporal", "normalized", "static"])
    parser.add_argument("--quarter", action="store_true", help="a quarter of the layers of a VideoMAE")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="at least 2 (default 9)")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        "preset": arguments.preset,
        "quarter": arguments.quarter,
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "device": device.type,
        "variants": {variant: measure(arguments, variant, device) for variant in arguments.variants},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
