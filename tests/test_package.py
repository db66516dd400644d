import re
import shutil
import subprocess
import sys
import tarfile
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import modeling_hdf
from modeling_hdf.configuration import configuration_path
from modeling_hdf.requirements_hdf import LOWEST_TRANSFORMERS

ROOT = Path(__file__).parents[1]


def test_import_registers_the_auto_classes_and_loads_no_module_of_training():
    code = (
        "import sys, modeling_hdf\n"
        "from transformers import AutoModelForVideoClassification\n"
        "assert type(modeling_hdf.HDFConfig()) in AutoModelForVideoClassification._model_mapping\n"
        "ours = [name.removeprefix('modeling_hdf.') for name in sys.modules if name.startswith('modeling_hdf.')]\n"
        "print(sorted(name for name in ours if not name.endswith('_hdf')))\n"
        "print([name for name in ('datasets', 'matplotlib') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.splitlines() == [
        "['inference', 'inference.classifier', 'inference.pipeline', 'pretrained']",
        "[]",
    ]


def test_dir_shows_what_is_public_and_nothing_else():
    shown = dir(modeling_hdf)
    assert {"HDFTrainer", "HDFTrainingArguments", "DAM", "TINY_SYNTHETIC", "__version__"} <= set(shown)
    assert not {"AutoConfig", "AutoModel", "TYPE_CHECKING"} & set(shown)
    assert modeling_hdf.__version__ == version("hdf-dfer")


@pytest.mark.parametrize("name", ["data", "training", "evaluation", "faces", "inference"])
def test_subpackages_say_what_is_in_them(name):
    package = import_module(f"modeling_hdf.{name}")
    assert len(package.__doc__.strip().splitlines()) > 3
    for public in package.__all__:
        assert getattr(package, public) is not None


def test_public_names_exist():
    for name in set(modeling_hdf.__all__) - {"SMALL_FACES", "TINY_SYNTHETIC"}:
        assert getattr(modeling_hdf, name).__name__ == name
    assert Path(modeling_hdf.TINY_SYNTHETIC).is_dir() and Path(modeling_hdf.SMALL_FACES).is_dir()
    with pytest.raises(AttributeError, match="HDFNothing"):
        modeling_hdf.HDFNothing  # noqa: B018


def test_configuration_files_are_found_by_name_and_by_path(tmp_path):
    assert configuration_path("train", "synthetic").name == "synthetic.yaml"
    own = tmp_path / "own.json"
    own.write_text("{}")
    assert configuration_path("model", str(own)) == own
    with pytest.raises(FileNotFoundError, match="huge.*base_160.*tiny"):
        configuration_path("model", "huge")


@pytest.mark.parametrize("path", sorted(ROOT.glob("modeling_hdf/*_hdf.py")), ids=lambda path: path.name)
def test_files_that_travel_to_the_hub_import_each_other_with_one_dot_only(path):
    imports = re.findall(r"^\s*from\s+(\.\S*)\s+import", path.read_text(), flags=re.MULTILINE)
    siblings = {f".{sibling.stem}" for sibling in ROOT.glob("modeling_hdf/*_hdf.py")}
    assert set(imports) <= siblings
    assert not re.search(r"^\s*(from|import)\s+modeling_hdf", path.read_text(), flags=re.MULTILINE)


def test_an_older_transformers_is_refused_in_words(tmp_path):
    """Each file that loading as remote code starts from, beside a transformers that has nothing but its version."""
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text('__version__ = "4.57.6"\n')
    (tmp_path / "remote").mkdir()
    for path in ROOT.glob("modeling_hdf/*_hdf.py"):
        shutil.copy(path, tmp_path / "remote")
    for module in ("configuration_hdf", "video_processing_hdf"):
        command = [sys.executable, "-c", f"import remote.{module}"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 1
        message = f"HDF needs transformers >= {LOWEST_TRANSFORMERS}; this is 4.57.6: pip install -U transformers"
        assert run.stderr.splitlines()[-1] == f"ImportError: {message}"


def test_the_lowest_transformers_is_that_of_the_package():
    (bound,) = (line for line in requires("hdf-dfer") if re.match(r"transformers\b", line))
    assert f">={LOWEST_TRANSFORMERS}" in bound.split("transformers")[1].split(",")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git tells what the source distribution has to hold")
def test_the_source_distribution_holds_what_git_does(tmp_path):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for name in files:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    build = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "tree", capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert files - held == set()
