"""The wheel, in an environment and a folder without the source: every command of the main job runs.

    python tests/environments/wheel.py [ENVIRONMENT]

Builds the wheel, installs it with what it needs into a fresh virtual environment (or into the one that is given), and
there trains, predicts, evaluates, writes a report, and trains again by `accelerate launch -m modeling_hdf`, on a
handful of the embedded faces. Needs the package registry.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIPS = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
TRAIN = (
    "--dataset_overrides",
    json.dumps(CLIPS),
    "--max_steps",
    "2",
    "--use_cpu",
    "true",
    "--frame_controls",
    "false",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path, nargs="?", help="a virtual environment to install into")
    given = parser.parse_args().environment
    with tempfile.TemporaryDirectory() as work_folder:
        work = Path(work_folder)
        subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", work, ROOT], check=True)
        (wheel,) = work.glob("*.whl")
        environment = given or work / "venv"
        if given is None:
            venv.create(environment, with_pip=True)
        started = time.monotonic()
        subprocess.run([environment / "bin" / "pip", "install", "-q", wheel], check=True)
        print(f"installed the wheel in {time.monotonic() - started:.0f} s")
        check(environment / "bin", work / "elsewhere")


def check(bin_folder: Path, folder: Path) -> None:
    """Runs the commands in `folder`."""
    folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def run(program: str, *arguments: str) -> str:
        print("$", program, *arguments, flush=True)
        done = subprocess.run(
            [bin_folder / program, *arguments], cwd=folder, env=variables, text=True, capture_output=True
        )
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    place = run("python", "-c", "import modeling_hdf; print(modeling_hdf.__file__)").strip()
    assert Path(place).is_relative_to(bin_folder.parent.resolve()), place
    trained = json.loads(run("hdf", "train", *TRAIN, "--output_dir", "run", "--json"))
    clips = sorted(str(path) for path in (folder / "run" / "test_clips").glob("*.mp4"))
    predictions = json.loads(run("hdf", "predict", "--whole", "--model", "run", *clips, "--json"))["predictions"]
    assert len(predictions) == len(clips) == 7
    data = ("--dataset", "synthetic", "--overrides", json.dumps(CLIPS))
    measured = json.loads(run("hdf", "evaluate", "run", *data, "--output", "evaluation", "--json"))
    assert abs(measured["war"] - trained["war"]) < 1e-6 and measured["num_clips"] == 7
    run("hdf", "report", "run", "--output", "page.html")
    assert (folder / "page.html").stat().st_size > 10_000
    launch = ("launch", "--cpu", "--num_processes", "1", "-m", "modeling_hdf", "train")
    run("accelerate", *launch, *TRAIN, "--output_dir", "again")
    assert (folder / "again" / "metrics.json").is_file()
    print("the wheel works")


if __name__ == "__main__":
    main()
