"""Trains the small checkpoint that ships with the package, and installs it.

    python benchmarks/small_checkpoint.py
    python benchmarks/small_checkpoint.py --gates DIR

It runs the README's first command, `accelerate launch examples/train.py`, which takes minutes on two cores. Then it
replaces the checkpoint, its card, numbers and pictures in `modeling_hdf/pretrained`. `--gates` trains nothing: it
takes the figures of the gates from what `hdf evaluate hdf-tiny-synthetic --dataset synthetic --output DIR` wrote, and
writes the card again.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from modeling_hdf.evaluation.results import read_results
from modeling_hdf.hub.release import CONFIG, PROCESSOR, model_release, write_model_card
from modeling_hdf.pretrained import TINY_SYNTHETIC

ROOT = Path(__file__).parents[1]
NAME = "hdf-tiny-synthetic"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=Path, metavar="DIR", help="only take the figures of the gates from DIR")
    options = parser.parse_args()
    target = Path(TINY_SYNTHETIC)
    if options.gates is None:
        train(target)
    else:
        take_gates(options.gates, target)
    write_model_card(target)
    print(f"the shipped checkpoint is now {target}")


def train(target: Path) -> None:
    """Trains the checkpoint, and replaces the folder `target` by it."""
    trained = Path("outputs", NAME)
    shutil.rmtree(ROOT / trained, ignore_errors=True)  # a finished run would only be evaluated again
    command = ["accelerate.commands.accelerate_cli", "launch", "examples/train.py", "--output_dir", str(trained)]
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)
    files = model_release(ROOT / trained)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name, source in files.items():
        if not name.endswith(".py"):  # the package itself is the code
            (target / name).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    for name in (CONFIG, PROCESSOR):
        content = json.loads((target / name).read_text())
        content.pop("auto_map", None)  # names the code that is left out
        (target / name).write_text(json.dumps(content, indent=2) + "\n")


def take_gates(evaluated: Path, target: Path) -> None:
    """Puts `gate_liveness` of an evaluation into the results of the checkpoint in `target`; they must be of the same
    answers to the same clips."""
    results, again = read_results(target), read_results(evaluated, require=["gate_liveness"])
    if (again.dataset, again.split, again.confusion_matrix) != (
        results.dataset,
        results.split,
        results.confusion_matrix,
    ):
        raise SystemExit(f"{again.source}: is no evaluation of {target} on its test clips.")
    replace(results, gate_liveness=again.gate_liveness).write(target)


if __name__ == "__main__":
    main()
