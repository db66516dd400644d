"""The wheel, in an environment and a folder without the source: every command of the main job runs, and the web page.

    python tests/environments/wheel.py [ENVIRONMENT]

Builds the wheel, installs it with what it needs into a fresh virtual environment (or into the one that is given), and
there trains, predicts, evaluates, writes a report, and trains again by `accelerate launch -m modeling_hdf`, on a
handful of the embedded faces. Then it does what the Dockerfile does: it installs the extras, runs the command, and
asks for the page. Needs the package registry.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from page import wait_for_page

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
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
        extras = re.search(r"\.whl\)(\[.*?\])", DOCKERFILE)[1]
        subprocess.run([environment / "bin" / "pip", "install", "-q", f"{wheel}{extras}"], check=True)
        check_page(environment / "bin", work / "elsewhere")


def check(bin_folder: Path, folder: Path) -> None:
    """Runs the commands in `folder`."""
    folder.mkdir()
    variables = environment_variables(folder)

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


def environment_variables(folder: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return variables | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def check_page(bin_folder: Path, folder: Path) -> None:
    """The default command of the Dockerfile serves the page."""
    program, *arguments = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    command = [bin_folder / program, *arguments, "--port", str(port)]
    print("$", *command, flush=True)
    server = subprocess.Popen(command, cwd=folder, env=environment_variables(folder))
    try:
        wait_for_page(f"http://127.0.0.1:{port}")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


if __name__ == "__main__":
    main()
