"""Cost of the command line and of the package's import before any work, in CPU seconds and as ratios.

    python benchmarks/startup.py

Each line is the median over new processes, run in turn. Commands: help, version, wrong calls and bad paths, which must
be answered without importing torch. Import: `import modeling_hdf` against the minimum for a VideoMAE of transformers,
its Auto classes and one model.
"""

import argparse
import os
import statistics
import subprocess
import sys

STOCK = (
    "from transformers import AutoModelForVideoClassification, AutoVideoProcessor, VideoMAEConfig\n"
    "from transformers import VideoMAEForVideoClassification\n"
    "VideoMAEForVideoClassification(VideoMAEConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, "
    "intermediate_size=8, image_size=32))\n"
)
IMPORTS = {"import modeling_hdf": "import modeling_hdf", "transformers with one VideoMAE": STOCK}
COMMANDS = (
    ["--help"],
    ["--version"],
    ["trian"],
    ["evaluate", "nowhere", "--dataset", "dfew"],
    ["data", "check", "dfew", "--data-dir", "nowhere"],
    ["train", "--recipe", "nowhere"],
    ["train", "--recip", "dfew"],
)


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)

    programs = {f"hdf {' '.join(words)}": [sys.executable, "-m", "modeling_hdf", *words] for words in COMMANDS}
    programs |= {name: [sys.executable, "-c", code] for name, code in IMPORTS.items()}
    programs["import torch"] = [sys.executable, "-c", "import torch"]
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in rounds:
        for name, command in programs.items():
            times[name].append(cpu_seconds(command))
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{'':<45} {'CPU s':>7}  share of `import torch`")
    for name, value in median.items():
        print(f"{name:<45} {value:7.2f}  {value / median['import torch']:.2f}")
    ours, stock = (median[name] for name in IMPORTS)
    print(f"import modeling_hdf / transformers with one VideoMAE: {ours / stock:.2f}")


if __name__ == "__main__":
    main()
