"""The notebooks of `examples/`: they run from the first cell to the last, and the committed ones show pictures."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook) -> list:
    """All outputs but progress bars and warnings."""
    every = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output for output in every if output.output_type != "stream"]


def test_there_are_two():
    assert len(NOTEBOOKS) == 2


@notebooks
def test_committed_outputs_show_pictures_and_no_error_and_no_place_of_a_machine(path):
    notebook = nbformat.read(path, 4)
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert all(output.output_type != "error" for output in outputs(notebook))
    texts = str([{**output, "data": output.get("data", {}) | {"image/png": ""}} for output in outputs(notebook)])
    assert re.findall(r"/(?:tmp|root|home|Users)/", texts) == []


@notebooks
@pytest.mark.slow
def test_a_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, 4)
    before = [sorted(output.get("data", {})) for output in outputs(notebook)]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [sorted(output.get("data", {})) for output in outputs(notebook)] == before
    assert list(tmp_path.iterdir()) == []  # it works in a folder of its own
