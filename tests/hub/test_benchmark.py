"""`hdf push --benchmark`: results in the format that the Hub's own client reads."""

import json

import pytest
import yaml
from huggingface_hub import EvalResultEntry, HfApi, parse_eval_result_entries

from modeling_hdf.cli.main import main

FILE = ".eval_results/hdf.yaml"


def push(folder, *arguments) -> int:
    return main(["push", str(folder), "org/hdf-dfew", *map(str, arguments)])


def entries_of(content: bytes) -> dict[str, EvalResultEntry]:
    return {entry.task_id: entry for entry in parse_eval_result_entries(yaml.safe_load(content))}


@pytest.mark.parametrize("revision", [None, "fold2"])
def test_the_client_of_the_hub_reads_the_numbers_of_the_metrics(online, folder, revision):
    branch = ["--revision", revision] if revision else []
    assert push(folder, "--benchmark", "org/faces", *branch) == 0
    files = online.files("org/hdf-dfew", revision or "main")
    entries, metrics = entries_of(files[FILE]), json.loads((folder / "metrics.json").read_text())
    assert set(entries) == {"war", "uar"}
    for name, entry in entries.items():
        assert entry.dataset_id == "org/faces" and entry.value == pytest.approx(metrics[name], abs=1e-4)
        assert entry.notes == "dfew fold 2, test split; uniform sampling, 1 view per clip"
        assert entry.source_url.endswith(f"/org/hdf-dfew/resolve/{revision or 'main'}/metrics.json")
    assert metrics["war"] != metrics["uar"]


def test_a_model_that_was_selected_on_the_measured_clips_says_so(folder, tmp_path):
    metrics = json.loads((folder / "metrics.json").read_text()) | {"peer_protocol": True}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert push(folder, "--benchmark", "org/faces", "--dry-run", tmp_path / "dry") == 0
    entries = entries_of((tmp_path / "dry" / FILE).read_bytes())
    assert all("PEER PROTOCOL" in entry.notes for entry in entries.values())


def test_clips_that_count_in_no_figure_are_told(folder, tmp_path):
    lost = [{"clip_id": "5", "message": "5.mp4: is damaged."}]
    across = {"shared": ["anger"], "only_in_model": [], "left_out": {"calm": 3, "contempt": 2}}
    metrics = json.loads((folder / "metrics.json").read_text()) | {"unreadable": lost, "across_datasets": across}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert push(folder, "--benchmark", "org/faces", "--dry-run", tmp_path / "dry") == 0
    told = "; without 1 clip that could not be read; without 5 clips of classes that the model lacks: calm, contempt"
    entries = entries_of((tmp_path / "dry" / FILE).read_bytes())
    assert all(entry.notes.endswith(told) for entry in entries.values())


def test_results_of_earlier_weights_do_not_stay_and_those_of_others_do(online, folder):
    assert push(folder) == 0
    assert FILE not in online.files("org/hdf-dfew")
    assert push(folder, "--benchmark", "org/faces") == 0
    theirs = ".eval_results/theirs.yaml"
    HfApi().upload_file(repo_id="org/hdf-dfew", path_or_fileobj=b"[]", path_in_repo=theirs)
    assert push(folder) == 0
    pushed = online.files("org/hdf-dfew")
    assert FILE not in pushed and theirs in pushed


def test_a_benchmark_needs_numbers_and_a_name_and_a_repository(online, folder, capsys):
    (folder / "metrics.json").unlink()
    assert push(folder, "--benchmark", "org/faces") == 1
    assert "has no metrics.json, so there is no result for the leaderboard of org/faces" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        push(folder, "--benchmark", "faces")
    assert "a repository of the Hub is written owner/name" in capsys.readouterr().err
    assert main(["push", "hdf-tiny-synthetic", "--space", "org/demo", "--benchmark", "org/faces"]) == 2
    assert "--benchmark needs the repository of the model" in capsys.readouterr().err
    assert not online.requests
