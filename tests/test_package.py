import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import modeling_hdf
from modeling_hdf.configuration import configuration_path

ROOT = Path(__file__).parents[1]


def test_import_registers_the_auto_classes_without_datasets_or_matplotlib():
    code = (
        "import sys, modeling_hdf\n"
        "from transformers import AutoModelForVideoClassification\n"
        "assert type(modeling_hdf.HDFConfig()) in AutoModelForVideoClassification._model_mapping\n"
        "print([name for name in ('datasets', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_dir_shows_what_is_public_and_nothing_else():
    shown = dir(modeling_hdf)
    assert {"HDFTrainer", "HDFTrainingArguments", "DAM", "TINY_SYNTHETIC", "__version__"} <= set(shown)
    assert not {"AutoConfig", "AutoModel", "TYPE_CHECKING"} & set(shown)
    assert modeling_hdf.__version__ == version("hdf-dfer")


@pytest.mark.parametrize("name", ["data", "training", "evaluation", "faces"])
def test_subpackages_say_what_is_in_them(name):
    package = import_module(f"modeling_hdf.{name}")
    assert len(package.__doc__.strip().splitlines()) > 3
    for public in package.__all__:
        assert getattr(package, public) is not None


def test_public_names_exist():
    for name in set(modeling_hdf.__all__) - {"TINY_SYNTHETIC"}:
        assert getattr(modeling_hdf, name).__name__ == name
    assert Path(modeling_hdf.TINY_SYNTHETIC).is_dir()
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
