"""Runs the common tests of transformers on the classes of this package.

The test mixins of transformers are part of its source distribution only. This script downloads the pinned one into a
temporary folder, puts `test_*.py` of this folder beside them and runs pytest there; it exits with pytest's code.
Arguments that it does not know go to pytest.

    python tests/common/run.py
    python tests/common/run.py --sdist transformers-5.23.0.tar.gz -k video_processing -x
"""

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TRANSFORMERS_VERSION = "5.23.0"

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# What the mixins import from test files that the source distribution leaves out. Export and generation have no
# meaning for a video classifier outside the library; the table lists fields that every configuration takes.
STUBS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def download_sdist(folder: Path) -> Path:
    """Downloads the pinned source distribution of transformers into `folder`."""
    requirement = f"transformers=={TRANSFORMERS_VERSION}"
    command = ["download", "--quiet", "--no-deps", "--no-binary", "transformers", "--dest", str(folder), requirement]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True)
    return next(folder.glob("transformers-*.tar.gz"))


def lay_out(sdist: Path, folder: Path) -> Path:
    """Puts the mixins, the stubs and our tests into `folder`; returns the folder of our tests."""
    with tarfile.open(sdist) as archive:
        prefix = f"transformers-{TRANSFORMERS_VERSION}/"
        for member in archive.getmembers():
            if member.name.startswith(f"{prefix}tests/"):
                member.name = member.name.removeprefix(prefix)
                archive.extract(member, folder, filter="data")
    ours = folder / "tests" / "hdf"
    for name, content in {**STUBS, "hdf/__init__.py": ""}.items():
        path = folder / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    for path in HERE.glob("test_*.py"):
        shutil.copy(path, ours)
    return ours


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdist", type=Path, help="source distribution of transformers that is already there")
    parser.add_argument("--version", action="version", version=TRANSFORMERS_VERSION)
    arguments, pytest_arguments = parser.parse_known_args()

    installed = importlib.metadata.version("transformers")
    if installed != TRANSFORMERS_VERSION:
        raise SystemExit(
            f"transformers {installed} is installed, but its common tests are pinned to {TRANSFORMERS_VERSION}; "
            f"pip install transformers=={TRANSFORMERS_VERSION}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        ours = lay_out(arguments.sdist or download_sdist(folder), folder)
        python_path = os.pathsep.join([str(folder), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": python_path.rstrip(os.pathsep), "HF_HUB_OFFLINE": "1"}
        options = ["-W", "ignore::pytest.PytestUnknownMarkWarning", "-p", "no:cacheprovider", "--rootdir", str(folder)]
        command = [sys.executable, "-m", "pytest", *options, *pytest_arguments, str(ours)]
        return subprocess.run(command, cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
