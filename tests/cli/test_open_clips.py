"""The commands of the pages on RAVDESS and CREMA-D, run as they stand there on small copies that show faces."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import datasets
import pytest
from face_clips import place_faces, straight
from trees import write_cremad, write_ravdess

from modeling_hdf.cli.main import main
from modeling_hdf.data import CREMAD, RAVDESS, encode_mp4

DOCS = Path(__file__).parents[2] / "docs"
SHORT = {"data faces": ("--workers", "1", "--size", "64"), "evaluate": ("--resamples", "5", "--output", "out")}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def face() -> bytes:
    """A video of a moving face, small in the picture."""
    return encode_mp4(place_faces({0: straight((40, 40), (60, 50), 6)}, 6, size=(240, 320)), fps=25)


def show(clips: list[Path], face: bytes) -> None:
    for path in clips:
        path.write_bytes(face)


def lines_of(page: str, *words: str) -> list[str]:
    """The lines of the page's shell block that holds all words."""
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if all(word in block for word in words))
    return [line for line in block.replace("\\\n", " ").splitlines() if line]


def run(line: str) -> int:
    if not line.startswith("hdf "):
        return subprocess.run(line, shell=True).returncode
    words = shlex.split(line, comments=True)[1:]
    more = next((options for name, options in SHORT.items() if " ".join(words).startswith(name)), ())
    return main([*words, *more])


def test_cremad_is_cropped_and_every_clip_measured_by_group(folder, face):
    expected = write_cremad(folder / "CREMA-D", (1002, 1006))
    show(sorted((folder / "CREMA-D" / "VideoFlash").iterdir()), face)
    lines = lines_of("real-faces.md", "data faces CREMA-D", "evaluate")
    assert [run(line) for line in lines] == [0, 0, 0]
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert (metrics["num_clips"], metrics["split"], metrics["fold"]) == (len(expected), "all", None)
    assert set(metrics["groups"]) == {"sex", "race", "ethnicity", "age"}
    assert metrics["groups"]["sex"]["groups"].keys() == {"female", "male"}


def test_cremad_is_cropped_for_training_with_its_tables(folder, face):
    write_cremad(folder / "CREMA-D", (1001, 1003, 1006))
    show(sorted((folder / "CREMA-D" / "VideoFlash").iterdir()), face)
    lines = [line for line in lines_of("train.md", "data faces CREMA-D") if "CREMA-D" in line]
    assert [run(line) for line in lines if "hdf train" not in line] == [0, 0]
    (train,) = (line for line in lines if "hdf train" in line)
    assert "--data-dir CREMA-D_faces --fold 1" in train
    builder = CREMAD(config_name="fold1", data_dir="CREMA-D_faces", cache_dir=str(folder / "cache"))
    builder.download_and_prepare()
    rows = builder.as_dataset(split="test")
    assert len(rows) == 6 and all("CREMA-D_faces/VideoFlash/1006" in row["clip"]["path"] for row in rows)
    assert all(row["votes"] and row["sex"] and row["age"] for row in rows)


def test_each_take_of_ravdess_is_cropped_once(folder, face):
    write_ravdess(folder / "RAVDESS", (2,))
    takes = sorted((folder / "RAVDESS").rglob("*.mp4"))
    kept = [path for path in takes if path.name[3:].startswith(("01-03-01", "01-05-01"))]
    for path in set(takes) - set(kept):
        path.unlink()
    show(kept, face)
    assert {path.name[:3] for path in kept} == {"01-", "02-"} and len(kept) == 16
    lines = lines_of("train.md", "data faces RAVDESS")
    (crop,) = (line for line in lines if "data faces RAVDESS" in line)
    (train,) = (line for line in lines if "recipe ravdess" in line)
    assert run(crop) == 0 and "--data-dir RAVDESS_faces --fold 1" in train
    cropped = {path.name for path in (folder / "RAVDESS_faces").rglob("*.mp4")}
    assert cropped == {path.name for path in kept if path.name.startswith("01-")}
    config = RAVDESS.BUILDER_CONFIG_CLASS(name="fold1", data_dir="RAVDESS_faces", cut_splits=())
    used = {Path(clip.path).name for clip in config.listing.clips if Path(clip.path).is_file()}
    assert used == cropped


def test_a_pattern_that_no_clip_fits_is_named(folder, face, capsys):
    write_cremad(folder / "CREMA-D", (1001,))
    assert run("hdf data faces CREMA-D out --only '01-*'") == 1
    assert "CREMA-D: holds no video and no image whose name fits '01-*'" in capsys.readouterr().err
