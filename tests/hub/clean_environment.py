"""A model pushed here loads in a fresh virtual environment without this package, and gives the same numbers.

    python tests/hub/clean_environment.py [ENVIRONMENT]

Pushes a small model with `hdf push` to the Hub emulator, installs transformers, torch, torchvision and av (nothing
else by name; the versions of this environment) into a virtual environment of its own, which may be named and is then
kept, and loads the model there by every Auto class and the pipeline, on a video file. Needs the package registry.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support")]
PACKAGES = ("transformers", "torch", "torchvision", "av")
REPOSITORY = "org/hdf-dfew"


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
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else work / "venv"
        venv.create(folder, with_pip=True)
        python = str(folder.absolute() / "bin" / "python")
        wanted = [f"{name}=={version(name)}" for name in PACKAGES]
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-compile", *wanted], env=environment, check=True
        )
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
