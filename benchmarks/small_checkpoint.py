"""Trains the small checkpoint that ships with the package, and installs it.

    python benchmarks/small_checkpoint.py

It runs `hdf train`, which takes minutes on two cores. Then it replaces the checkpoint, its card, numbers and pictures
in `modeling_hdf/pretrained`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from modeling_hdf.hub.release import CONFIG, PROCESSOR, model_release, write_model_card
from modeling_hdf.pretrained import TINY_SYNTHETIC

ROOT = Path(__file__).parents[1]
NAME = "hdf-tiny-synthetic"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    target = Path(TINY_SYNTHETIC)
    train(target)
    write_model_card(target)
    print(f"the shipped checkpoint is now {target}")


def train(target: Path) -> None:
    """Trains the checkpoint, and replaces the folder `target` by it."""
    trained = Path("outputs", NAME)
    shutil.rmtree(ROOT / trained, ignore_errors=True)  # a finished run would only be evaluated again
    subprocess.run([sys.executable, "-m", "modeling_hdf", "train", "--output_dir", str(trained)], check=True, cwd=ROOT)
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


if __name__ == "__main__":
    main()
