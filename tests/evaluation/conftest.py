"""A tiny model in a folder of its own, for the tests of what a record beside it says."""

import shutil
from pathlib import Path

import pytest
from evaluated_models import save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def saved_model(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))
