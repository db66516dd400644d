"""A tiny model in a folder of its own, and small data, for the tests of what a record beside the model says."""

import shutil
from pathlib import Path

import pytest
from evaluated_models import save_model
from trees import write_dfew


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def saved_model(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def dfew(tmp_path) -> Path:
    write_dfew(tmp_path / "dfew")
    return tmp_path / "dfew"
