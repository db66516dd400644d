"""The notebooks of `examples/`: they run from the first cell to the last, and the committed ones show pictures."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_clips import FACE, place_faces, straight, write_clip
from matplotlib import pyplot

from modeling_hdf import SMALL_FACES
from modeling_hdf.cli.commands import build_parser
from modeling_hdf.cli.training import whole_parser
from modeling_hdf.data import load_clip

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
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
def test_options_in_the_text_exist(path):
    text = " ".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    predict = build_parser()._subparsers._group_actions[0].choices["predict"]
    known = {*predict._option_string_actions, *whole_parser("train")._option_string_actions}
    named = set(re.findall(r"(?<![\w-])--[\w-]+", text))
    assert named and named <= known


@notebooks
@pytest.mark.slow
def test_a_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, 4)
    before = [sorted(output.get("data", {})) for output in outputs(notebook)]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [sorted(output.get("data", {})) for output in outputs(notebook)] == before
    assert list(tmp_path.iterdir()) == []  # it works in a folder of its own


def run_cells(name: str, own: dict[str, str], only: set[str] | None = None) -> dict[str, Any]:
    """
    Runs the code of a notebook in this process, which saves the time of a kernel.

    Args:
        name: the notebook.
        own: code that takes the place of a cell, by the id of the cell.
        only: ids of the cells to run; all by default.

    Returns:
        The names that the cells have set.
    """
    names: dict[str, Any] = {}
    for cell in nbformat.read(FOLDER / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code" and (only is None or cell.id in only):
            exec(own.get(cell.id, cell.source), names)
    return names


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def test_expressions_over_time_runs_on_a_short_fast_video_of_two_people(tmp_path):
    paths = {0: straight((20, 10), (100, 100), 60), 3: straight((330, 120), (250, 20), 60)}
    raw = place_faces(paths, 60)
    path = write_clip(tmp_path / "two.mp4", raw, rate=30)
    names = run_cells("expressions_over_time", {"video": f"video = {str(path)!r}"})
    assert sorted(names["summary"]["person"]) == [1, 2] and names["timeline"].end == pytest.approx(2.0, abs=0.05)
    titles = [axis.get_title() for axis in names["axes"]]
    assert titles == ["0.3 s", "1.0 s", "1.7 s"]
    for axis, time in zip(names["axes"], (1 / 3, 1.0, 5 / 3), strict=True):
        (image,) = axis.get_images()
        shown = np.asarray(image.get_array()).astype(int)
        nearest = min(range(60), key=lambda number: np.abs(shown - raw[number]).mean())
        assert abs(nearest - 30 * time) <= 1  # the faces move with each frame
        for left, top in (path[nearest].astype(int) for path in paths.values()):
            face = np.s_[top : top + FACE, left : left + FACE]
            assert np.abs(shown - raw[nearest])[face].max() > 100  # a box is drawn there


def test_expressions_over_time_runs_on_a_video_without_a_face(tmp_path):
    path = write_clip(tmp_path / "wall.mp4", place_faces({}, 10))
    names = run_cells("expressions_over_time", {"video": f"video = {str(path)!r}"})
    assert names["timeline"].people == [] and names["summary"].empty and len(names["axes"]) == 3


def test_the_clips_of_ones_own_folder_are_shown_and_classified(tmp_path):
    for label, identity in (("calm", 0), ("tense", 3)):
        folder = tmp_path / "clips" / label
        folder.mkdir(parents=True)
        (folder / ".DS_Store").touch()
        for name in ("b", "a"):
            frames = place_faces({identity: straight((0, 0), (6, 6), 7)}, 7, size=(140, 140))
            write_clip(folder / f"{name}.mkv", frames)
    code = f"from pathlib import Path\nclips, run = Path({str(tmp_path / 'clips')!r}), {str(SMALL_FACES)!r}"
    names = run_cells("fine_tune_on_my_folder", {"folder": code}, {"folder", "look", "use"})
    assert names["axes"].shape == (2, 5) and [row[0].get_title() for row in names["axes"]] == ["calm", "tense"]
    first = load_clip({"clip": tmp_path / "clips" / "tense" / "a.mkv"})
    np.testing.assert_array_equal(names["axes"][1, 2].get_images()[0].get_array(), first[3])
