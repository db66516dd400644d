"""`hdf data publish` against the emulator, and `load_dataset` from it."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from hub_emulator import Fault
from huggingface_hub import DatasetCard, HfApi

from modeling_hdf.cli.main import main

TINY = {"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
FILES = {"README.md", *(f"data/{split}-00000.parquet" for split in ("train", "validation", "test"))}
LOAD = """
import json, sys
from datasets import Video, load_dataset
splits = load_dataset("org/faces", revision=sys.argv[1])
rows = splits["test"].cast_column("clip", Video(decode=False))
print(json.dumps([splits.num_rows, rows["label"][:], [clip["path"] for clip in rows["clip"]],
                  sum(len(clip["bytes"]) for clip in rows["clip"])]))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def publish(out, *arguments, **changes) -> int:
    fields = json.dumps(TINY | changes)
    return main(["data", "publish", "synthetic", str(out), "--overrides", fields, "--repo", "org/faces", *arguments])


def written(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_published_dataset_loads_from_the_hub(online, run_client, tmp_path):
    assert publish(tmp_path / "out", "--private", "--revision", "v1") == 0
    assert online.repositories["dataset", "org/faces"].private
    assert online.files("org/faces", "main", "dataset") == {}
    pushed = online.files("org/faces", "v1", "dataset")
    assert set(pushed) == FILES and pushed == written(tmp_path / "out")
    card = DatasetCard(pushed["README.md"].decode())
    assert card.data.license == "cc0-1.0" and 'load_dataset("org/faces"' in card.text
    loaded = run_client("-c", LOAD, "v1")
    assert loaded.returncode == 0, loaded.stderr
    num_rows, labels, paths, size = json.loads(loaded.stdout.splitlines()[-1])
    here = load_dataset("parquet", data_files=str(tmp_path / "out/data/test-*"), split="train")
    here = here.with_format("arrow")[:]
    assert num_rows == {"train": 7, "validation": 7, "test": 7}
    assert labels == here["label"].to_pylist()
    assert paths == [clip["path"] for clip in here["clip"].to_pylist()]
    assert size == sum(len(clip["bytes"]) for clip in here["clip"].to_pylist())


def test_a_dry_run_writes_what_a_push_pushes(online, tmp_path):
    assert publish(tmp_path / "dry", "--dry-run") == 0
    assert not online.requests
    assert publish(tmp_path / "out") == 0
    assert written(tmp_path / "dry") == written(tmp_path / "out") == online.files("org/faces", kind="dataset")


def test_a_push_that_breaks_off_is_completed_by_the_same_command(online, tmp_path, capsys):
    online.faults = [Fault("PUT", "/lfs/", "cut")]
    assert publish(tmp_path / "out") == 1
    assert "repeat the command" in capsys.readouterr().err
    assert online.files("org/faces", kind="dataset") == {}
    online.faults = []
    assert publish(tmp_path / "out") == 0
    assert set(online.files("org/faces", kind="dataset")) == FILES
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["out"]


def test_a_folder_that_was_only_written_can_be_pushed_and_moved(online, tmp_path):
    out = tmp_path / "out"
    assert main(["data", "publish", "synthetic", str(out), "--overrides", json.dumps(TINY)]) == 0
    assert 'load_dataset("org/faces"' not in (out / "README.md").read_text()
    assert publish(out) == 0
    pushed = online.files("org/faces", kind="dataset")
    assert pushed == written(out) and b'load_dataset("org/faces"' in pushed["README.md"]
    assert publish(out, "--repo", "org/others") == 0
    assert b'load_dataset("org/others"' in online.files("org/others", kind="dataset")["README.md"]


def test_a_card_that_somebody_changed_is_not_replaced(online, tmp_path, capsys):
    assert publish(tmp_path / "out", "--dry-run") == 0
    with open(tmp_path / "out/README.md", "a") as card:
        card.write("Thanks to all.")
    before = written(tmp_path / "out")
    assert publish(tmp_path / "out") == 1
    assert "holds something else" in capsys.readouterr().err
    assert written(tmp_path / "out") == before and not online.requests


def test_a_folder_with_other_data_is_neither_pushed_nor_replaced(online, tmp_path, capsys):
    assert publish(tmp_path / "out", "--dry-run") == 0
    before = written(tmp_path / "out")
    assert publish(tmp_path / "out", seed=5) == 1
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'out'}: is not empty, and holds something else; give" in error
    assert "cannot be written" not in error
    assert written(tmp_path / "out") == before and not online.requests


def test_parquet_files_of_an_earlier_version_do_not_stay(online, tmp_path):
    HfApi().create_repo("org/faces", repo_type="dataset")
    for name in ("data/train-00001.parquet", "notes.txt"):
        HfApi().upload_file(repo_id="org/faces", repo_type="dataset", path_or_fileobj=b"old", path_in_repo=name)
    assert publish(tmp_path / "out") == 0
    assert set(online.files("org/faces", kind="dataset")) == FILES | {"notes.txt"}
