"""Trains the small checkpoint that ships with the package, and installs it.

    python benchmarks/small_checkpoint.py

It runs the README's first command, `accelerate launch examples/train.py`, which takes minutes on two cores. Then it
replaces the checkpoint, its card, numbers and pictures in `modeling_hdf/pretrained`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from modeling_hdf import HDFConfig
from modeling_hdf.evaluation.results import read_results
from modeling_hdf.hub.cards import model_card
from modeling_hdf.hub.release import CONFIG, PROCESSOR, model_release
from modeling_hdf.pretrained import TINY_SYNTHETIC

ROOT = Path(__file__).parents[1]
NAME = "hdf-tiny-synthetic"


def main() -> None:
    trained = Path("outputs", NAME)
    shutil.rmtree(ROOT / trained, ignore_errors=True)  # a finished run would only be evaluated again
    command = ["accelerate.commands.accelerate_cli", "launch", "examples/train.py", "--output_dir", str(trained)]
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)
    trained = ROOT / trained
    card = model_card(HDFConfig.from_pretrained(trained), read_results(trained), shipped=NAME)
    files = model_release(trained) | {"README.md": str(card).encode()}
    target = Path(TINY_SYNTHETIC)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name, source in files.items():
        if not name.endswith(".py"):  # the package itself is the code
            (target / name).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    for name in (CONFIG, PROCESSOR):
        content = json.loads((target / name).read_text())
        content.pop("auto_map", None)  # names the code that is left out
        (target / name).write_text(json.dumps(content, indent=2) + "\n")
    print(f"the shipped checkpoint is now {target}")


if __name__ == "__main__":
    main()
