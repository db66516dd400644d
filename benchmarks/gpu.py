"""What a GPU shows: agreement with the CPU, speed and memory against plain transformers, the loader, and a training.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json
    python benchmarks/gpu.py --parts agreement 16x160 --json gpu.json

Without a GPU it says so and exits with 0. Needs one GPU of about 80 GB and takes some minutes. Each part is written to
the file as soon as it is done. A part that fails is recorded with its error, one that would begin after `--minutes` is
recorded as left out, and the exit code is then 1.

- `agreement`: logits, and the gradient of one DSM and one SAM step, in fp32, bf16 and fp16 against the CPU;
- `16x160`, `16x224`: clips per second and peak memory of VideoMAE-B in training and inference, against VideoMAE of
  transformers under the stock Trainer, in turn in one process; also with gradient checkpointing;
- `loader`: the share of the time that waits for clips, as JPEG frames and as MP4, with the recipe of DFEW;
- `ddp`: one step of two processes on the card against one process;
- `compile`: the gain of torch.compile;
- `training`: `hdf train`, the embedded data, against the CPU's figure.
"""

import argparse
import gc
import json
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gpu_agreement import agreement, ddp, training
from gpu_settings import Settings
from gpu_speed import compiled, loader, speed

from modeling_hdf.evaluation.environment import environment

PARTS: dict[str, Callable[[Settings], dict]] = {
    "agreement": agreement,
    "16x160": partial(speed, name="16x160"),
    "16x224": partial(speed, name="16x224"),
    "loader": loader,
    "ddp": ddp,
    "compile": compiled,
    "training": training,
}


class OutOfTime(BaseException):
    """A part took longer than its limit. No `Exception`, so that nothing within the part takes it for its own."""


def _stop(*_) -> None:
    raise OutOfTime


def measure(part: Callable[[Settings], dict], settings: Settings, limit: float) -> dict:
    """The result of a part with its seconds, or its error; a part is stopped after `limit` seconds."""
    signal.signal(signal.SIGALRM, _stop)
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        result = part(settings)
    except Exception as error:  # the other parts must not be lost
        result = {"error": f"{type(error).__name__}: {error}"[-3000:], "traceback": traceback.format_exc()[-3000:]}
    except OutOfTime:
        result = {"error": f"not done after {limit:.3g} s"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def run_parts(names: list[str], settings: Settings, path: Path | None, minutes: float, limit: float) -> dict:
    """Measures the parts in turn; writes what is known so far to `path` after each, with the command line."""
    end = time.monotonic() + 60 * minutes
    command = shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    record = {"command": command, "environment": {**environment(), "cores": os.cpu_count()}, "parts": {}}
    if settings.is_cuda:
        record["environment"]["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    _write(path, record)
    for name in names:
        left = end - time.monotonic()
        late = {"error": f"not begun: more than {minutes:g} minutes had passed"}
        record["parts"][name] = late if left <= 0 else measure(PARTS[name], settings, min(limit, left))
        print(json.dumps({name: record["parts"][name]}), flush=True)
        _write(path, record)
        gc.collect()  # a trainer and its model hold each other
        if settings.is_cuda:
            torch.cuda.empty_cache()
    return record


def _write(path: Path | None, record: dict) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no part after this time (default 8)")
    parser.add_argument("--limit", type=float, default=180.0, help="longest time of a part in seconds (default 180)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: nothing measured")
        return 0
    record = run_parts(options.parts, Settings(), options.json, options.minutes, options.limit)
    return int(any("error" in part for part in record["parts"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
