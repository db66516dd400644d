"""A pushed model in an environment that has never had this package.

    python tests/hub/clean_environment.py              # with the versions of this environment
    python tests/hub/clean_environment.py --lowest     # with the lowest that the package takes
    python tests/hub/clean_environment.py --newest     # with the newest that the package takes

Pushes a small model with `hdf push` to the Hub emulator, installs transformers, torch, torchvision and av (nothing
else by name) into a virtual environment of its own, which may be named and is then kept, and loads the model there by
every Auto class and the pipeline, on a video file. Needs the package registry.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support")]
PACKAGES = ("transformers", "torch", "torchvision", "av")
REPOSITORY = "org/hdf-dfew"


def wanted_packages(versions: str) -> list[str]:
    """Requirements of the environment that loads: `"lowest"`, `"newest"` or `"same"`."""
    if versions == "same":
        return [f"{name}=={version(name)}" for name in PACKAGES]
    needed = [bound for bound in map(Requirement, requires("hdf-dfer")) if bound.marker is None]  # of no extra
    bounds = {bound.name: bound.specifier for bound in needed}
    if versions == "newest":
        return [f"{name}{bounds[name]}" for name in PACKAGES]
    lowest = {name: next(part.version for part in bounds[name] if part.operator == ">=") for name in PACKAGES}
    return [f"{name}=={lowest[name]}" for name in PACKAGES]


def save_model(folder: Path) -> None:
    """A small model whose DAM weights are away from their start values, and its processor."""
    from tiny_models import move_dam_weights, tiny_config
    from transformers import set_seed

    from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor

    set_seed(0)
    move_dam_weights(HDFForVideoClassification(tiny_config())).save_pretrained(folder)
    size = {"height": 16, "width": 24}
    HDFVideoProcessor(num_frames=4, size={"shortest_edge": 24}, crop_size=size).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    for name in ("lowest", "newest"):
        choice.add_argument(f"--{name}", dest="versions", action="store_const", const=name, default="same")
    parser.add_argument("environment", type=Path, nargs="?", help="where to make the virtual environment, and keep it")
    arguments = parser.parse_args()
    wanted = wanted_packages(arguments.versions)

    from hub_emulator import WRITE_TOKEN, HubEmulator
    from round_trip import compare
    from video_files import write_video

    with tempfile.TemporaryDirectory() as work_folder, HubEmulator() as hub:
        work = Path(work_folder)
        save_model(work / "model")
        video = write_video(work / "face.mp4", 20)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        online = {
            **environment,
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": WRITE_TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        push = [sys.executable, "-m", "modeling_hdf", "push", str(work / "model"), REPOSITORY]
        subprocess.run(push, env={**online, "HF_HOME": str(work / "pushing")}, check=True)

        started = time.monotonic()
        folder = arguments.environment or work / "venv"
        python = str(folder.absolute() / "bin" / "python")
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--seed", "--python", sys.executable, str(folder)], env=environment, check=True)
        subprocess.run([*uv, "pip", "install", "--python", python, *wanted], env=environment, check=True)
        print(f"installed {' '.join(wanted)} in {time.monotonic() - started:.0f} s", flush=True)

        load = [python, "-I", str(HERE / "load_from_hub.py"), REPOSITORY, str(video)]
        loading = {**online, "HF_HOME": str(work / "loading")}
        run = subprocess.run(load, env=loading, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
        got = compare(run.stdout, work / "model", video)
        assert not got["package"], "the package can be imported there, so this run would prove nothing"
        best = got["pipeline"][0]
        print(f"loaded {', '.join(got['classes'])} without the package; {best['label']} {best['score']:.4f}")


if __name__ == "__main__":
    main()
